# SPDX-License-Identifier: Apache-2.0
"""OpenVINO: the ScaledDotProductAttention operator on [batch][heads][rows][d], with its inference precision set.

It takes as many KV heads as query heads: for prefill keys and values are expanded beforehand; for one query the
query heads that share a KV head are rows of one head ("grouped"), which needs no expansion."""
import ml_dtypes
import numpy as np
import openvino
from openvino import opset13

from operators import Call, Operator

TYPES = {"f32": (openvino.Type.f32, np.float32), "bf16": (openvino.Type.bf16, ml_dtypes.bfloat16)}


class OpenVINO(Operator):
    def version(self):
        return openvino.__version__.split("-")[0]

    def methods(self, problem):
        return dict.fromkeys(TYPES)

    def prefill(self, problem, arrays, method):
        q, k, v = (x.transpose(0, 2, 1, 3) for x in arrays)
        k, v = (np.repeat(x, problem.group, axis=1) for x in (k, v))
        call, output = self._compile(method, q, k, v, causal=True)
        call.result = lambda: output().transpose(0, 2, 1, 3)
        return call

    def decode(self, problem, arrays, method):
        q, k, v = (x.transpose(0, 2, 1, 3) for x in arrays)
        shape = problem.shape
        grouped = q.reshape(problem.batch, shape.kv_heads, problem.group, shape.dim)
        call, output = self._compile(method, grouped, k, v, causal=False)
        call.result = lambda: output().reshape(problem.batch, 1, shape.query_heads, shape.dim)
        return call

    def _compile(self, method, *arrays, causal):
        ov_type, numpy_type = TYPES[method]
        arrays = [np.ascontiguousarray(x).astype(numpy_type) for x in arrays]
        inputs = [opset13.parameter(list(x.shape), ov_type) for x in arrays]
        attention = opset13.scaled_dot_product_attention(*inputs, causal=causal)
        request = openvino.Core().compile_model(openvino.Model([attention], inputs), "CPU", {
            "INFERENCE_PRECISION_HINT": method, "INFERENCE_NUM_THREADS": self.threads, "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY"}).create_infer_request()
        for index, array in enumerate(arrays):
            bits = array.view(np.uint16) if array.itemsize == 2 else array
            request.set_input_tensor(index, openvino.Tensor(bits, list(array.shape), ov_type))

        def output():
            tensor = request.get_output_tensor(0)
            data = tensor.data.view(ml_dtypes.bfloat16) if tensor.element_type == openvino.Type.bf16 else tensor.data
            return data.astype(np.float32)

        call = Call(lambda keep=arrays: request.infer(), None, 8 * arrays[1].itemsize, method)
        return call, output
