#!/usr/bin/env python3
"""Makes the golden files of tests/rollout/tokenizer with Python's tokenizers.

    python tests/golden/make_tokenizer_golden.py DATA SMOLLM2

DATA is the folder with gsm8k/ and humaneval/, SMOLLM2 the folder that make_smollm2.py made. Writes, beside itself,

    tokenizers/qwen2/tokenizer.json    byte-level BPE with Qwen2's normalizer, pattern and added tokens, small
    tokenizers/llama3/tokenizer.json   the same for Llama-3 (ignore_merges, BOS template, merges in the old form)
    tokenizers/smollm2/                SmolLM2's own: tokenizer.json without what follows from merges.txt
    tokenizers/odd.jsonl               {"name", "tokenizer"}: tiny ones that reach the rarer parts of the format
    hard_text.jsonl                    {"name", "hex"}: bytes that are hard to tokenize, some of them not UTF-8
    tokenizer_ids/NAME.jsonl           for each hard text its ids under that tokenizer (past 1200 only their number and
                                       hash), what the post-processor adds, and hashes of the text decoded again
    tokenizer_ids/odd.jsonl            the same for the odd ones, on short texts
    tokenizer_hashes.json              for every file of GSM8K and HumanEval and every tokenizer: number of ids, one
                                       hash over all, and a short hash a line so that a difference can be found

Hashes are FNV-1a's 64-bit step, one an id (or a byte of decoded text).

Made with tokenizers 0.23.3, transformers 5.23.0.
"""
import gzip
import json
import os
import random
import sys
import unicodedata

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


# Texts ---------------------------------------------------------------------------------------------------------------
def gsm8k(data, part):
    with open(os.path.join(data, "gsm8k", part + ".jsonl"), encoding="utf-8") as f:
        return [row[key] for row in map(json.loads, f) for key in ("question", "answer")]


def humaneval(data):
    with gzip.open(os.path.join(data, "humaneval", "HumanEval.jsonl.gz"), "rt", encoding="utf-8") as f:
        return [row[key] for row in map(json.loads, f) for key in ("prompt", "canonical_solution", "test")]


