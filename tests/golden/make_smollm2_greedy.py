#!/usr/bin/env python3
"""Makes tests/golden/smollm2_greedy.json: greedy continuations of SmolLM2-135M-Instruct, 32 prompts of 64 new tokens.

    python tests/golden/make_smollm2_greedy.py FOLDER      (transformers 5.23.0, torch 2.11.0)

FOLDER is the model folder of tests/golden/make_smollm2.py. float32, end tokens ignored, no repetition penalty. For each
new token the gap between the two largest logits is looked at: `smallest_gap` says how far the nearest tie was.
"""
import json
import pathlib
import sys

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXTS = """The capital of France is
Once upon a time, in a small village,
def fibonacci(n):
The three laws of robotics are
To bake a chocolate cake, first
In 1969, humans
Water boils at
SELECT name, COUNT(*) FROM
The quick brown fox
My favourite season is autumn because
#include <stdio.h>
A prime number is
The mitochondria is
Dear Sir or Madam,
Question: What is 17 + 25? Answer:
The largest planet in the solar system
import numpy as np
She opened the door and saw
Photosynthesis is the process by which
1, 1, 2, 3, 5, 8,
The recipe needs two eggs,
¿Dónde está la biblioteca?
Les enfants jouent dans
{"name": "Alice", "age":"""
CHATS = """What is gravity?
Write a haiku about the sea.
Give me three tips for sleeping better.
Translate "good morning" into Spanish.
Explain recursion to a child.
What is 12 times 12?
Who wrote Hamlet?
Write a Python function that reverses a string."""


def main():
    folder = sys.argv[1]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    prompts = [tokenizer(t).input_ids for t in TEXTS.split("\n")]
    for text in CHATS.split("\n"):
        rendered = tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False,
                                                 add_generation_prompt=True)
        prompts.append(tokenizer(rendered, add_special_tokens=False).input_ids)
    assert len(prompts) == 32
    # one batch, padded on the left and masked there
    width = max(map(len, prompts))
    feed = torch.tensor([[0] * (width - len(ids)) + ids for ids in prompts])
    mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts])
    position = (mask.cumsum(1) - 1).clamp(min=0)
    past, out, smallest = None, [], float("inf")
    with torch.no_grad():
        for _ in range(64):
            result = model(feed, attention_mask=mask, position_ids=position, past_key_values=past, use_cache=True)
            past, top = result.past_key_values, result.logits[:, -1].topk(2)
            smallest = min(smallest, float((top.values[:, 0] - top.values[:, 1]).min()))
            feed = top.indices[:, :1]
            out.append(feed[:, 0].tolist())
            mask = torch.cat((mask, torch.ones(32, 1, dtype=mask.dtype)), 1)
            position = position[:, -1:] + 1
    cases = [dict(prompt_ids=p, completion_ids=list(c), text=tokenizer.decode(c)) for p, c in zip(prompts, zip(*out))]
    target = pathlib.Path(__file__).resolve().parent / "smollm2_greedy.json"
    target.write_text(json.dumps(dict(transformers=transformers.__version__, torch=torch.__version__,
                                      smallest_gap=smallest, cases=cases), ensure_ascii=False, indent=0) + "\n")
    print("smallest gap between the two largest logits:", smallest)


if __name__ == "__main__":
    main()
