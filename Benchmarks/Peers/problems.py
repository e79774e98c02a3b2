# SPDX-License-Identifier: Apache-2.0
"""What is computed: model-shaped attention problems and their inputs."""
import dataclasses
import pathlib

import ml_dtypes
import numpy as np


@dataclasses.dataclass(frozen=True)
class Shape:
    model: str
    query_heads: int
    kv_heads: int
    dim: int

    def __str__(self):
        return f"{self.model} {self.query_heads}/{self.kv_heads} d{self.dim}"


LLAMA = Shape("Llama-3.1-8B", 32, 8, 128)
LLAMA_GROUP = Shape("Llama-3.1-8B", 4, 1, 128)  # one KV head of it, where all eight would take minutes
SMOLLM2 = Shape("SmolLM2-135M", 9, 3, 64)
GEMMA = Shape("Gemma-3-270m", 4, 1, 256)


@dataclasses.dataclass(frozen=True)
class Problem:
    phase: str  # "prefill": causal, as many queries as keys; "decode": one query per sequence
    shape: Shape
    keys: int
    threads: int
    batch: int = 1

    @property
    def rows(self):
        return self.keys if self.phase == "prefill" else 1

    @property
    def group(self):
        return self.shape.query_heads // self.shape.kv_heads

    @property
    def scale(self):
        return self.shape.dim ** -0.5

    @property
    def flops(self):
        """2 N^2 d heads for causal prefill, which is half of the full matrix; 4 N d heads for one query."""
        pairs = self.keys * self.keys / 2 if self.phase == "prefill" else self.keys
        return 4 * pairs * self.shape.dim * self.shape.query_heads * self.batch

    def bytes(self, bits):
        """Keys and values read once, at `bits` per element."""
        return 2 * self.keys * self.shape.kv_heads * self.shape.dim * self.batch * bits / 8

    def __str__(self):
        batch = f" batch {self.batch}" if self.batch > 1 else ""
        return f"{self.phase} {self.shape} N {self.keys}{batch} threads {self.threads}"


def _problems(phase, threads, *groups):
    return [Problem(phase, shape, keys, threads, batch) for shape, lengths, batch in groups for keys in lengths]


K = 1024


def suite(threads):
    """Everything, with all threads; with one thread what tells how it scales."""
    every, problems = max(threads), []
    if every in threads:
        problems += _problems("prefill", every, (LLAMA, (512, K, 2 * K, 4 * K), 1), (LLAMA_GROUP, (8 * K, 16 * K, 32 * K), 1),
                              (SMOLLM2, (512, K, 2 * K, 4 * K, 8 * K), 1), (GEMMA, (8 * K, 32 * K), 1))
        problems += _problems("decode", every, (LLAMA, (8 * K, 32 * K, 128 * K), 1), (SMOLLM2, (8 * K, 32 * K, 128 * K), 1),
                              (LLAMA, (8 * K,), 8), (SMOLLM2, (8 * K,), 8))
    for few in sorted(set(threads) - {every}):
        problems += _problems("prefill", few, (LLAMA, (2 * K,), 1), (LLAMA_GROUP, (8 * K,), 1), (SMOLLM2, (8 * K,), 1))
        problems += _problems("decode", few, (LLAMA, (32 * K, 128 * K), 1), (SMOLLM2, (32 * K,), 1))
    return problems


def quick_suite(threads):
    every = max(threads)
    return (_problems("prefill", every, (LLAMA, (K,), 1), (LLAMA_GROUP, (8 * K,), 1), (SMOLLM2, (2 * K,), 1))
            + _problems("decode", every, (LLAMA, (8 * K, 32 * K), 1), (SMOLLM2, (8 * K,), 1)))


class Inputs:
    """Queries [batch][rows][query heads][d], keys and values [batch][keys][KV heads][d] in f32, kept as files that every
    peer maps. Values are rounded to bf16, so that all element types hold the same numbers and differences of results come
    from arithmetic alone."""

    def __init__(self, folder, source):
        self.folder, self.source = pathlib.Path(folder), source

    @staticmethod
    def create(problem, folder, traces):
        shape = problem.shape
        trace = traces.get(shape.model)
        if trace:
            arrays, source = trace.slice(problem), trace.label(problem.keys)
        else:
            random = np.random.default_rng(problem.keys)
            kv = (problem.batch, problem.keys, shape.kv_heads, shape.dim)
            query = (problem.batch, problem.rows, shape.query_heads, shape.dim)
            arrays = [random.standard_normal(size, dtype=np.float32) for size in (query, kv, kv)]
            source = "gaussian"
        for name, array in zip("qkv", arrays):
            np.save(pathlib.Path(folder, name + ".npy"), array.astype(ml_dtypes.bfloat16).astype(np.float32))
        return Inputs(folder, source)

    def load(self):
        return [np.load(self.folder / f"{name}.npy", mmap_mode="r") for name in "qkv"]


class Trace:
    """Queries, keys (with positions) and values of one layer, as `longhand trace` records them."""

    def __init__(self, path):
        from safetensors import safe_open
        with safe_open(path, "np") as file:
            layer = min(int(name.split(".")[1]) for name in file.keys() if name.startswith("layers."))
            parts = (file.get_tensor(f"layers.{layer}.{part}") for part in ("q_post", "k_post", "v"))
            self.parts = [part.astype(np.float32).transpose(1, 0, 2) for part in parts]
        self.tokens = len(self.parts[0])

    def label(self, keys):
        return "trace" if keys <= self.tokens else f"trace, repeated {-(-keys // self.tokens)}x"

    def slice(self, problem):
        """The last rows of the queries; each further sequence begins elsewhere in the text."""
        q, k, v = ([np.take(part, np.arange(problem.keys) + 1000 * b, axis=0, mode="wrap") for b in range(problem.batch)]
                   for part in self.parts)
        return [np.stack(q)[:, -problem.rows:], np.stack(k), np.stack(v)]


def reference(problem, inputs, rows):
    """Exact attention in double precision for some query rows: [batch][len(rows)][query heads][d]."""
    q, k, v = inputs.load()
    out = np.empty((problem.batch, len(rows), problem.shape.query_heads, problem.shape.dim))
    visible = np.arange(problem.keys)[None, :] <= (np.asarray(rows) + problem.keys - problem.rows)[:, None]
    for b in range(problem.batch):
        for kv_head in range(problem.shape.kv_heads):
            keys, values = (x[b, :, kv_head].astype(np.float64) for x in (k, v))
            for head in range(kv_head * problem.group, (kv_head + 1) * problem.group):
                scores = np.where(visible, problem.scale * q[b, rows, head].astype(np.float64) @ keys.T, -np.inf)
                p = np.exp(scores - scores.max(axis=1, keepdims=True))
                out[b, :, head] = p @ values / p.sum(axis=1, keepdims=True)
    return out