def hard_texts():
    yield "empty", ""
    yield "space", " "
    yield "emoji", "😀😃 👍🏽 🇫🇷🇩🇪 ❤️ 5️⃣ 🏳️‍🌈 👩‍👩‍👧‍👦 👨🏿‍💻x"
    yield "cjk", "我们在2024年学习数学。「東京」は日本の首都です、カタカナ！ 한국어 텍스트 ㄱㄴㄷ 𠀋𠮷"
    yield "combining", "e\u0301 a\u0308o\u0308 \u0041\u030a n\u0303 Z\u0351\u036b\u0343a\u0328\u0301\u0302l\u0338 가 \u1100\u1161\u11a8 \u0344"
    yield "canonical order", "a\u0301\u0323 a\u0323\u0301 \u212b \u2126 \u1e9b\u0323 \uf900 \u0958 \u2adc"
    yield "compatibility", "ﬁne ﬃ ① ½ ² ™ ｆｕｌｌ ﾊﾝｶｸ ㎏ ℌ"
    yield "code", "def f(x):\n    if x<=0:\n\t\treturn {'a': [1, 2.50e-3], \"b\": None}\n    # don't\r\n\r\n\r\nreturn f(x-1)**2\n"
    yield "c++", "#include <bits/stdc++.h>\nint main(){std::vector<int>v{1,2,3};for(auto&&x:v)printf(\"%d\\n\",x);}\n\n\n"
    yield "spaces", " a  b   c    d     e" + " " * 100 + "f" + " " * 7
    yield "newlines", "\n\n\na\n b \n  c\r\n\r\nd\n\t\n \n  " + "\n" * 50 + "x\n"
    yield "mixed white space", "a\u00a0b\u2003c\u3000d\u200be\u2028f\u2029g\u0085h\u180ei\u1680j\x0b\x0ck\ufeffl"
    yield "digits", "0 12 123 1234 12345 3.14159 1,000,000 1e-10 007 ٣٤٥ १२३ ⅷ ½ ² Ⅻ 九 𝟙𝟚𝟛 ୧୨"
    yield "contractions", "I'm don't WE'LL they'Re he'd 'S 'twas y'all's ' s ''s 'ſ 'K \u2019s it'ß"
    yield "rtl", "שלום עולם! مرحبا بالعالم، ١٢٣ \u202babc\u202c \u200fx\u200e بِسْمِ"
    yield "scripts", "नमस्ते दुनिया தமிழ் ไทยภาษา ລາວ မြန်မာ ქართული Ελληνικά Кириллица Ἀρχή ΑΣ Σ İI ıi ǅ ß ẞ"
    yield "control", "".join(map(chr, range(32))) + "\x7f\x80\x9f\u0000end"
    yield "punctuation", "!!!???...---___===+++***///\\\\\\|||~~~```$$$###@@@%%%^^^&&&(((([[[[{{{{<<<<>>>>}}}}]]]]))))"
    yield "quotes", "“curly” ‘single’ «guillemets» „low“ … – — ‐ ‑ ′ ″ ‹›"
    yield "special tokens", "<|im_start|>user\nhi<|im_end|>\n<|endoftext|> <|begin_of_text|><|eot_id|>x<|im_start|><tool_call> </think>"
    yield "broken special tokens", "<|im_start <|im_end|<|im_end|> |im_start|> <|<|im_start|>|> <|reserved_special_token_3|>"
    yield "math", "∫₀^∞ e^{-x²} dx = √π/2 ≤ ∑_{i=1}^{n} αᵢ·βᵢ ∀x∈ℝ: \\frac{1}{2} \\cdot \\boxed{42}"
    yield "long word", "a" * 300 + "Honorificabilitudinitatibus" * 20
    yield "long digits", "0123456789" * 30
    yield "symbols", "".join(chr(c) for c in range(0x2190, 0x2300)) + "".join(chr(c) for c in range(0x1F600, 0x1F650))
    yield "latin", "".join(chr(c) for c in range(0xA0, 0x250))
    yield "private and unassigned", "\ue000 \U000f0000 \U0010ffff \ufffe \uffff \u0378 \ufffd"
    yield "invalid alone", b"\xff\xfe\x80\xbf\xc0\xc1\xf5"
    yield "invalid inside", b"caf\xe9 au lait \xe2\x82 5 \xf0\x9f\x98 x \xed\xa0\x80\xed\xb0\x80 end\xe2"
    yield "overlong", b"\xc0\xaf \xe0\x80\xaf \xf0\x80\x80\xaf \xf4\x90\x80\x80 \xf8\x88\x80\x80\x80"
    yield "cut emoji", "😀".encode()[:3]
    yield "cut inside a token", b"<|im_\xffstart|><|im_start|>\xc3"
    yield "utf-16", "hello".encode("utf-16")
    rng = random.Random(1)
    for i in range(6):
        pools = ["abc XYZ\n", "  \t\r\n", "0123456789.,", "éàüßñ'\"", "你好世界", "😀👍🏽\u200d", "\u0301\u0323\u3000", "<|im_end|>"]
        yield f"mixture {i}", "".join(rng.choice(rng.choice(pools)) for _ in range(400))
    for i in range(4):
        yield f"random bytes {i}", bytes(rng.randrange(256) for _ in range(200))
    # One character of every assigned Unicode block and class, in chunks; above U+33FF every 61st
    every = [c for c in range(0x250, 0x3400)] + list(range(0x3400, 0x20000, 61))
    text = "".join(chr(c) for c in every if known_to_all(c))
    for i in range(0, len(text), 1500):
        yield f"characters {i // 1500}", text[i:i + 1500]
        yield f"spaced characters {i // 1500}", "a " .join(text[i:i + 1500])


