#!/usr/bin/env python3
"""Makes tests/golden/logits/: tiny random Llama, Qwen2 and Qwen3 folders and what transformers says of them.

    python tests/golden/make_logits_golden.py        (transformers 5.23.0, torch 2.11.0, safetensors 0.7)

Each folder holds config.json, safetensors and golden.json: token ids, and logits.bin, float32 [T, V] row-major, of one
forward in float32 with eager attention. `long` cases run past max_position_embeddings (dynamic RoPE grows there).
"""
import json
import pathlib
import shutil

import numpy as np
import torch
import transformers
from transformers import (LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM)

OUT = pathlib.Path(__file__).resolve().parent / "logits"
BASE = dict(vocab_size=37, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.3)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=16)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16)


def rope(theta=10000.0, **kw):
    return dict(rope_theta=theta, **(kw or dict(rope_type="default")))


CASES = {
    "llama_tied": (LlamaConfig, LlamaForCausalLM, dict(tie_word_embeddings=True)),
    "llama_bias": (LlamaConfig, LlamaForCausalLM, dict(attention_bias=True, mlp_bias=True, num_key_value_heads=4)),
    "llama_head_dim": (LlamaConfig, LlamaForCausalLM, dict(head_dim=6, num_key_value_heads=1, hidden_size=20)),
    "llama_linear": (LlamaConfig, LlamaForCausalLM, dict(rope_parameters=rope(rope_type="linear", factor=3.0))),
    "llama_dynamic": (LlamaConfig, LlamaForCausalLM,
                      dict(rope_parameters=rope(rope_type="dynamic", factor=2.0), max_position_embeddings=24)),
    "llama_llama3": (LlamaConfig, LlamaForCausalLM, dict(rope_parameters=rope(5e5, **LLAMA3), head_dim=16)),
    "llama_yarn": (LlamaConfig, LlamaForCausalLM, dict(rope_parameters=rope(**YARN), head_dim=16)),
    "llama_yarn_mscale": (LlamaConfig, LlamaForCausalLM,
                          dict(rope_parameters=rope(**YARN, mscale=0.7, mscale_all_dim=0.4, beta_fast=16.0,
                                                    beta_slow=2.0, truncate=False), head_dim=16)),
    "llama_yarn_factor": (LlamaConfig, LlamaForCausalLM,
                          dict(rope_parameters=rope(**YARN, attention_factor=1.3), head_dim=16)),
    "llama_sharded": (LlamaConfig, LlamaForCausalLM, dict()),
    "llama_bf16": (LlamaConfig, LlamaForCausalLM, dict()),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, dict(rope_parameters=rope(1e6))),
    "qwen2_tied": (Qwen2Config, Qwen2ForCausalLM, dict(tie_word_embeddings=True, num_key_value_heads=1)),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, dict(head_dim=12, rope_parameters=rope(1e6))),
    "qwen3_bias": (Qwen3Config, Qwen3ForCausalLM, dict(head_dim=8, attention_bias=True, tie_word_embeddings=True)),
}


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    for i, (name, (config_class, model_class, extra)) in enumerate(CASES.items()):
        torch.manual_seed(i)
        config = config_class(**{**BASE, **extra})
        model = model_class(config).eval()
        with torch.no_grad():
            for key, p in model.named_parameters():  # norms and biases must matter too
                if "norm" in key:
                    p.add_(torch.randn_like(p) * 0.2)
                elif key.endswith("bias"):
                    p.copy_(torch.randn_like(p) * 0.3)
        folder = OUT / name
        if name == "llama_bf16":
            model = model.to(torch.bfloat16)
        model.save_pretrained(folder, **(dict(max_shard_size="12KB") if name == "llama_sharded" else {}))
        model = model_class.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
        tokens = torch.randint(0, config.vocab_size, (1, 40))
        with torch.no_grad():
            logits = model(tokens).logits[0]
        (folder / "logits.bin").write_bytes(logits.numpy().astype("<f4").tobytes())
        (folder / "golden.json").write_text(json.dumps(
            dict(tokens=tokens[0].tolist(), transformers=transformers.__version__, torch=torch.__version__)) + "\n")
        print(name, sum(f.stat().st_size for f in folder.iterdir()), "bytes, largest logit", float(logits.abs().max()))


if __name__ == "__main__":
    main()
