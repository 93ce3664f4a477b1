"""transformers' generate on the shapes of rollout_bench, for the same table.

  python transformers_generate.py [0.5b|1.5b] BATCH [static]      static: static cache and torch.compile

Random weights, prompts of 128 random tokens, 256 new tokens, sampling at temperature 1. One JSON line.
"""
import json
import sys
import time

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

name, batch, static = sys.argv[1], int(sys.argv[2]), len(sys.argv) > 3
shape = {"0.5b": dict(hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14),
         "1.5b": dict(hidden_size=1536, intermediate_size=8960, num_hidden_layers=28, num_attention_heads=12)}[name]
torch.set_default_dtype(torch.bfloat16)
with torch.device("cuda"):
    model = Qwen2ForCausalLM(Qwen2Config(**shape, num_key_value_heads=2, vocab_size=151936, max_position_embeddings=32768,
                                         rope_theta=1e6, tie_word_embeddings=True, bos_token_id=None, eos_token_id=None)).eval()
    ids = torch.randint(0, 151936, (batch, 128))
new = 256
arguments = dict(attention_mask=torch.ones_like(ids), do_sample=True, top_k=0, temperature=1.0, pad_token_id=0, eos_token_id=-1)
if static:
    arguments["cache_implementation"] = "static"
rates = []
with torch.no_grad():
    model.generate(ids, max_new_tokens=new if static else 8, **arguments)
    for _ in range(2 if static else 1):
        torch.cuda.synchronize()
        began = time.time()
        out = model.generate(ids, max_new_tokens=new, **arguments)
        torch.cuda.synchronize()
        rates.append(batch * (out.shape[1] - 128) / (time.time() - began))
print(json.dumps({"peer": "transformers static+compile" if static else "transformers", "model": name, "batch": batch, "tokens_s": [round(r) for r in rates]}))
