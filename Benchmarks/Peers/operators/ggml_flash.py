# SPDX-License-Identifier: Apache-2.0
"""llama.cpp: ggml's flash attention operator on its CPU backend, with the types of keys and values that llama.cpp offers.

Its speed depends on how the cache is laid out: "per head" has the keys of a head side by side, "as cached" is llama.cpp's
own layout [tokens][heads][d]. Causal masks are f16 matrices [rows][keys]."""
import ctypes as c
import importlib.metadata
import importlib.util
import pathlib

import ml_dtypes
import numpy as np

from operators import Call, Operator

TYPES = {"f32": (0, 32), "f16": (1, 16), "bf16": (30, 16), "q8_0": (8, 8.5), "q4_0": (2, 4.5)}  # enum ggml_type, bits
NUMPY = {"f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16}
MASK_LIMIT = 1 << 30


class InitParams(c.Structure):
    _fields_ = [("mem_size", c.c_size_t), ("mem_buffer", c.c_void_p), ("no_alloc", c.c_bool)]


class Plan(c.Structure):
    _fields_ = [("work_size", c.c_size_t), ("work_data", c.c_void_p), ("n_threads", c.c_int), ("threadpool", c.c_void_p),
                ("abort_callback", c.c_void_p), ("abort_data", c.c_void_p), ("use_ref", c.c_bool)]


def load_libraries():
    folder = pathlib.Path(importlib.util.find_spec("llama_cpp").origin).parent / "lib"
    base, cpu = c.CDLL(str(folder / "libggml-base.so")), c.CDLL(str(folder / "libggml-cpu.so"))
    pointer, sizes = c.c_void_p, [c.c_int64] * 4
    for library, name, result, arguments in (
            (base, "ggml_init", pointer, [InitParams]), (base, "ggml_free", None, [pointer]),
            (base, "ggml_new_tensor_4d", pointer, [pointer, c.c_int, *sizes]),
            (base, "ggml_permute", pointer, [pointer, pointer, *[c.c_int] * 4]),
            (base, "ggml_get_data", pointer, [pointer]),
            (base, "ggml_flash_attn_ext", pointer, [pointer] * 5 + [c.c_float] * 3),
            (base, "ggml_quantize_chunk", c.c_size_t, [c.c_int, pointer, pointer, c.c_int64, c.c_int64, c.c_int64, pointer]),
            (base, "ggml_new_graph", pointer, [pointer]), (base, "ggml_build_forward_expand", None, [pointer, pointer]),
            (cpu, "ggml_graph_plan", Plan, [pointer, c.c_int, pointer]),
            (cpu, "ggml_graph_compute", c.c_int, [pointer, c.POINTER(Plan)])):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    cpu.ggml_cpu_init()
    return base, cpu


class Graph:
    """A ggml context with room for `size` bytes of tensors."""

    def __init__(self, base, size):
        self.base = base
        self.context = base.ggml_init(InitParams(size + (1 << 22), None, False))
        if not self.context:
            raise MemoryError(f"ggml_init: no memory for {size} bytes")

    def __del__(self):
        self.base.ggml_free(self.context)

    def tensor(self, array, dtype):
        """Copies a C-contiguous array; dimensions of ggml run from the last to the first."""
        number = TYPES[dtype][0]
        node = self.base.ggml_new_tensor_4d(self.context, number, *reversed(array.shape))
        data = self.base.ggml_get_data(node)
        if dtype in NUMPY:
            source = array.astype(NUMPY[dtype])
            c.memmove(data, source.ctypes.data, source.nbytes)
        else:
            source = np.ascontiguousarray(array, np.float32)
            dim = source.shape[-1]
            self.base.ggml_quantize_chunk(number, source.ctypes.data, data, 0, source.size // dim, dim, None)
        return node

    def swapped(self, array, dtype):
        """[batch][rows][heads][d] as it lies in memory, seen by ggml as [batch][heads][rows][d]."""
        return self.base.ggml_permute(self.context, self.tensor(array, dtype), 0, 2, 1, 3)


class Ggml(Operator):
    def __init__(self, threads, settings):
        super().__init__(threads, settings)
        self.base, self.cpu = load_libraries()

    def version(self):
        return f"llama-cpp-python {importlib.metadata.version('llama-cpp-python')}"

    def methods(self, problem):
        if problem.phase == "decode":
            return dict.fromkeys(("f16 per head", "f16 as cached", "q8_0 per head", "q8_0 as cached", "q4_0 per head"))
        mask = 2 * problem.keys * problem.keys
        reason = f"its mask would take {mask >> 20} MiB" if mask > MASK_LIMIT else None
        return dict.fromkeys(("f32 per head", "f16 per head", "f16 as cached", "q8_0 per head"), reason)

    def prefill(self, problem, arrays, method):
        mask = np.triu(np.full((1, 1, problem.rows, problem.keys), -np.inf, np.float16), 1)
        return self._call(problem, arrays, method, mask)

    def decode(self, problem, arrays, method):
        return self._call(problem, arrays, method, None)

    def _call(self, problem, arrays, method, mask):
        q, k, v = arrays
        dtype, _, layout = method.partition(" ")
        bits = TYPES[dtype][1]
        size = int(problem.bytes(bits)) + 8 * q.size + (0 if mask is None else mask.nbytes)
        graph = Graph(self.base, size)
        if layout == "per head":
            key, value = (graph.tensor(np.ascontiguousarray(x.transpose(0, 2, 1, 3)), dtype) for x in (k, v))
        else:
            key, value = (graph.swapped(x, dtype) for x in (k, v))
        query = graph.swapped(q, "f32")
        mask_node = None if mask is None else graph.tensor(mask, "f16")
        node = self.base.ggml_flash_attn_ext(graph.context, query, key, value, mask_node, problem.scale, 0, 0)
        nodes = self.base.ggml_new_graph(graph.context)
        self.base.ggml_build_forward_expand(nodes, node)
        plan = self.cpu.ggml_graph_plan(nodes, self.threads, None)
        work = np.empty(max(plan.work_size, 1), np.uint8)
        plan.work_data = work.ctypes.data

        def run(keep=(graph, work)):
            if self.cpu.ggml_graph_compute(nodes, c.byref(plan)):
                raise RuntimeError("ggml_graph_compute failed")

        def result():
            data = (c.c_float * q.size).from_address(self.base.ggml_get_data(node))
            return np.array(data, np.float32).reshape(q.shape)

        return Call(run, result, bits)
