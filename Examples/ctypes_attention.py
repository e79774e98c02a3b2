#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Calls a kernel of liblonghand.so from Python with ctypes alone, and compares it with the formula. Any language with a
C FFI does the same: declare the structs of the headers, set every struct_size, pass pointers.

    ctypes_attention.py [LIBRARY]        default: liblonghand.so, where the dynamic linker looks for it
"""
import ctypes
import math
import random
import sys

F32, CAUSAL, ALIGNMENT = 1, 0x1, 64  # LHK_DTYPE_F32, LHK_ATTENTION_CAUSAL, LHK_ALIGNMENT


class Sized(ctypes.Structure):
    """A struct that begins with its size, set here as in C by `.struct_size = sizeof x`."""

    def __init__(self, **members):
        super().__init__(struct_size=ctypes.sizeof(self), **members)


class Error(Sized):
    _fields_ = [("struct_size", ctypes.c_uint32), ("status", ctypes.c_int32), ("argument", ctypes.c_int32),
                ("reserved", ctypes.c_uint32), ("text", ctypes.c_char * 496)]


class Host(Sized):
    _fields_ = [("struct_size", ctypes.c_uint32), ("workers", ctypes.c_uint32), ("isa", ctypes.c_uint64),
                ("context", ctypes.c_void_p), ("parallel_for", ctypes.c_void_p), ("log", ctypes.c_void_p),
                ("log_context", ctypes.c_void_p)]


class Tensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("dtype", ctypes.c_uint32), ("rank", ctypes.c_uint32),
                ("shape", ctypes.c_int64 * 4), ("stride", ctypes.c_int64 * 4)]


class Params(Sized):
    _fields_ = [("struct_size", ctypes.c_uint32), ("flags", ctypes.c_uint32), ("scale", ctypes.c_float),
                ("softcap", ctypes.c_float), ("offset", ctypes.c_int64), ("window_left", ctypes.c_int64),
                ("window_right", ctypes.c_int64), ("sink_tokens", ctypes.c_int64), ("alibi_slopes", ctypes.c_void_p),
                ("sink_logits", ctypes.c_void_p)]


class FlashArgs(Sized):
    _fields_ = [("struct_size", ctypes.c_uint32), ("path", ctypes.c_uint32), ("q", Tensor), ("k", Tensor), ("v", Tensor),
                ("out", Tensor), ("lse", Tensor), ("sequences", ctypes.c_int64), ("cu_q", ctypes.c_void_p),
                ("cu_k", ctypes.c_void_p), ("kv_lengths", ctypes.c_void_p), ("params", ctypes.POINTER(Params)),
                ("selection", ctypes.c_void_p), ("stats", ctypes.c_void_p)]


class Workspace(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("bytes", ctypes.c_uint64)]


def view(array, *shape):
    """A row-major view of a ctypes array, which must stay alive as long as the view. With NumPy: array.ctypes.data."""
    strides = [math.prod(shape[i + 1:]) for i in range(len(shape))]
    return Tensor(ctypes.addressof(array), F32, len(shape), (ctypes.c_int64 * 4)(*shape), (ctypes.c_int64 * 4)(*strides))


def check(status, error):
    if status:
        sys.exit(f"ctypes_attention.py: {error.text.decode()}")


def formula(q, k, v, tokens, heads, kv_heads, dim):
    """Causal attention in double precision."""
    out = []
    for row in range(tokens):
        for head in range(heads):
            query = q[(row * heads + head) * dim:][:dim]
            starts = [(key * kv_heads + head * kv_heads // heads) * dim for key in range(row + 1)]
            scores = [sum(map(lambda a, b: a * b, query, k[at:at + dim])) / math.sqrt(dim) for at in starts]
            largest = max(scores)
            weights = [math.exp(score - largest) for score in scores]
            for channel in range(dim):
                out.append(sum(w * v[at + channel] for w, at in zip(weights, starts)) / sum(weights))
    return out


def main():
    library = ctypes.CDLL(sys.argv[1] if len(sys.argv) > 1 else "liblonghand.so")
    library.lhk_version.restype = ctypes.c_char_p

    tokens, heads, kv_heads, dim = 50, 4, 2, 24
    source = random.Random(1)
    q, k, v = ((ctypes.c_float * (tokens * h * dim))(*(source.gauss(0, 1) for _ in range(tokens * h * dim)))
               for h in (heads, kv_heads, kv_heads))
    out = (ctypes.c_float * (tokens * heads * dim))()

    error, host = Error(), Host()
    check(library.lhk_host_openmp(0, ctypes.byref(host), ctypes.byref(error)), error)
    params = Params(flags=CAUSAL, window_left=-1, window_right=-1)
    args = FlashArgs(q=view(q, tokens, heads, dim), k=view(k, tokens, kv_heads, dim), v=view(v, tokens, kv_heads, dim),
                     out=view(out, tokens, heads, dim), params=ctypes.pointer(params))
    workspace = Workspace()
    needed = ctypes.c_uint64()
    check(library.lhk_flash_attention_workspace(ctypes.byref(args), ctypes.byref(host), ctypes.byref(needed),
                                                ctypes.byref(error)), error)
    memory = ctypes.create_string_buffer(needed.value + ALIGNMENT)
    workspace.data = (ctypes.addressof(memory) + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
    workspace.bytes = needed.value
    check(library.lhk_flash_attention(ctypes.byref(args), ctypes.byref(host), ctypes.byref(workspace),
                                      ctypes.byref(error)), error)

    expected = formula(list(q), list(k), list(v), tokens, heads, kv_heads, dim)
    difference = max(abs(a - b) for a, b in zip(out, expected))
    print(f"longhand {library.lhk_version().decode()}, {tokens} tokens, {heads} heads on {kv_heads}, dimension {dim}: "
          f"largest difference from the formula {difference:.1e}")
    sys.exit(0 if difference < 1e-5 else 1)


main()
