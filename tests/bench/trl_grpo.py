"""TRL's GRPO trainer on the model, prompts and sizes of launch/recipes/gsm8k_gpu.toml, as its peer: seconds a step, tokens/s.

  python trl_grpo.py MODEL_FOLDER TRAIN.jsonl [--steps N] [--continuous] [--groups 32] [--generations 16] [--micro 64]

TRAIN.jsonl: what `cohort data gsm8k` writes. The reward is 1 when the last \\boxed{} holds the gold number. Generation is
transformers' (--continuous: its continuous batching); TRL's other engine, vLLM, is not in this comparison. One JSON object last;
the first step, which warms up, is left out.
"""
import argparse
import json
import re
import statistics
import time

import datasets
import pyarrow
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

arguments = argparse.ArgumentParser()
arguments.add_argument("model")
arguments.add_argument("train")
arguments.add_argument("--steps", type=int, default=4)
arguments.add_argument("--continuous", action="store_true")
arguments.add_argument("--groups", type=int, default=32)
arguments.add_argument("--generations", type=int, default=16)
arguments.add_argument("--micro", type=int, default=64, help="completions of one forward and backward")
arguments.add_argument("--new", type=int, default=256)
a = arguments.parse_args()

cuda = torch.cuda.is_available()
tokenizer = AutoTokenizer.from_pretrained(a.model)
if tokenizer.pad_token is None:
    tokenizer.pad_token = tokenizer.eos_token
records = [json.loads(line) for line in open(a.train, encoding="utf-8")]

# with a fingerprint of its own: some versions of datasets cannot pickle newer pyarrow's tables to make one
table = pyarrow.Table.from_pylist([{"prompt": r["messages"], "gold": r["gold"]} for r in records])
data = datasets.Dataset(datasets.table.InMemoryTable(table), fingerprint="trl_grpo")
lengths, took, marks = [], [], []


def right(completions, completion_ids, gold, **_):
    lengths.append(sum(len(ids) for ids in completion_ids))
    scores = []
    for completion, wanted in zip(completions, gold):
        boxed = re.findall(r"\\boxed\{([^{}]*)\}", completion[0]["content"])
        scores.append(float(bool(boxed) and boxed[-1].replace(",", "").strip() == wanted))
    return scores


class Clock(TrainerCallback):
    def on_step_begin(self, *_, **__):
        if cuda:
            torch.cuda.synchronize()
        marks.append(time.perf_counter())

    def on_step_end(self, *_, **__):
        if cuda:
            torch.cuda.synchronize()
        took.append(time.perf_counter() - marks[-1])


batch = a.groups * a.generations
micro = min(a.micro, batch)
config = GRPOConfig(
    output_dir="/tmp/trl-grpo", per_device_train_batch_size=micro, gradient_accumulation_steps=batch // micro,
    num_generations=a.generations, max_completion_length=a.new, temperature=1.0, learning_rate=1e-5, max_steps=a.steps, beta=0.0,
    epsilon=0.2, epsilon_high=0.28, loss_type="dapo", bf16=cuda, use_cpu=not cuda, logging_steps=1, save_strategy="no", report_to=[],
    gradient_checkpointing=False, use_transformers_continuous_batching=a.continuous, disable_tqdm=True)
model = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.bfloat16 if cuda else torch.float32)
trainer = GRPOTrainer(model=model, reward_funcs=right, args=config, train_dataset=data, processing_class=tokenizer,
                      callbacks=[Clock()])
trainer.train()
steps, tokens = took[1:], lengths[1:]
print(json.dumps({"peer": "TRL GRPO", "generation": "continuous batching" if a.continuous else "generate", "groups": a.groups,
                  "generations": a.generations, "steps": len(steps), "seconds_a_step": round(statistics.median(steps), 2),
                  "all_steps": [round(s, 2) for s in took], "completion_tokens_a_step": round(statistics.mean(tokens)),
                  "completion_tokens_s": round(sum(tokens) / sum(steps))}))
