# SPDX-License-Identifier: Apache-2.0
"""PyTorch: torch.nn.functional.scaled_dot_product_attention on [batch][heads][rows][d].

For one query its flash kernel works head by head, so the query heads that share a KV head are also given as rows of one
head ("grouped"), which is several times faster than `enable_gqa`. Without a mask the two compute the same."""
import numpy as np
import torch

from operators import Call, Operator

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def by_head(array, dtype):
    """[batch][rows][heads][d] to a contiguous tensor [batch][heads][rows][d]."""
    return torch.from_numpy(np.array(array.transpose(0, 2, 1, 3), order="C")).to(DTYPES[dtype])


class PyTorch(Operator):
    def __init__(self, threads, settings):
        super().__init__(threads, settings)
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)

    def version(self):
        return torch.__version__

    def methods(self, problem):
        if problem.phase == "prefill":
            return dict.fromkeys(DTYPES)
        names = {f"{dtype} grouped": None for dtype in DTYPES}
        return names | {f"{dtype} enable_gqa": None for dtype in ("f32", "bf16")}

    def prefill(self, problem, arrays, method):
        q, k, v = (by_head(x, method) for x in arrays)
        return self._call(q, k, v, method, is_causal=True, enable_gqa=True)

    def decode(self, problem, arrays, method):
        dtype, layout = method.split()
        q, k, v = (by_head(x, dtype) for x in arrays)
        if layout == "grouped":
            q = q.reshape(problem.batch, problem.shape.kv_heads, problem.group, problem.shape.dim)
        return self._call(q, k, v, dtype, enable_gqa=layout == "enable_gqa")

    def _call(self, q, k, v, dtype, **options):
        output = {}

        def run():
            output["o"] = torch.nn.functional.scaled_dot_product_attention(q, k, v, **options)

        def result():
            o = output["o"].float()
            heads = q.shape[1] if options.get("is_causal") or options.get("enable_gqa") else q.shape[1] * q.shape[2]
            return o.reshape(len(q), heads, -1, q.shape[3]).transpose(1, 2).contiguous().numpy()

        return Call(run, result, k.element_size() * 8, "bf16" if dtype == "bf16" else "f32")