def known_to_all(code):
    """Assigned in Python's Unicode (14.0 in 3.11), so that PCRE2 and Oniguruma agree on what it is, and no combining
    mark newer than the tables of tokenizers' NFC, which leaves some 80 marks of Unicode 13 and 14 unordered."""
    c = chr(code)
    probes = (f"a{c}\u0334", f"a\u0345{c}")  # marks of the lowest and the highest class
    return unicodedata.category(c) not in ("Cn", "Cs") and all(
        normalizers.NFC().normalize_str(p) == unicodedata.normalize("NFC", p) for p in probes)


def as_bytes(text):
    return text if isinstance(text, bytes) else text.encode("utf-8")


# Tokenizers ----------------------------------------------------------------------------------------------------------
def train(tokenizer, texts, size):
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)


def special(*contents):
    return [AddedToken(c, special=True, normalized=False) for c in contents]


def qwen2(texts):
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN2), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)])
    train(t, texts, 4000)
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    t.decoder = decoders.ByteLevel()
    t.add_tokens(special("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|vision_pad|>"))
    t.add_tokens([AddedToken(c, special=False, normalized=False) for c in
                  ("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<think>", "</think>")])
    return json.loads(t.to_str())


def llama3(texts):
    t = Tokenizer(models.BPE(ignore_merges=True))
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False)])
    train(t, texts, 4000)
    # Like Llama-3's, a few tokens that no merge leads to: only ignore_merges finds them.
    document = json.loads(t.to_str())
    vocab = document["model"]["vocab"]
    for word in ("Ġmathematics", "Ġstdlib", "Supercalifragilistic", "ĠпÑĢивеÑĤ", "zqx"):
        vocab.setdefault(word, len(vocab))
    t = Tokenizer.from_str(json.dumps(document))
    t.decoder = decoders.ByteLevel()
    t.add_tokens(special("<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|start_header_id|>",
                         "<|end_header_id|>", "<|eot_id|>", "<|reserved_special_token_3|>"))
    bos = t.token_to_id("<|begin_of_text|>")
    t.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=True),
        processors.TemplateProcessing(single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|> $B",
                                      special_tokens=[("<|begin_of_text|>", bos)])])
    document = json.loads(t.to_str())
    document["model"]["merges"] = [" ".join(pair) for pair in document["model"]["merges"]]  # as files before 0.20
    return document


def small_bpe(extra=None, **options):
    """A BPE over letters with a few merges, for the parts of the format that byte-level models leave alone."""
    letters = list("abcdefghijklmnopqrstuvwxyzABCDE0123456789.,!?'-\n▁ é") + ["th", "the", "in", "ing", "▁the", "▁a", "er"]
    vocab = {t: i for i, t in enumerate(["<unk>", "<s>", "</s>"] + (extra or []) + letters)}
    merges = [("t", "h"), ("th", "e"), ("i", "n"), ("in", "g"), ("▁", "the"), ("▁", "a"), ("e", "r")]
    return Tokenizer(models.BPE(vocab=vocab, merges=merges, **options))


