"""Which of bf16's roundings move a Llama model's log-probabilities, by how much: NumPy in float32 that rounds at chosen places.

  python bf16_roundings.py MODEL_FOLDER GSM8K.jsonl [records, 6]       SmolLM2-135M-Instruct: about 12 s a record on two cores

The log-probabilities of the tokens of the records' questions and solutions in the model's chat form, against the same without
any rounding (the weights are bf16 in both); and those of one computation against itself with the products' sums in another order,
which alone decides how many roundings fall to the other side. Needs numpy and tokenizers.
"""
import json
import os
import sys

import numpy as np
from tokenizers import Tokenizer

folder, data = sys.argv[1], sys.argv[2]
records = int(sys.argv[3]) if len(sys.argv) > 3 else 6
PLACES = {"norm": "norms' outputs", "product": "q, k, v before the rotation", "qkv": "q, k, v after it", "probs": "attention weights",
          "attn": "attention's output", "delta": "output and down products", "residual": "the residual sum",
          "gate": "gate and up products", "act": "SwiGLU's output"}


def bf16(x):
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


def read_weights():
    raw = open(os.path.join(folder, "model.safetensors"), "rb").read()
    size = int.from_bytes(raw[:8], "little")
    out = {}
    for name, t in json.loads(raw[8:8 + size]).items():
        if name == "__metadata__":
            continue
        assert t["dtype"] == "BF16", f"{name} is {t['dtype']}"
        begin, end = t["data_offsets"]
        bits = np.frombuffer(raw[8 + size + begin:8 + size + end], dtype=np.uint16).astype(np.uint32) << 16
        out[name] = bits.view(np.float32).reshape(t["shape"])
    return out


c = json.load(open(os.path.join(folder, "config.json")))
heads, kv_heads, dim, eps = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"], c["rms_norm_eps"]
weights = read_weights()


def logprobs(ids, places, shuffled=False):
    at = lambda place, x: bf16(x) if place in places else x

    def multiply(x, w):
        if not shuffled:
            return x @ w.T
        halves = np.array_split(np.random.default_rng(1).permutation(x.shape[-1]), 2)
        return sum(x[:, k] @ w[:, k].T for k in halves)

    rows = len(ids)
    angle = np.outer(np.arange(rows), c["rope_theta"] ** -(np.arange(0, dim, 2) / dim)).astype(np.float32)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    mask = np.triu(np.full((rows, rows), -1e30, np.float32), 1)

    def norm(x, w):
        return at("norm", x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * w)

    def rotated(x, w, n):
        x = at("product", multiply(x, w)).reshape(rows, n, dim)
        a, b = x[..., :dim // 2], x[..., dim // 2:]
        return at("qkv", np.concatenate([a * cos - b * sin, b * cos + a * sin], -1))

    x = weights["model.embed_tokens.weight"][ids]
    for layer in range(c["num_hidden_layers"]):
        w = {n: weights[f"model.layers.{layer}.{n}.weight"] for n in
             ("input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
              "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")}
        h = norm(x, w["input_layernorm"])
        q, k = rotated(h, w["self_attn.q_proj"], heads), rotated(h, w["self_attn.k_proj"], kv_heads)
        v = at("qkv", multiply(h, w["self_attn.v_proj"])).reshape(rows, kv_heads, dim)
        out = np.empty((rows, heads, dim), np.float32)
        for j in range(heads):
            of = j // (heads // kv_heads)
            s = q[:, j] @ k[:, of].T / np.sqrt(dim) + mask
            s = np.exp(s - s.max(-1, keepdims=True))
            out[:, j] = at("probs", s) @ v[:, of] / s.sum(-1, keepdims=True)
        x = at("residual", x + at("delta", multiply(at("attn", out.reshape(rows, -1)), w["self_attn.o_proj"])))
        h = norm(x, w["post_attention_layernorm"])
        gate, up = (at("gate", multiply(h, w[f"mlp.{n}_proj"])) for n in ("gate", "up"))
        x = at("residual", x + at("delta", multiply(at("act", gate / (1 + np.exp(-gate)) * up), w["mlp.down_proj"])))
    head = weights.get("lm_head.weight", weights["model.embed_tokens.weight"])
    logits = multiply(norm(x, weights["model.norm.weight"]), head)
    top = logits.max(-1, keepdims=True)
    return (logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True)))[np.arange(rows - 1), ids[1:]]


learner = set(PLACES) - {"residual", "delta", "product"}
cases = {"all": set(PLACES), "all but the residual sum": set(PLACES) - {"residual"}, "those of the learner": learner,
         "those of CudaRunner, decoding": learner - {"gate"}}
cases |= {f"only {what}": {place} for place, what in PLACES.items()}
tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
exact, differences, reordered = [], {name: [] for name in cases}, {name: [] for name in ("nothing", *cases)}
for line in open(data, encoding="utf-8").read().splitlines()[:records]:
    record = json.loads(line)
    text = (f"<|im_start|>user\n{record['question']}<|im_end|>\n<|im_start|>assistant\n{record['answer']}<|im_end|>")
    ids = np.array(tokenizer.encode(text).ids)
    exact.append(logprobs(ids, set()))
    for name, places in cases.items():
        rounded = logprobs(ids, places)
        differences[name].append(rounded - exact[-1])
        if not name.startswith("only"):
            reordered[name].append(logprobs(ids, places, shuffled=True) - rounded)
    reordered["nothing"].append(logprobs(ids, set(), shuffled=True) - exact[-1])
exact = np.concatenate(exact)
mean = lambda parts: f"{np.abs(np.concatenate(parts)).mean():.5f}" if parts else ""
print(f"{len(exact)} tokens, mean log-prob {exact.mean():.2f}\n| rounded to bf16 | mean abs. difference | to itself with sums in another order |\n"
      "| --- | --- | --- |")
for name in ("nothing", *cases):
    print(f"| {name} | {mean(differences.get(name, []))} | {mean(reordered[name])} |")
