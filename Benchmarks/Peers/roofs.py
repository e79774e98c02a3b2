# SPDX-License-Identifier: Apache-2.0
"""This machine's limits, by the loops of Benchmarks/Kernels: arithmetic, and reading memory with small and huge pages."""
import ctypes as c

import longhand_c

READ_BYTES = 512 << 20


class Memory(c.Structure):
    _fields_ = [("data", c.c_void_p), ("bytes", c.c_uint64), ("mapped", c.c_uint64), ("huge_bytes", c.c_uint64)]


class Roofs:
    """GFLOP/s by element type and GB/s by page size, with the given number of threads."""

    def __init__(self, threads, settings):
        self.library = longhand_c.Longhand(settings["library"], settings["plugins"], threads)
        self.lib = c.CDLL(settings["roofs"])
        self.lib.lhk_roof_compute.restype = self.lib.lhk_roof_read.restype = c.c_double
        self.host, self.memories = c.byref(self.library.host), {}

    def version(self):
        return ""

    def compute(self):
        f32, bf16, int8 = (self.lib.lhk_roof_compute(self.host, dtype, None) for dtype in (1, 2, 4))
        roofs = {"f32": f32, "bf16": bf16 or f32, "int8": int8 or f32}
        roofs["int8+bf16"] = 2 / (1 / roofs["int8"] + 1 / roofs["bf16"])  # half of the work each
        return roofs

    def read(self, tries=2):
        return {name: self.lib.lhk_roof_read(self.host, c.byref(self._memory(huge)), tries)
                for name, huge in (("read", 1), ("read 4K", 0))}

    def _memory(self, huge):
        if huge not in self.memories:
            self.memories[huge] = Memory()
            size = c.c_uint64(READ_BYTES)
            self._check(self.lib.lhk_roof_memory_create, self.host, size, huge, c.byref(self.memories[huge]))
        return self.memories[huge]

    def _check(self, function, *arguments):
        error = longhand_c.new(longhand_c.Error)
        if function(*arguments, c.byref(error)):
            raise RuntimeError(error.text.decode())

    def all(self):
        return self.compute() | self.read()