def odd():
    """Tiny tokenizers, one a group of rarer parts."""
    bytes_ = [f"<0x{b:02X}>" for b in range(256)]
    t = small_bpe(bytes_, unk_token="<unk>", byte_fallback=True, fuse_unk=True)  # as Llama-2
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    t.add_special_tokens(["<unk>", "<s>", "</s>"])
    t.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    yield "fallback", t

    for scheme in ("always", "first", "never"):
        t = small_bpe(unk_token="<unk>", fuse_unk=scheme != "never")
        t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=scheme != "first")
        t.decoder = decoders.Metaspace(prepend_scheme=scheme)
        t.add_special_tokens(["</s>"])
        yield "metaspace_" + scheme, t

    t = small_bpe(unk_token="<unk>")
    t.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Strip(),
                                         normalizers.Replace(Regex(r"\s+"), " ")])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(), pre_tokenizers.Punctuation("contiguous")])
    t.add_tokens([AddedToken("Ing", normalized=True), AddedToken("the", single_word=True), AddedToken("<mask>", lstrip=True, rstrip=True, special=True, normalized=False)])
    yield "normalized", t

    for behavior in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"):
        for invert in (False, True):
            t = small_bpe(unk_token="<unk>")
            t.pre_tokenizer = pre_tokenizers.Sequence([
                pre_tokenizers.Split(Regex(r"[.,!?]|the"), behavior, invert), pre_tokenizers.Split("i", behavior)])
            yield f"split_{behavior}{'_inverted' if invert else ''}", t

    t = Tokenizer(models.WordLevel({"<unk>": 0, "the": 1, "a": 2, "1": 3, "+": 4, "12": 5, "user": 6, "don't": 7}, unk_token="<unk>"))
    t.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    t.add_tokens([AddedToken("<|im_end|>", special=True, normalized=False), AddedToken("<think>", normalized=False)])
    yield "word_level", t

    t = Tokenizer(models.BPE())  # ByteLevel as GPT-2 has it, with a prefix space, and as Roberta wraps it
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    train(t, ["the cat isn't on the mat, 123 456 the end"] * 3, 300)
    t.decoder = decoders.ByteLevel()
    t.add_tokens(special("<s>", "</s>"))
    t.add_tokens([AddedToken("<mask>", lstrip=True, special=True, normalized=False)])
    t.post_processor = processors.RobertaProcessing(("</s>", t.token_to_id("</s>")), ("<s>", t.token_to_id("<s>")))
    yield "roberta", t

    t = Tokenizer(models.BPE(vocab={"<unk>": 0, "l": 1, "o": 2, "w": 3, "w</w>": 4, "lo": 5, "low</w>": 6, "l</w>": 7, "o</w>": 8, "1</w>": 9, "1": 10},
                             merges=[("l", "o"), ("lo", "w</w>")], unk_token="<unk>", end_of_word_suffix="</w>"))  # as CLIP
    t.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    t.decoder = decoders.BPEDecoder()
    yield "suffix", t

    t = Tokenizer(models.BPE(vocab={"<unk>": 0, "l": 1, "o": 2, "w": 3, "##o": 4, "##w": 5, "lo": 6, "low": 7, "##l": 8},
                             merges=[("l", "##o"), ("lo", "##w")], unk_token="<unk>", continuing_subword_prefix="##"))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.BertPreTokenizer(), pre_tokenizers.CharDelimiterSplit("-")])
    yield "prefix", t

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    t = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))  # ByteLevel that is not the last step
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False), pre_tokenizers.Split("Ġ", "removed")])
    t.decoder = decoders.ByteLevel()
    yield "bytes_first", t
    t = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    t.normalizer = normalizers.ByteLevel()
    t.add_tokens([AddedToken("été", normalized=True)])
    t.decoder = decoders.ByteLevel()
    yield "bytes_normalizer", t


def smollm2(folder):
    """466 KB instead of 3.5 MB: of SmolLM2's vocabulary all but the first 252 tokens follow from the merges."""
    with open(os.path.join(folder, "tokenizer.json"), encoding="utf-8") as f:
        document = json.load(f)
    vocab, merges = document["model"]["vocab"], document["model"]["merges"]
    first = len(vocab) - len(merges)
    assert all(vocab[a + b] == first + i for i, (a, b) in enumerate(merges))
    document["model"]["vocab"] = {t: i for t, i in vocab.items() if i < first}
    document["model"]["merges"] = []
    return document, "".join(f"{a} {b}\n" for a, b in merges)


# Golden files --------------------------------------------------------------------------------------------------------
def fnv1a(ids):
    """Of ids, or of bytes taken as ids: one step a value, since a step a byte takes Python minutes."""
    h = 0xCBF29CE484222325
    for i in ids:
        h = (h ^ i) * 0x100000001B3 % 2**64
    return h


def write(path, text):
    path = os.path.join(HERE, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="\n") as f:
        f.write(text)
    size = os.path.getsize(path)
    print(f"{size:>9}  {os.path.relpath(path, HERE)}")
    assert size < 1e6, path


def dump(document):
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=False)


