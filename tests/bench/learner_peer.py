"""transformers' training step on the shapes of learner_gpu_bench: bf16, flash attention through sdpa, fused AdamW.

usage: learner_peer.py 0.5b|1.5b [checkpointing 0|1] [sequences a micro-batch] [micro-batches] [updates]
MFU as in learner_gpu_bench.cc. AdamW's state is bf16 here (the model's dtype), which is less work than Cohort's float32.
"""
import statistics
import sys
import time

import torch
from transformers import AutoModelForCausalLM, Qwen2Config

name, checkpointing = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1
sequences = int(sys.argv[3]) if len(sys.argv) > 3 else 4
micro = int(sys.argv[4]) if len(sys.argv) > 4 else 4
updates = int(sys.argv[5]) if len(sys.argv) > 5 else 3
length = 4096
shapes = {"0.5b": dict(hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2),
          "1.5b": dict(hidden_size=1536, intermediate_size=8960, num_hidden_layers=28, num_attention_heads=12, num_key_value_heads=2)}
config = Qwen2Config(vocab_size=151936, max_position_embeddings=32768, tie_word_embeddings=True, use_cache=False, **shapes[name])
with torch.device("cuda"):
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa")
model.train()
if checkpointing:
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
batches = [torch.randint(0, 150000, (sequences, length), device="cuda") for _ in range(micro)]


def update():
    torch.cuda.synchronize()
    began = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    for ids in batches:
        (model(input_ids=ids, labels=ids).loss / micro).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    torch.cuda.synchronize()
    return time.perf_counter() - began


try:
    update()
    times = sorted(update() for _ in range(updates))
except torch.OutOfMemoryError:
    print(f"transformers {name} checkpointing={checkpointing} {micro}x{sequences * length} tokens: out of memory")
    sys.exit(0)
parameters = sum(p.numel() for p in model.parameters())
s = shapes[name]
head_dim = s["hidden_size"] // s["num_attention_heads"]
flops = 6 * parameters + 6 * s["num_hidden_layers"] * s["num_attention_heads"] * head_dim * length
median = statistics.median(times)
tokens_s = sequences * length * micro / median
print(f"transformers {name} checkpointing={checkpointing} {micro}x{sequences * length} tokens: {tokens_s:.0f} tokens/s "
      f"(update {1e3 * median:.1f} ms, {1e3 * times[0]:.1f} to {1e3 * times[-1]:.1f}), {flops * tokens_s / 1e12:.1f} TFLOP/s, "
      f"MFU {flops * tokens_s / 989e12:.3f}; peak {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB")
