# SPDX-License-Identifier: Apache-2.0
"""llama.cpp: as its own benchmark does, the text in batches of 2048 tokens (512 at a time), then token by token; flash
attention on. A method is the type of keys and values."""
import ctypes as c
import importlib.metadata
import time

import llama_cpp as llama

from models import Engine

TYPES = {"KV f16": llama.GGML_TYPE_F16, "KV q8_0": llama.GGML_TYPE_Q8_0}
BATCH = 2048


class LlamaCpp(Engine):
    def __init__(self, threads, settings):
        super().__init__(threads, settings)
        self.models = {}
        self.quiet = llama.llama_log_callback(lambda level, text, data: None)
        llama.llama_log_set(self.quiet, None)
        llama.llama_backend_init()

    def version(self):
        return f"llama-cpp-python {importlib.metadata.version('llama-cpp-python')}"

    def methods(self, model):
        return dict.fromkeys(TYPES)

    def _model(self, name):
        """The model and the tokens of the text."""
        if name not in self.models:
            path = self.settings["models"][name].encode()
            pointer = llama.llama_model_load_from_file(path, llama.llama_model_default_params())
            if not pointer:
                raise RuntimeError("the model cannot be loaded")
            text = self.settings["text"].encode()
            ids = (llama.llama_token * len(text))()
            count = llama.llama_tokenize(llama.llama_model_get_vocab(pointer), text, len(text), ids, len(text), True, False)
            self.models[name] = pointer, ids[:count]
        return self.models[name]

    def measure(self, model, method, tokens, steps):
        pointer, ids = self._model(model)
        params = llama.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = -(-(tokens + steps) // 256) * 256, BATCH, 512
        params.n_threads = params.n_threads_batch = self.threads
        params.type_k = params.type_v = TYPES[method]
        params.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_ENABLED
        context = llama.llama_init_from_model(pointer, params)
        if not context:
            raise RuntimeError("no context for these settings")
        try:
            self._decode(context, ids[:1])  # touches weights and workspace, and is forgotten
            llama.llama_memory_clear(llama.llama_get_memory(context), True)
            start = time.perf_counter()
            for first in range(0, tokens, BATCH):
                self._decode(context, ids[first:min(first + BATCH, tokens)])
            middle = time.perf_counter()
            for step in range(steps):
                self._decode(context, ids[tokens + step:tokens + step + 1])
            end = time.perf_counter()
        finally:
            llama.llama_free(context)
        return tokens / (middle - start), steps / (end - middle)

    def _decode(self, context, ids):
        array = (llama.llama_token * len(ids))(*ids)
        if llama.llama_decode(context, llama.llama_batch_get_one(array, len(ids))):
            raise RuntimeError("llama_decode failed")
        llama.llama_synchronize(context)
