"""transformers' generate on the shapes of rollout_bench, for the same table.

  python transformers_generate.py NEW [static] MODEL:BATCH…      e.g. 256 0.5b:64 1.5b:64; static: static cache and compile

Random weights, prompts of 128 random tokens, NEW new tokens, sampling at temperature 1. One JSON line each.
"""
import json
import sys
import time

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

new, static = int(sys.argv[1]), "static" in sys.argv
shapes = {"0.5b": dict(hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14),
          "1.5b": dict(hidden_size=1536, intermediate_size=8960, num_hidden_layers=28, num_attention_heads=12)}
torch.set_default_dtype(torch.bfloat16)
for what in [a for a in sys.argv[2:] if a != "static"]:
    name, batch = what.split(":")[0], int(what.split(":")[1])
    with torch.device("cuda"):
        model = Qwen2ForCausalLM(Qwen2Config(**shapes[name], num_key_value_heads=2, vocab_size=151936, max_position_embeddings=32768,
                                             rope_theta=1e6, tie_word_embeddings=True, bos_token_id=None, eos_token_id=None)).eval()
        ids = torch.randint(0, 151936, (batch, 128))
    model.generation_config.eos_token_id = None
    arguments = dict(attention_mask=torch.ones_like(ids), do_sample=True, top_k=0, temperature=1.0, pad_token_id=0)
    if static:
        arguments["cache_implementation"] = "static"
    with torch.no_grad():
        model.generate(ids, max_new_tokens=new if static else 4, **arguments)
        torch.cuda.synchronize()
        began = time.time()
        out = model.generate(ids, max_new_tokens=new, **arguments)
        torch.cuda.synchronize()
    print(json.dumps({"peer": "transformers static+compile" if static else "transformers", "model": name, "batch": batch, "new": new,
                      "tokens_s": round(batch * (out.shape[1] - 128) / (time.time() - began))}), flush=True)
    del model
