# SPDX-License-Identifier: Apache-2.0
"""Operators that need no library, each good or bad in its own way."""
import os
import time

import numpy as np

import problems
from operators import Call, Operator


class Exact(Operator):
    """The formula in double precision; notes every call in the file `settings["log"]`."""
    names = ("f32", "bf16")

    def version(self):
        return "1"

    def methods(self, problem):
        return dict.fromkeys(self.names)

    def prepare(self, problem, inputs, method):
        out = problems.reference(problem, inputs, np.arange(problem.rows)).astype(np.float32)

        def run():
            with open(self.settings["log"], "a") as file:
                print(type(self).__name__, method, os.environ["OMP_NUM_THREADS"], file=file)
            time.sleep(0.002)

        return Call(run, lambda: out, 16 if method == "bf16" else 32, method, "by the formula")


class Other(Exact):
    names = ("f32",)


class Wrong(Exact):
    """Off by one per cent."""
    names = ("f32",)

    def prepare(self, problem, inputs, method):
        call = super().prepare(problem, inputs, method)
        return Call(call.run, lambda: call.result() * 1.01, 32)


class NotANumber(Exact):
    names = ("f32",)

    def prepare(self, problem, inputs, method):
        call = super().prepare(problem, inputs, method)
        return Call(call.run, lambda: call.result() * np.nan, 32)


class Dies(Exact):
    names = ("f32",)

    def prepare(self, problem, inputs, method):
        return Call(lambda: os._exit(7), None, 32)


class Refuses(Exact):
    """One method that it cannot prepare, and one of which it says so beforehand."""

    def methods(self, problem):
        return {"f32": None, "f16": "takes no f16"}

    def prepare(self, problem, inputs, method):
        raise ValueError("no such\nshape")


class Slow(Exact):
    """A call takes a millisecond per 8 tokens, squared."""
    names = ("f32",)

    def prepare(self, problem, inputs, method):
        call = super().prepare(problem, inputs, method)
        return Call(lambda: time.sleep(1e-3 * (problem.keys / 8) ** 2), call.result, 32)


class Roofs:
    def __init__(self, threads, settings):
        pass

    def compute(self):
        return {"f32": 100.0, "bf16": 200.0}

    def read(self):
        return {"read": 50.0, "read 4K": 30.0}


def load(name, threads, settings):
    return globals()[name](threads, settings)
