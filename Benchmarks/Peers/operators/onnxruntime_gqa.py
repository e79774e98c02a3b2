# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime: the GroupQueryAttention operator. Prefill has an empty past, and includes the copy of keys and values to
`present` that the operator makes. Decode appends its token to a cache whose buffer past and present share, as
ONNX Runtime's own generation does, so nothing is copied."""
import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from operators import Call, Operator

TYPES = {"f32": (TensorProto.FLOAT, np.float32), "f16": (TensorProto.FLOAT16, np.float16)}
INPUTS = ("q", "k", "v", "past_k", "past_v", "lengths", "total")


def model(shape, onnx_type, names=INPUTS):
    node = helper.make_node("GroupQueryAttention", names, ["out", "present_k", "present_v"], domain="com.microsoft",
                            num_heads=shape.query_heads, kv_num_heads=shape.kv_heads)
    heads = ["batch", shape.kv_heads, None, shape.dim]
    sizes = {"q": ["batch", "rows", shape.query_heads * shape.dim], "k": ["batch", "rows", shape.kv_heads * shape.dim],
             "v": ["batch", "rows", shape.kv_heads * shape.dim], "past_k": heads, "past_v": heads}
    inputs = [helper.make_tensor_value_info(name, onnx_type, size) for name, size in sizes.items()]
    inputs += [helper.make_tensor_value_info("lengths", TensorProto.INT32, ["batch"]),
               helper.make_tensor_value_info("total", TensorProto.INT32, [1])]
    outputs = [helper.make_tensor_value_info(name, onnx_type, sizes[like])
               for name, like in (("out", "q"), ("present_k", "past_k"), ("present_v", "past_v"))]
    graph = helper.make_graph([node], "attention", inputs, outputs)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


class OnnxRuntime(Operator):
    def version(self):
        return onnxruntime.__version__

    def methods(self, problem):
        return dict.fromkeys(TYPES)

    def prefill(self, problem, arrays, method):
        q, k, v = arrays
        empty = np.empty((problem.batch, problem.shape.kv_heads, 0, problem.shape.dim))
        return self._call(problem, method, q, k, v, empty, empty, share=False)

    def decode(self, problem, arrays, method):
        q, k, v = arrays
        past = [x.transpose(0, 2, 1, 3) for x in (k, v)]
        return self._call(problem, method, q, k[:, -1:], v[:, -1:], *past, share=True)

    def _call(self, problem, method, q, k, v, past_k, past_v, share):
        onnx_type, numpy_type = TYPES[method]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        session = onnxruntime.InferenceSession(model(problem.shape, onnx_type), options, ["CPUExecutionProvider"])
        rows = lambda x: x.reshape(x.shape[0], x.shape[1], -1)
        arrays = dict(zip(INPUTS, (rows(q), rows(k), rows(v), past_k, past_v)))
        arrays = {name: np.ascontiguousarray(array, numpy_type) for name, array in arrays.items()}
        arrays["lengths"] = np.full(problem.batch, problem.keys - 1, np.int32)
        arrays["total"] = np.full(1, problem.keys, np.int32)
        values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()}
        binding = session.io_binding()
        for name, value in values.items():
            binding.bind_ortvalue_input(name, value)
        out = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(arrays["q"].shape, numpy_type))
        binding.bind_ortvalue_output("out", out)
        for name in ("k", "v"):
            if share:
                binding.bind_ortvalue_output("present_" + name, values["past_" + name])
            else:
                present = np.zeros((problem.batch, problem.shape.kv_heads, problem.keys, problem.shape.dim), numpy_type)
                binding.bind_ortvalue_output("present_" + name, onnxruntime.OrtValue.ortvalue_from_numpy(present))
        run = lambda keep=(values, arrays): session.run_with_iobinding(binding)
        result = lambda: out.numpy().astype(np.float32).reshape(q.shape)
        return Call(run, result, 8 * np.dtype(numpy_type).itemsize)