def result(t, index, text, most_ids, name=None):
    """One line of golden values; `index` is the line of hard_text.jsonl."""
    ids = t.encode(text, add_special_tokens=False).ids
    whole = t.encode(text, add_special_tokens=True).ids
    at = next(i for i in range(len(whole) + 1) if whole[i:i + len(ids)] == ids)
    line = {"tokenizer": name} if name else {}
    line |= {"text": index, "n": len(ids), "hash": f"{fnv1a(ids):016x}", "before": whole[:at], "behind": whole[at + len(ids):]}
    line |= {"ids": ids} if len(ids) <= most_ids else {}
    line |= {"decoded": f"{fnv1a(t.decode(ids, skip_special_tokens=True).encode()):016x}",
             "whole": f"{fnv1a(t.decode(whole, skip_special_tokens=False).encode()):016x}"}
    return json.dumps(line, separators=(",", ":")) + "\n"


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    data, smollm2_folder = sys.argv[1:]
    print(f"tokenizers {tokenizers.__version__}")
    hard = [(name, as_bytes(text)) for name, text in hard_texts()]
    sets = {"gsm8k-train": gsm8k(data, "train"), "gsm8k-test": gsm8k(data, "test"), "humaneval": humaneval(data)}
    valid = [raw.decode("utf-8", errors="replace") for _, raw in hard]
    corpus = sets["gsm8k-train"][:4000] + sets["humaneval"] + valid * 8
    documents = {"qwen2": qwen2(corpus), "llama3": llama3(corpus)}
    for name, document in documents.items():
        write(f"tokenizers/{name}/tokenizer.json", dump(document).replace('],["', '],\n["') + "\n")
    odds = [(name, json.loads(t.to_str())) for name, t in odd()]
    write("tokenizers/odd.jsonl", "".join(dump({"name": name, "tokenizer": document}) + "\n" for name, document in odds))
    head, merges = smollm2(smollm2_folder)
    write("tokenizers/smollm2/tokenizer_head.json", dump(head) + "\n")
    write("tokenizers/smollm2/merges.txt", merges)

    extra = ["the thing, in the ring! a <mask> b the-then 12+1 lower low-low LOW 1", "i.i,,the.thei!!", " the ", "\u00e9t\u00e9",
             "Ing ing theIng  the  <s>the</s> \u2581the \u00e9t\u00e9 \u00c9t\u00e9 user don't", "<mask>  <mask> the<mask>"]
    hard += [(f"odd words {i}", text.encode()) for i, text in enumerate(extra)]
    valid += extra
    write("hard_text.jsonl", "".join(json.dumps({"name": name, "hex": raw.hex()}) + "\n" for name, raw in hard))
    loaded = {name: Tokenizer.from_str(json.dumps(document)) for name, document in documents.items()}
    loaded["smollm2"] = Tokenizer.from_file(os.path.join(smollm2_folder, "tokenizer.json"))
    for name, t in loaded.items():
        write(f"tokenizer_ids/{name}.jsonl", "".join(result(t, i, text, 1200) for i, text in enumerate(valid)))
    short = [i for i, (_, raw) in enumerate(hard) if len(raw) <= 1500]
    write("tokenizer_ids/odd.jsonl", "".join(
        result(Tokenizer.from_str(json.dumps(document)), i, valid[i], 40, name) for name, document in odds for i in short))

    hashes = {}
    for name in ("qwen2", "llama3", "smollm2"):
        for part, texts in sets.items():
            encoded = [e.ids for e in loaded[name].encode_batch(texts, add_special_tokens=False)]
            per_text = [fnv1a(ids) for ids in encoded]
            hashes.setdefault(name, {})[part] = {
                "texts": len(texts), "ids": sum(map(len, encoded)), "hash": f"{fnv1a([x for h in per_text for x in (h & 0xFFFFFFFF, h >> 32)]):016x}",
                "each": "".join(f"{h & 0xFFFF:04x}" for h in per_text)}
    write("tokenizer_hashes.json", json.dumps(hashes, indent=0) + "\n")


if __name__ == "__main__":
    main()
