# SPDX-License-Identifier: Apache-2.0
"""Whole models: Longhand's runner and the engines of its peers, one file each, driven through `Engine`. Every engine reads
the same text with its own tokenizer, then generates; one run gives the speed of both at that depth."""
import dataclasses
import importlib
import statistics

from worker import PeerError, Worker

# name of the model -> its file in the cache of models
MODELS = {"SmolLM2-135M-Instruct Q4_1": "SmolLM2-135M-Instruct.Q4_1.gguf", "Gemma-3-270m Q4_K_M": "gemma-3-270m-q4_k_m.gguf"}
TOKENS = {"SmolLM2-135M-Instruct Q4_1": (16, 512, 2048, 8000), "Gemma-3-270m Q4_K_M": (16, 512, 8000, 32000)}
SHORT = 16  # so few tokens say nothing about prefill; decode starts at depth ~0
LONG = 8000  # from here on a run needs no other one to warm up, and one of the three that shorter ones get is enough
STEPS = 16  # tokens generated after the prompt

ENGINES = {
    "longhand": ("models.longhand_run", "LonghandRun"),
    "llama.cpp": ("models.llama_cpp_engine", "LlamaCpp"),
    "openvino": ("models.openvino_genai_engine", "OpenVinoGenAI"),
}


class Engine:
    """An engine in its own process."""

    def __init__(self, threads, settings):
        self.threads, self.settings = threads, settings

    def version(self):
        raise NotImplementedError

    def methods(self, model):
        """Names of settings for `model`; a value that is not None is the reason why one cannot run."""
        raise NotImplementedError

    def measure(self, model, method, tokens, steps):
        """Reads the first `tokens` tokens of the text and generates `steps`: tokens/s of (prefill, decode)."""
        raise NotImplementedError


def load(name, threads, settings):
    module, kind = ENGINES[name]
    return getattr(importlib.import_module(module), kind)(threads, settings)


@dataclasses.dataclass
class ModelRow:
    model: str
    engine: str
    method: str
    tokens: int
    threads: int
    prefill: list = dataclasses.field(default_factory=list)
    decode: list = dataclasses.field(default_factory=list)
    note: str = ""

    def record(self):
        values = dataclasses.asdict(self) | {"runs": len(self.decode)}
        if self.decode:
            values |= {"decode_tokens_per_second": statistics.median(self.decode), "decode_best": max(self.decode)}
            if self.tokens > SHORT:
                values |= {"prefill_tokens_per_second": statistics.median(self.prefill), "prefill_best": max(self.prefill)}
        return values


class Runs:
    """All engines on one model, interleaved run by run."""

    def __init__(self, engines, threads, settings, rounds, log):
        self.engines, self.threads, self.settings, self.rounds, self.log = engines, threads, settings, rounds, log
        self.workers, self.versions = {}, {}

    def worker(self, name):
        worker = self.workers.get(name)
        if worker is None or not worker.alive:
            worker = self.workers[name] = Worker(name, self.threads, load, name, self.threads, self.settings)
            self.versions[name] = worker.call("version")
        return worker

    def run(self, model, lengths):
        methods = []
        for name in self.engines:
            try:
                methods += [(name, method, reason) for method, reason in self.worker(name).call("methods", model).items()]
            except PeerError as error:
                methods.append((name, "", str(error)))
        rows = []
        for tokens in lengths:
            self.log(f"{model}, {tokens} tokens")
            part = [ModelRow(model, name, method, tokens, self.threads, note=reason or "") for name, method, reason in methods]
            warm = tokens >= LONG
            for round in range(-(-self.rounds // 3) if warm else self.rounds + 1):
                for row in part:
                    if not row.note:
                        self._measure(row, warm or round > 0)
            rows += part
        return rows

    def _measure(self, row, counts):
        try:
            prefill, decode = self.worker(row.engine).call("ask", "measure", row.model, row.method, row.tokens,
                                                           STEPS if row.tokens > SHORT else 4 * STEPS)
        except PeerError as error:
            row.note = str(error)
            return
        if counts:
            row.prefill.append(prefill)
            row.decode.append(decode)

    def close(self):
        for worker in self.workers.values():
            worker.close()
