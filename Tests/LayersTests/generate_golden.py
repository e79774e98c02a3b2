#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes and checks the expected results of dequantisation, with the `gguf` package as the independent reference.

    pip install gguf
    python3 generate_golden.py write                      # rewrites Golden/dequantize.bin
    python3 generate_golden.py check LIBRARY MODEL...     # every tensor of GGUF files, bit for bit, every ISA

LIBRARY is a shared library of CKernels/Layers, for example
    clang -O3 -ffp-contract=off -shared -fPIC -I include -I CKernels/Common/include -I CKernels/Layers/include \\
        CKernels/Layers/*.c -lm -o LIBRARY

The file is a sequence of records, all little-endian: int32 type, int32 elements, int32 source bytes, the source bytes,
the expected f32 values. Sources are random bytes; the f16 scales of the first blocks are replaced by zeros, subnormals,
the largest value, infinities and NaN.
"""
import ctypes
import struct
import sys
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as Type, GGUFReader
from gguf.quants import dequantize

# Offsets of the f16 fields in a block.
SCALES = {
    Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0],
    Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208],
}
PLAIN = [Type.F32, Type.F16, Type.BF16]
SPECIAL = [0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x0400, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E01]


def expected(kind, source):
    with np.errstate(all="ignore"):
        return np.ascontiguousarray(dequantize(source, kind), dtype=np.float32).reshape(-1)


def sample(kind, rng):
    elements, size = GGML_QUANT_SIZES[kind]
    blocks = 12 if elements == 256 else 24
    if kind in PLAIN:
        # F16 and BF16: a grid over all exponents with random mantissas, and the special values.
        width = np.uint32 if kind == Type.F32 else np.uint16
        bits = rng.integers(0, np.iinfo(width).max, 256, dtype=width, endpoint=True)
        bits[: len(SPECIAL)] = SPECIAL
        source = bits if kind == Type.F16 else bits.view(np.float32 if kind == Type.F32 else np.uint8)
        return bits.tobytes(), expected(kind, source.view(np.float16) if kind == Type.F16 else source)
    data = rng.integers(0, 256, (blocks, size), dtype=np.uint8)
    for offset in SCALES[kind]:
        scale = data[:, offset : offset + 2].view("<u2")
        sign = rng.integers(0, 2, (blocks, 1), dtype=np.uint16) << 15
        scale[:] = rng.integers(0, 0x7C00, (blocks, 1), dtype=np.uint16) | sign  # finite
        order = rng.permutation(len(SPECIAL))
        scale[: len(SPECIAL), 0] = np.array(SPECIAL, dtype="<u2")[order]
    return data.tobytes(), expected(kind, data.reshape(1, -1))


def write(path):
    rng = np.random.default_rng(20240229)
    with open(path, "wb") as out:
        for kind in PLAIN + list(SCALES):
            source, values = sample(kind, rng)
            out.write(struct.pack("<iii", kind.value, values.size, len(source)))
            out.write(source)
            out.write(values.astype("<f4").tobytes())
    print(f"{path}: {path.stat().st_size} bytes")


def check(library, models):
    c = ctypes.CDLL(library)
    c.lhk_layer_dequantize.argtypes = [
        ctypes.c_uint64, ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t,
        ctypes.c_void_p]
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    masks = [0] + [1] * ("avx2" in flags) + [3] * ("avx512dq" in flags)
    for model in models:
        tensors = failures = 0
        for tensor in GGUFReader(model).tensors:
            source = np.ascontiguousarray(tensor.data)
            reference = expected(tensor.tensor_type, source)
            got = np.empty(reference.size, dtype=np.float32)
            for mask in masks:
                got.fill(np.nan)
                status = c.lhk_layer_dequantize(
                    mask, tensor.tensor_type.value, source.ctypes.data, got.ctypes.data, got.size, None)
                same = status == 0 and np.array_equal(got.view(np.uint32), reference.view(np.uint32))
                if not same:
                    failures += 1
                    print(f"{model}: {tensor.name} {tensor.tensor_type.name} mask {mask}: status {status}, differs")
            tensors += 1
        print(f"{model}: {tensors} tensors under masks {masks}, {failures} failures")
        if failures:
            sys.exit(1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["write"]:
        write(Path(__file__).parent / "Golden" / "dequantize.bin")
    elif sys.argv[1:2] == ["check"] and len(sys.argv) > 3:
        check(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(__doc__)
