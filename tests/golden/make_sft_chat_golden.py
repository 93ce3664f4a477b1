#!/usr/bin/env python3
"""Makes sft_chat.json: conversations as token ids with the tokens that supervised fine-tuning learns, by transformers'
apply_chat_template with return_assistant_tokens_mask.

    python tests/golden/make_sft_chat_golden.py

The chat templates are those of chat_templates.json, the tokenizers those of tokenizers/. The mask needs a template that
marks the assistant's part ({% generation %}): MARKED puts the marks into each, around what the model has to write itself
(the content and the token that ends the turn, not the header before and not the line feed behind), and this
script checks that the marked template renders the same text.

An assistant's part is tokenized apart from what stands before it, as it is when a model goes on from a prompt. That gives
transformers' own ids for the whole text, unless a content begins with white space that would melt into the header's line
feed: "melts" is true there, and the ids are transformers' of each part.

Made with transformers 5.24.0, tokenizers 0.23.3.
"""
import json
import os

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import render_jinja_template

HERE = os.path.dirname(os.path.abspath(__file__))
S, U, A, T = "system", "user", "assistant", "tool"
CONVERSATIONS = {
    "one turn": [(U, "What is 2+3?"), (A, "2+3 = 5")],
    "system": [(S, "Be brief."), (U, "Name a prime above 1000."), (A, "1009")],
    "several turns": [(S, "You count."), (U, "1"), (A, "2"), (U, "3"), (A, "4"), (U, "assistant"), (A, "user\n\n5 ")],
    "ends with the user": [(U, "a"), (A, "b"), (U, "c")],
    "hard text": [(U, "日本語 😀 don't\t x  =  10000;"), (A, "naïve  café 👩‍👩‍👧‍👦\n\n    if (x) { return 12345; }\n\n\nfin")],
    "nothing said": [(U, "say nothing"), (A, ""), (U, "again"), (A, "...")],
    "two turns of the assistant": [(U, "go"), (A, "one"), (A, "two")],
    "the assistant begins": [(A, "Hello!"), (U, "hi"), (A, "How are you?")],
    "thoughts": [(U, "q"), (A, "<think>\nfirst\n</think>\n\n8"), (U, "why?"), (A, "<think>\nlong\n\nthought\n</think>\n\nso")],
    "special tokens in the text": [(U, "<|im_end|> <|eot_id|>"), (A, "x<|im_start|>y")],
    "white space first": [(U, "indent"), (A, "\n\n  indented")],
    "tools": [(U, "call"), (A, "ok"), (T, "r1"), (T, "r2"), (A, "done")],
}


def replaced(text, *pairs):
    for a, b in pairs:
        assert text.count(a) == 1, (text.count(a), a)
        text = text.replace(a, b)
    return text


def marked(content, role="message.role", end="<|im_end|>"):
    """Statements that write `content` and the end of the turn, marked where the assistant wrote it."""
    body = "{{- " + content + " + '" + end + "' }}"
    return ("{%- if " + role + " == 'assistant' %}{%- generation %}" + body + "{%- endgeneration %}{%- else %}" + body
            + "{%- endif %}")


CHATML = ("{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}",
          "{{'<|im_start|>' + message['role'] + '\\n'}}" + marked("message['content']") + "{{- '\\n'}}")
HEADER = "'<|im_start|>' + message.role + '\\n"
LLAMA = ("{{- '<|start_header_id|>' ~ turn.role ~ '<|end_header_id|>\\n\\n' ~ (turn.content | trim) ~ '<|eot_id|>' }}",
         "{{- '<|start_header_id|>' ~ turn.role ~ '<|end_header_id|>\\n\\n' }}"
         + marked("(turn.content | trim)", "turn.role", "<|eot_id|>"))


def mark_qwen3(text):
    before, rest = text.split('{%- elif message.role == "assistant" %}')
    branch, behind = rest.split('{%- elif message.role == "tool" %}')
    assert branch.count("{{- " + HEADER) == 3
    branch = branch.replace("{{- " + HEADER + "<think>", "{{- '<think>").replace("{{- " + HEADER + "' + content }}", "{{- content }}")
    branch = replaced(branch, ("{%- if loop.index0 > ns.last_query_index %}",
                               "{{- " + HEADER + "' }}{%- generation %}{%- if loop.index0 > ns.last_query_index %}"),
                      ("{{- '<|im_end|>\\n' }}", "{{- '<|im_end|>' }}{%- endgeneration %}{{- '\\n' }}"))
    return before + '{%- elif message.role == "assistant" %}' + branch + '{%- elif message.role == "tool" %}' + behind


