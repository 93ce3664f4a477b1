"""Greedy text and log-probs of `cohort generate --device cuda` beside transformers, on random models made here.

  python check_transformers.py COHORT_ROLLOUT WORK_DIR [MODEL…]     llama qwen2 qwen3 (tiny, the default), qwen2.5-0.5b, qwen2.5-1.5b

A tie is told from an error like this: where the two texts part, transformers in float32 may prefer its token to ours by no
more than what bf16 arithmetic itself is off at that place, measured as the largest difference between transformers' own
bf16 and float32 logits there. Log-probs of sampled tokens are compared with transformers in float32 on the same tokens;
beside it stands how far transformers in bf16 is from the same. Exit code 1 when a bound is broken.
"""
import json
import os
import subprocess
import sys

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

program, work = sys.argv[1], sys.argv[2]
wanted = sys.argv[3:] or ["llama", "qwen2", "qwen3"]
tiny = dict(vocab_size=2048, hidden_size=256, intermediate_size=704, num_hidden_layers=4, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=2048, initializer_range=0.04, bos_token_id=None,
            eos_token_id=None, pad_token_id=None)
qwen = dict(vocab_size=151936, max_position_embeddings=4096, rope_theta=1e6, rms_norm_eps=1e-6, tie_word_embeddings=True,
            num_key_value_heads=2, bos_token_id=None, eos_token_id=None, pad_token_id=None)
models = [
    ("llama", LlamaForCausalLM, LlamaConfig(**tiny, rope_theta=5e5), 16, 100),
    ("qwen2", Qwen2ForCausalLM, Qwen2Config(**tiny, tie_word_embeddings=True), 16, 100),
    ("qwen3", Qwen3ForCausalLM, Qwen3Config(**tiny, head_dim=128), 16, 100),
    ("qwen2.5-0.5b", Qwen2ForCausalLM, Qwen2Config(hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14, **qwen), 200, 512),
    ("qwen2.5-1.5b", Qwen2ForCausalLM, Qwen2Config(hidden_size=1536, intermediate_size=8960, num_hidden_layers=28, num_attention_heads=12, **qwen), 64, 128),
]
models = [m for m in models if m[0] in wanted]


def generate(folder, records, *flags):
    with open(f"{work}/in.jsonl", "w") as f:
        for r in records:
            f.write(json.dumps(r) + "\n")
    subprocess.run([program, "generate", "--model", folder, "--input", f"{work}/in.jsonl", "--output", f"{work}/out.jsonl",
                    "--device", "cuda", "--dtype", "bfloat16", "--ignore-eos", "--logprobs", "--batch", "200", *flags], check=True)
    return [json.loads(line) for line in open(f"{work}/out.jsonl")]


@torch.no_grad()
def logprobs_of(model, prompt, completion):
    ids = torch.tensor([prompt + completion], device="cuda")
    logits = model(ids).logits[0, len(prompt) - 1:-1].float()
    return torch.log_softmax(logits, -1).gather(1, torch.tensor(completion, device="cuda")[:, None])[:, 0]


bad = False
for name, kind, config, sequences, length in models:
    folder = f"{work}/{name}"
    torch.manual_seed(1)
    with torch.device("cuda"):
        model = kind(config)
    for n, p in model.named_parameters():  # biases and norms are not at their neutral start
        if "bias" in n:
            p.data.normal_(0, 0.05)
        elif "norm" in n:
            p.data.normal_(1, 0.1)
    model = model.to(torch.bfloat16).cuda().eval()
    model.save_pretrained(folder)
    torch.manual_seed(2)
    prompts = [torch.randint(0, config.vocab_size, (5 + 7 * (i % 20),)).tolist() for i in range(sequences)]
    records = [{"id": i, "prompt_ids": p} for i, p in enumerate(prompts)]

    model.generation_config.eos_token_id = None
    with torch.device("cuda"):
        wide = kind(config).eval()
    wide.load_state_dict({n: t.float() for n, t in model.state_dict().items()})
    few = [{"id": i, "prompt_ids": (p * 8)[:24]} for i, p in enumerate(prompts[:16])]
    ids = torch.tensor([r["prompt_ids"] for r in few], device="cuda")
    with torch.no_grad():
        all_theirs = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=48, do_sample=False, pad_token_id=0)[:, 24:].tolist()
    ties = errors = same = tokens = 0
    for got, record, theirs in zip(generate(folder, few, "--temperature", "0", "--max-tokens", "48"), few, all_theirs):
        ours = got["token_ids"]
        i = 0
        while i < len(ours) and ours[i] == theirs[i]:
            i += 1
        same, tokens = same + i, tokens + len(ours)
        if i == len(ours):
            continue
        here = torch.tensor([record["prompt_ids"] + ours[:i]], device="cuda")
        with torch.no_grad():
            l16, l32 = model(here).logits[0, -1].float(), wide(here).logits[0, -1]
        gap, noise = (l32[theirs[i]] - l32[ours[i]]).item(), (l16 - l32).abs().max().item()
        if gap <= noise:
            ties += 1
        else:
            errors += 1
            print(f"{name}: sequence {got['id']} token {i}: ours is {gap:.4f} below theirs in float32, bf16 is off by {noise:.4f}")
    print(json.dumps({"model": name, "greedy_sequences": len(few), "equal_tokens": same, "of": tokens, "parted_at_a_tie": ties, "errors": errors}))
    bad = bad or errors > 0

    outputs = generate(folder, records, "--temperature", "1", "--max-tokens", str(length), "--seed", "5")
    differences, theirs = [], []
    for i, (got, prompt) in enumerate(zip(outputs, prompts)):
        reference = logprobs_of(wide, prompt, got["token_ids"])
        differences.append(reference - torch.tensor(got["logprobs"], device="cuda"))
        if i < 8:
            theirs.append(reference - logprobs_of(model, prompt, got["token_ids"]))
    t = torch.cat(theirs).double()
    d = torch.cat(differences).double()
    mean, kl = d.abs().mean().item(), (d.exp() - 1 - d).mean().item()
    print(json.dumps({"model": name, "sampled_tokens": d.numel(), "mean_abs": round(mean, 6), "max_abs": round(d.abs().max().item(), 4), "kl": kl, "transformers_bf16_mean_abs": round(t.abs().mean().item(), 6), "transformers_bf16_kl": (t.exp() - 1 - t).mean().item()}), flush=True)
    bad = bad or mean > 0.01 or kl > 1e-3
    del model, wide
    torch.cuda.empty_cache()
sys.exit(1 if bad else 0)
