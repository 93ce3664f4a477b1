#!/usr/bin/env python3
"""Checks that transformers loads what Cohort exports and computes the same logits.

    COHORT_EXPORT_TO=DIR build/tests/model_test --gtest_filter='Export.*'
    python tests/golden/check_export.py DIR              (transformers 5.23.0, torch 2.11.0)

Every model under tests/golden/logits was read, put through the decoder's flat parameters and written again; here its
logits are compared with those of the folder it came from.
"""
import json
import pathlib
import sys

import numpy as np
import torch
from transformers import AutoModelForCausalLM

GOLDEN = pathlib.Path(__file__).resolve().parent / "logits"


def main():
    worst = 0.0
    for golden in sorted(GOLDEN.iterdir()):
        folder = pathlib.Path(sys.argv[1]) / golden.name
        model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager",
                                                           output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"], (golden.name, info)
        tokens = torch.tensor([json.loads((golden / "golden.json").read_text())["tokens"]])
        with torch.no_grad():
            logits = model.eval()(tokens).logits[0].numpy()
        expected = np.frombuffer((golden / "logits.bin").read_bytes(), "<f4").reshape(logits.shape)
        error = float(np.abs(logits - expected).max() / np.abs(expected).max())
        worst = max(worst, error)
        print(f"{golden.name:20} relative error {error:.1e}")
    assert worst <= 1e-6, worst
    print("all equal")


if __name__ == "__main__":
    main()