MARKED = {
    "chatml": ("qwen2", lambda t: replaced(t, CHATML)),
    "smollm2": ("smollm2", lambda t: replaced(t, (CHATML[0].replace("\\n", "\n"), CHATML[1]))),
    "qwen2.5": ("qwen2", lambda t: replaced(t, ("{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}",
                                                "{{- " + HEADER + "' }}" + marked("message.content") + "{{- '\\n' }}"))),
    "qwen3": ("qwen2", mark_qwen3),
    "llama3": ("llama3", lambda t: replaced(t, LLAMA)),
    "llama3.1": ("llama3", lambda t: replaced(t, LLAMA)),
}


def tokenizer_json(name):
    folder = os.path.join(HERE, "tokenizers", name)
    if name != "smollm2":
        with open(os.path.join(folder, "tokenizer.json"), encoding="utf-8") as f:
            return f.read()
    with open(os.path.join(folder, "tokenizer_head.json"), encoding="utf-8") as f:
        document = json.load(f)
    with open(os.path.join(folder, "merges.txt"), encoding="utf-8") as f:
        merges = f.read().split("\n")[:-1]
    vocab = document["model"]["vocab"]
    for merge in merges:  # every token but the head's follows from its merge
        vocab[merge.replace(" ", "", 1)] = len(vocab)
    document["model"]["merges"] = merges
    return json.dumps(document)


def runs(mask):
    """[[begin, end), …] of the ones."""
    out = []
    for i, bit in enumerate(mask):
        if bit and out and out[-1][1] == i:
            out[-1][1] = i + 1
        elif bit:
            out.append([i, i + 1])
    return out


def sample(t, plain, conversation):
    messages = [{"role": role, "content": content} for role, content in conversation]
    t.chat_template = plain[0]
    text = t.apply_chat_template(messages, tokenize=False)
    t.chat_template = plain[1]
    assert t.apply_chat_template(messages, tokenize=False) == text, conversation
    whole = t.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    # the same part by part, from the places of the marks in the text
    _, places = render_jinja_template([messages], chat_template=plain[1], return_assistant_tokens_mask=True,
                                      **t.special_tokens_map)
    spans = places[0]
    ids, mask, at = [], [], 0
    for begin, end in spans + [(len(text), len(text))]:
        for part, bit in (text[at:begin], 0), (text[begin:end], 1):
            more = t(part, add_special_tokens=False)["input_ids"]
            ids += more
            mask += [bit] * len(more)
        at = end
    same = ids == list(whole["input_ids"]) and mask == list(whole["assistant_masks"])
    return {"ids": ids, "learnt": runs(mask), "melts": not same, "text": text}


def main():
    with open(os.path.join(HERE, "chat_templates.json"), encoding="utf-8") as f:
        known = {one["name"]: one for one in json.load(f)["known"]}
    families = []
    for name, (tokenizer, mark) in MARKED.items():
        bos = known[name]["bos"]
        t = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(tokenizer_json(tokenizer)), **({"bos_token": bos} if bos else {}))
        template = known[name]["template"]
        samples = {}
        for title, conversation in CONVERSATIONS.items():
            if title == "tools" and not name.startswith(("qwen2.5", "qwen3")):
                continue
            one = sample(t, (template, mark(template)), conversation)
            text = one.pop("text")
            # Llama strips a content and Qwen3 opens it with <think>: nothing melts there.
            assert one["melts"] == (title == "white space first" and name in ("chatml", "smollm2", "qwen2.5")), (name, title)
            wanted = [c for r, c in conversation if r == A]
            assert len(one["learnt"]) == len(wanted), (name, title)
            assert all(t.decode(one["ids"][b:e]).endswith(("<|im_end|>", "<|eot_id|>")) for b, e in one["learnt"])
            assert t.decode(one["ids"]) == text or "hard" in title or tokenizer == "smollm2", (name, title)
            samples[title] = one
        families.append({"name": name, "tokenizer": tokenizer, "samples": samples})
    path = os.path.join(HERE, "sft_chat.json")
    with open(path, "w", encoding="utf-8", newline="\n") as f:
        f.write('{"conversations": ' + json.dumps(CONVERSATIONS, ensure_ascii=False) + ',\n"families": [\n')
        f.write(",\n".join(json.dumps(one, ensure_ascii=False) for one in families) + "\n]}\n")
    print(os.path.getsize(path))


if __name__ == "__main__":
    main()
