#!/usr/bin/env python3
"""Checks that transformers answers a folder that Cohort trained and exported with the same greedy text.

    python tests/golden/check_greedy.py build/bin/cohort runs/quickstart/model runs/quickstart/data/eval.jsonl

(transformers 5.24.0, torch 2.11.0.) The first 32 prompts, at most 100 new tokens each.
"""
import json
import subprocess
import sys
import tempfile

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

NEW_TOKENS = 100


def main():
    cohort, folder, data = sys.argv[1:4]
    with open(data) as lines:
        rows = [json.loads(line) for line in lines][:32]
    with tempfile.TemporaryDirectory() as work:
        with open(work + "/in.jsonl", "w") as out:
            for row in rows:
                out.write(json.dumps({"id": row["id"], "prompt": row["prompt"]}) + "\n")
        subprocess.run([cohort, "generate", "--model", folder, "--input", work + "/in.jsonl", "--output", work + "/out.jsonl",
                        "--temperature", "0", "--max-tokens", str(NEW_TOKENS)], check=True, stdout=subprocess.DEVNULL)
        with open(work + "/out.jsonl") as lines:
            ours = {row["id"]: row for row in map(json.loads, lines)}
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    same_ids = same_text = 0
    for row in rows:
        prompt = tokenizer(row["prompt"], return_tensors="pt")["input_ids"]
        with torch.no_grad():
            theirs = model.generate(input_ids=prompt, do_sample=False, max_new_tokens=NEW_TOKENS)[0, prompt.shape[1]:].tolist()
        mine = ours[row["id"]]
        ids = [[t for t in tokens if t != tokenizer.eos_token_id] for tokens in (mine["token_ids"], theirs)]
        same_ids += ids[0] == ids[1]
        same_text += mine["completion"].strip() == tokenizer.decode(theirs, skip_special_tokens=True).strip()
    print(f"ids equal {same_ids}, text equal {same_text} of {len(rows)}")
    sys.exit(not same_ids == same_text == len(rows))


if __name__ == "__main__":
    main()
