# SPDX-License-Identifier: Apache-2.0
"""The parts of Longhand's C API that the comparison calls, through ctypes. Meanings: include/longhand/*.h."""
import ctypes as c
import mmap

import numpy as np

DTYPES = {"f32": 1, "bf16": 2, "f16": 3}
CAUSAL = 1
ALIGNMENT = 64


class Error(c.Structure):
    _fields_ = [("struct_size", c.c_uint32), ("status", c.c_int32), ("argument", c.c_int32), ("reserved", c.c_uint32),
                ("text", c.c_char * 496)]


class Host(c.Structure):
    _fields_ = [("struct_size", c.c_uint32), ("workers", c.c_uint32), ("isa", c.c_uint64), ("context", c.c_void_p),
                ("parallel_for", c.c_void_p), ("log", c.c_void_p), ("log_context", c.c_void_p)]


class Tensor(c.Structure):
    _fields_ = [("data", c.c_void_p), ("dtype", c.c_uint32), ("rank", c.c_uint32), ("shape", c.c_int64 * 4),
                ("stride", c.c_int64 * 4)]


class AttentionParams(c.Structure):
    _fields_ = [("struct_size", c.c_uint32), ("flags", c.c_uint32), ("scale", c.c_float), ("softcap", c.c_float),
                ("offset", c.c_int64), ("window_left", c.c_int64), ("window_right", c.c_int64), ("sink_tokens", c.c_int64),
                ("alibi_slopes", c.c_void_p), ("sink_logits", c.c_void_p)]


class PositionParams(c.Structure):
    _fields_ = [("struct_size", c.c_uint32), ("dims", c.c_uint32), ("interleaved", c.c_uint32), ("scaling", c.c_uint32),
                ("base", c.c_float), ("factor", c.c_float), ("original_context", c.c_int64), ("attention_factor", c.c_float),
                ("beta_fast", c.c_float), ("beta_slow", c.c_float), ("factor_count", c.c_uint32), ("factors", c.c_void_p)]


class CacheLayer(c.Structure):
    _fields_ = [("struct_size", c.c_uint32), ("query_heads", c.c_uint32), ("kv_heads", c.c_uint32),
                ("head_dim_k", c.c_uint32), ("head_dim_v", c.c_uint32), ("reserved", c.c_uint32),
                ("params", AttentionParams), ("position", PositionParams)]


class CacheConfig(c.Structure):
    _fields_ = [("struct_size", c.c_uint32), ("layer_count", c.c_uint32), ("layers", c.c_void_p), ("capacity", c.c_int64),
                ("max_rows", c.c_int64), ("store", c.c_char_p), ("prefill", c.c_char_p), ("decode", c.c_char_p),
                ("attention", c.c_char_p), ("position", c.c_char_p)]


class CacheBinding(c.Structure):
    _fields_ = [("struct_size", c.c_uint32), ("reserved", c.c_uint32), ("slot", c.c_char_p), ("spec", c.c_char_p),
                ("variant", c.c_char_p), ("origin", c.c_char_p)]


class AttentionStats(c.Structure):
    _fields_ = [("struct_size", c.c_uint32), ("reserved", c.c_uint32), ("calls", c.c_uint64), ("pairs_attended", c.c_uint64),
                ("pairs_visible", c.c_uint64), ("path", c.c_char_p)]


class CacheStats(c.Structure):
    _fields_ = [("struct_size", c.c_uint32), ("reserved", c.c_uint32), ("append_nanoseconds", c.c_uint64),
                ("select_nanoseconds", c.c_uint64), ("attend_nanoseconds", c.c_uint64), ("prefill", AttentionStats),
                ("decode", AttentionStats), ("bytes_in_use", c.c_uint64), ("bytes_capacity", c.c_uint64),
                ("bits_per_token", c.c_double)]


class FlashArgs(c.Structure):
    _fields_ = [("struct_size", c.c_uint32), ("path", c.c_uint32), ("q", Tensor), ("k", Tensor), ("v", Tensor),
                ("out", Tensor), ("lse", Tensor), ("sequences", c.c_int64), ("cu_q", c.c_void_p), ("cu_k", c.c_void_p),
                ("kv_lengths", c.c_void_p), ("params", c.c_void_p), ("selection", c.c_void_p), ("stats", c.c_void_p)]


class Workspace(c.Structure):
    _fields_ = [("data", c.c_void_p), ("bytes", c.c_uint64)]


def new(kind, **members):
    return kind(struct_size=c.sizeof(kind), **members)


def tensor(array):
    """A view of a C-contiguous array [rows][heads][dim]; bf16 are those of ml_dtypes."""
    dtype = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}[array.dtype.name]
    rows, heads, dim = array.shape
    return Tensor(array.ctypes.data, DTYPES[dtype], 3, (rows, heads, dim, 0), (heads * dim, dim, 1, 0))


def pages(byte_count):
    """Page-aligned memory that asks for huge pages."""
    memory = mmap.mmap(-1, max(byte_count, 1))
    memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.uint8)


def causal():
    return new(AttentionParams, flags=CAUSAL, window_left=-1, window_right=-1)


class Longhand:
    """The library, a host with `threads` workers and a registry of all plugins in a folder."""

    def __init__(self, library, plugins, threads):
        self.lib = c.CDLL(library)
        self.host, self.registry = new(Host), c.c_void_p()
        self.call("lhk_host_openmp", threads, c.byref(self.host))
        self.call("lhk_registry_create", c.byref(self.registry))
        self.call("lhk_registry_discover", self.registry, str(plugins).encode())

    def call(self, name, *arguments):
        """Calls a function whose last parameter is an lhk_error; raises its text."""
        error = new(Error)
        if getattr(self.lib, name)(*arguments, c.byref(error)):
            raise RuntimeError(error.text.decode())

    def cache(self, shape, layers, tokens, store, attention):
        return Cache(self, shape, layers, tokens, store, attention)


class Cache:
    """A cache whose layers are the sequences of a batch."""

    def __init__(self, longhand, shape, layers, tokens, store, attention):
        layer = new(CacheLayer, query_heads=shape.query_heads, kv_heads=shape.kv_heads, head_dim_k=shape.dim,
                    head_dim_v=shape.dim, params=causal(), position=new(PositionParams))
        array = (CacheLayer * layers)(*[layer] * layers)
        config = new(CacheConfig, layer_count=layers, layers=c.addressof(array), capacity=tokens, max_rows=tokens,
                     store=store.encode(), prefill=b"all", decode=b"all", attention=attention.encode(), position=b"none")
        self.longhand, self.pointer = longhand, c.c_void_p()
        longhand.call("lhk_cache_create", c.byref(config), longhand.registry, c.byref(longhand.host), c.byref(self.pointer))

    def append(self, layer, k, v):
        self.longhand.call("lhk_cache_append", self.pointer, layer, c.byref(tensor(k)), c.byref(tensor(v)))

    def variant(self):
        """The variant of the attention that was chosen, without its prefix."""
        for index in range(5):
            binding = new(CacheBinding)
            self.longhand.lib.lhk_cache_get_binding(self.pointer, index, c.byref(binding))
            if binding.slot == b"attention":
                return binding.variant.decode().removeprefix("longhand.")
        return ""

    def bits_per_token(self):
        stats = new(CacheStats)
        self.longhand.lib.lhk_cache_get_stats(self.pointer, c.byref(stats))
        return stats.bits_per_token

    def __del__(self):
        self.longhand.lib.lhk_cache_destroy(self.pointer)
