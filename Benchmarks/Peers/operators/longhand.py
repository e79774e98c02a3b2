# SPDX-License-Identifier: Apache-2.0
"""Longhand: a cache of each store, whose keys and values were packed at append, and direct calls that pack as they go.

A method is `STORE[/ATTENTION]`, as in `bf16` or `bf16/flash:path=direct`, or `direct:TYPE`."""
import ctypes as c
import re

import ml_dtypes
import numpy as np

import longhand_c
from operators import Call, Operator

NUMPY = {"f32": np.float32, "bf16": ml_dtypes.bfloat16, "f16": np.float16}


def split_methods(text):
    """Splits at commas, except before `key=value`, which belongs to the specification in front of it."""
    parts = []
    for piece in text.replace(" ", ",").split(","):
        if parts and re.match(r"\w+=", piece):
            parts[-1] += "," + piece
        elif piece:
            parts.append(piece)
    return parts


class Longhand(Operator):
    def __init__(self, threads, settings):
        super().__init__(threads, settings)
        self.library = longhand_c.Longhand(settings["library"], settings["plugins"], threads)

    def version(self):
        return self.settings["commit"]

    def methods(self, problem):
        names = split_methods(self.settings["ours"])
        # A direct call packs all keys, which no engine would do for one query.
        return {name: None for name in names if problem.phase == "prefill" or not name.startswith("direct:")}

    def prefill(self, problem, arrays, method):
        if method.startswith("direct:"):
            return self._direct(problem, arrays, method.removeprefix("direct:"))
        return self._cached(problem, arrays, method)

    def decode(self, problem, arrays, method):
        return self._cached(problem, arrays, method)

    def _roof(self, method):
        """The arithmetic of its prefill: 4-bit and 8-bit stores are multiplied in bf16, 8-bit keys as they are."""
        if method.startswith("k8v16"):
            return "int8+bf16"
        return "bf16" if re.match(r"(direct:)?(bf16|q8|q4)", method) else "f32"

    def _cached(self, problem, arrays, method):
        q, k, v = arrays
        store, _, attention = method.partition("/")
        cache = self.library.cache(problem.shape, problem.batch, problem.keys, store, attention or "flash")
        for layer in range(problem.batch):
            cache.append(layer, np.ascontiguousarray(k[layer]), np.ascontiguousarray(v[layer]))
        queries, out = np.array(q), np.zeros_like(q)
        views = [(layer, longhand_c.tensor(queries[layer]), longhand_c.tensor(out[layer])) for layer in range(problem.batch)]

        def run():
            for layer, query, output in views:
                self.library.call("lhk_cache_attend", cache.pointer, layer, c.byref(query), c.byref(output), None)

        elements = 2 * problem.shape.kv_heads * problem.shape.dim * problem.batch
        return Call(run, lambda keep=queries: out, cache.bits_per_token() / elements, self._roof(method), cache.variant())

    def _direct(self, problem, arrays, dtype):
        q, k, v = (np.array(x[0]) for x in arrays)
        k, v = k.astype(NUMPY[dtype]), v.astype(NUMPY[dtype])
        out, params = np.zeros_like(q), longhand_c.causal()
        args = longhand_c.new(longhand_c.FlashArgs, q=longhand_c.tensor(q), k=longhand_c.tensor(k), v=longhand_c.tensor(v),
                              out=longhand_c.tensor(out), params=c.addressof(params))
        host, need = c.byref(self.library.host), c.c_uint64()
        self.library.call("lhk_flash_attention_workspace", c.byref(args), host, c.byref(need))
        memory = longhand_c.pages(need.value)
        space = longhand_c.Workspace(memory.ctypes.data, need.value)
        keep = (q, k, v, params, memory)

        def run():
            self.library.call("lhk_flash_attention", c.byref(args), host, c.byref(space))

        return Call(run, lambda keep=keep: out[None], k.itemsize * 8, self._roof(dtype), "row-major, packing included")
