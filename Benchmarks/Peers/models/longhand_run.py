# SPDX-License-Identifier: Apache-2.0
"""Longhand: `longhand run` of the Swift release build. A method is `STORE[/ATTENTION][@LINEAR]`, as in `bf16@int8`."""
import json
import os
import pathlib
import subprocess

from models import Engine
from operators.longhand import split_methods
from worker import one_line


class LonghandRun(Engine):
    def __init__(self, threads, settings):
        super().__init__(threads, settings)
        self.characters = {}  # per token, by model

    def version(self):
        return self.settings["commit"]

    def methods(self, model):
        if not self.settings["longhand"]:
            return {"": "the Swift package was not built"}
        return dict.fromkeys(split_methods(self.settings["model_stores"]))

    def measure(self, model, method, tokens, steps):
        text = self.settings["text"]
        report = self._run(model, method, text[:int(tokens * self.characters.get(model, 4))], tokens, steps)
        # The command reads text; as many characters as make about the number of tokens asked for.
        self.characters[model] = len(report["text_read"]) / report["prefill"]["tokens"]
        if abs(report["prefill"]["tokens"] - tokens) > max(2, tokens // 50):
            wanted = text[:round(tokens * self.characters[model])]
            report = self._run(model, method, wanted, tokens, steps)
        return report["prefill"]["tokensPerSecond"], report["decode"]["tokensPerSecond"]

    def _run(self, model, method, text, tokens, steps):
        cache, _, linear = method.partition("@")
        store, _, attention = cache.partition("/")
        prompt = pathlib.Path(self.settings["folder"], "prompt.txt")
        prompt.write_text(text)
        command = [self.settings["longhand"], "run", "--raw", "--json", "-m", self.settings["models"][model], "-f", str(prompt),
                   "-n", str(steps + 1), "-c", str(tokens + tokens // 4 + 256), "-t", str(self.threads), "--store", store,
                   "--attention", attention or "flash"] + (["--linear", linear] if linear else [])
        # A process of its own, which ends: its idle workers need not be told to sleep soon.
        environment = {name: value for name, value in os.environ.items() if name != "KMP_BLOCKTIME"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise RuntimeError(one_line(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode))
        return json.loads(done.stdout) | {"text_read": text}
