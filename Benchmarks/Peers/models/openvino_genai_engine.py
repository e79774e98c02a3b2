# SPDX-License-Identifier: Apache-2.0
"""OpenVINO GenAI: LLMPipeline on the GGUF file itself, with paged attention. A method names the inference precision, the
type of keys and values, and whether prefill is sparse (XAttention)."""
import numpy as np
import openvino
import openvino_genai as genai

from models import Engine

CACHE_GB = 1
BATCHED_TOKENS = 512
METHODS = {"bf16, KV u8": ("bf16", "u8", False), "bf16, KV bf16": ("bf16", "bf16", False), "f32, KV u8": ("f32", "u8", False),
           "f32, KV f16": ("f32", "f16", False), "bf16, KV u8, XAttention 0.8": ("bf16", "u8", True)}


class OpenVinoGenAI(Engine):
    def __init__(self, threads, settings):
        super().__init__(threads, settings)
        self.pipelines = {}

    def version(self):
        return f"GenAI {genai.__version__.split('-')[0]}"

    def methods(self, model):
        if not model.startswith("SmolLM2"):
            return {"": "its GGUF reader takes no model of this kind"}
        return dict.fromkeys(METHODS)

    def _pipeline(self, model, method):
        if (model, method) not in self.pipelines:
            precision, kv_type, sparse = METHODS[method]
            scheduler = genai.SchedulerConfig()
            scheduler.cache_size, scheduler.max_num_batched_tokens = CACHE_GB, BATCHED_TOKENS
            scheduler.enable_prefix_caching = False  # every run reads the whole prompt
            if sparse:
                scheduler.use_sparse_attention = True
                scheduler.sparse_attention_config = genai.SparseAttentionConfig(
                    mode=genai.SparseAttentionMode.XATTENTION, xattention_threshold=0.8)
            pipeline = genai.LLMPipeline(
                self.settings["models"][model], "CPU", scheduler_config=scheduler, INFERENCE_PRECISION_HINT=precision,
                KV_CACHE_PRECISION=kv_type, INFERENCE_NUM_THREADS=self.threads)
            ids = pipeline.get_tokenizer().encode(self.settings["text"]).input_ids.data
            self.pipelines[model, method] = pipeline, np.array(ids)
        return self.pipelines[model, method]

    def measure(self, model, method, tokens, steps):
        pipeline, ids = self._pipeline(model, method)
        prompt = np.ascontiguousarray(ids[:, :tokens])
        config = genai.GenerationConfig()
        config.max_new_tokens, config.ignore_eos, config.do_sample = steps + 1, True, False
        inputs = genai.TokenizedInputs(openvino.Tensor(prompt), openvino.Tensor(np.ones_like(prompt)))
        metrics = pipeline.generate(inputs, config).perf_metrics
        return prompt.shape[1] / metrics.get_ttft().mean * 1e3, 1e3 / metrics.get_tpot().mean
