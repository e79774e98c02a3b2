# SPDX-License-Identifier: Apache-2.0
"""Attention operators: Longhand's and those of its peers, one file each. All are driven through `Operator`."""
import dataclasses
import importlib
import typing


@dataclasses.dataclass
class Call:
    """A prepared computation."""
    run: typing.Callable  # computes once
    result: typing.Callable  # the output as f32 [batch][rows][query heads][d]
    bits: float  # per element of keys and values
    roof: str = "f32"  # arithmetic that limits it: f32, bf16 or int8+bf16
    detail: str = ""


class Operator:
    """One peer inside its own process. `methods` are names of element types and layouts, reported as rows."""
    def __init__(self, threads, settings):
        self.threads, self.settings = threads, settings

    def version(self):
        raise NotImplementedError

    def methods(self, problem):
        """Names of what can run on `problem`; a value that is not None is the reason why it does not."""
        raise NotImplementedError

    def prefill(self, problem, inputs, method):
        raise NotImplementedError

    def decode(self, problem, inputs, method):
        raise NotImplementedError

    def prepare(self, problem, inputs, method):
        return getattr(self, problem.phase)(problem, inputs.load(), method)


# name -> module and class
OPERATORS = {
    "longhand": ("operators.longhand", "Longhand"),
    "onnxruntime": ("operators.onnxruntime_gqa", "OnnxRuntime"),
    "pytorch": ("operators.pytorch_sdpa", "PyTorch"),
    "openvino": ("operators.openvino_sdpa", "OpenVINO"),
    "llama.cpp": ("operators.ggml_flash", "Ggml"),
}


def load(name, threads, settings):
    module, kind = OPERATORS[name]
    return getattr(importlib.import_module(module), kind)(threads, settings)
