#!/usr/bin/env python3
"""Makes chat_templates.json: conversations as transformers' apply_chat_template renders them under the chat templates
of the families that Cohort knows.

    python tests/golden/make_chat_golden.py SMOLLM2

SMOLLM2 is the folder that make_smollm2.py made. Qwen's templates are the models' own (Apache-2.0), as the package trl
carries them for comparison, and variants of them in other spellings. Llama's are under its community licence and not
kept here: LLAMA below says anew what they say of conversations without tools, and is checked against the originals in
trl. Llama-3.2's template writes the day of rendering; the golden text has 01 Feb 2003 there.

    python tests/golden/make_chat_golden.py --originals FOLDER

copies the originals to FOLDER/chat_templates for ChatTemplateTest.KnowsLlamasOwnTemplates, which looks for them in
$COHORT_TEST_MODELS.

Made with transformers 5.24.0, trl 1.16.0.
"""
import importlib.util
import json
import os
import sys

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

HERE = os.path.dirname(os.path.abspath(__file__))
USER, ASSISTANT, SYSTEM, TOOL = "user", "assistant", "system", "tool"
CONVERSATIONS = [
    [(USER, "What is 2+3?")],
    [(SYSTEM, "Be brief."), (USER, "Hi")],
    [(SYSTEM, ""), (USER, "")],
    [(USER, "  spaces \n\n"), (ASSISTANT, "\n  5 \n"), (USER, "\u00a0and 7?\u3000")],
    [(SYSTEM, "S"), (USER, "1"), (ASSISTANT, "a"), (USER, "2"), (ASSISTANT, "b")],
    [(USER, "q"), (ASSISTANT, "<think>\nfirst thought\n</think>\n\n8"), (USER, "why?"), (ASSISTANT, "<think>\n\nlong\nthought\n\n</think>\n\nso")],
    [(USER, "q"), (ASSISTANT, "no thought"), (ASSISTANT, "<think>x</think>y</think>z"), (ASSISTANT, "<think>a<think>b</think>c")],
    [(USER, "q"), (ASSISTANT, "<think>\n</think>\n\nmid"), (USER, "<tool_response>r</tool_response>"), (ASSISTANT, "after")],
    [(ASSISTANT, "I begin"), (ASSISTANT, "<think>t</think>and go on")],
    [(USER, "braces {{ x }} {% y %} <|im_end|> \U0001f600 \\n 'quotes' \"double\"")],
    [(USER, "a"), (SYSTEM, "later system"), (USER, "b")],
    [(USER, "call"), (ASSISTANT, "ok"), (TOOL, "r1"), (TOOL, "r2"), (ASSISTANT, "done")],
]

LLAMA_TURNS = """
{%- for turn in turns %}
    {{- '<|start_header_id|>' ~ turn.role ~ '<|end_header_id|>\\n\\n' ~ (turn.content | trim) ~ '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
LLAMA_HEAD = """{%- set spoken = messages[0].role == 'system' %}
{%- set turns = messages[(1 if spoken else 0):] %}
{{- bos_token ~ '<|start_header_id|>system<|end_header_id|>\\n\\nCutting Knowledge Date: December 2023' }}
{{- '\\nToday Date: ' ~ DAY ~ '\\n\\n' }}
{%- if spoken %}
    {{- messages[0].content | trim }}
{%- endif %}
{{- '<|eot_id|>' }}"""
LLAMA = {"llama3": "{{- bos_token }}\n{%- set turns = messages %}" + LLAMA_TURNS,
         "llama3.1": LLAMA_HEAD.replace("DAY", "date_string | default('26 Jul 2024')") + LLAMA_TURNS,
         "llama3.2": LLAMA_HEAD.replace("DAY", "date_string | default(strftime_now('%d %b %Y'))") + LLAMA_TURNS}


def tokenizer(bos):
    inner = Tokenizer(models.WordLevel({"<unk>": 0, "<|begin_of_text|>": 1}, unk_token="<unk>"))
    return PreTrainedTokenizerFast(tokenizer_object=inner, **({"bos_token": bos} if bos else {}))


def trl_folder():
    return os.path.join(importlib.util.find_spec("trl").submodule_search_locations[0], "chat_templates")


def copy_originals(to):
    os.makedirs(to, exist_ok=True)
    for name in LLAMA:
        file = name.replace(".", "_") + ".jinja"
        with open(os.path.join(trl_folder(), file), "rb") as a, open(os.path.join(to, file), "wb") as b:
            b.write(a.read())


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--originals":
        return copy_originals(os.path.join(sys.argv[2], "chat_templates"))
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = trl_folder()

    def trl(name):
        with open(os.path.join(folder, name + ".jinja"), encoding="utf-8") as f:
            return f.read()

    with open(os.path.join(sys.argv[1], "chat_template.jinja"), encoding="utf-8") as f:
        smollm2 = f.read()
    loop = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
            "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
    qwen3 = trl("qwen3")
    # The wording Qwen3 was released with: content must be a string, reasoning_content may be none.
    first_qwen3 = qwen3.replace(' and message.content is string and not(', ' and not(')
    a, b = first_qwen3.index("    {%- if message.content is string %}"), first_qwen3.index('    {%- if (message.role == "user")')
    first_qwen3 = first_qwen3[:a] + first_qwen3[b:]
    first_qwen3 = first_qwen3.replace("message.role + '\\n' + content + '<|im_end|>' + '\\n' }}", "message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}")
    a, b = first_qwen3.index("        {%- set reasoning_content = '' %}"), first_qwen3.index("        {%- if loop.index0 > ns.last_query_index %}")
    first_qwen3 = first_qwen3[:a] + """        {%- set content = message.content %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is defined and message.reasoning_content is not none %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in message.content %}
                {%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}
                {%- set reasoning_content = message.content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- endif %}
        {%- endif %}
""" + first_qwen3[b:]
    first_qwen3 = first_qwen3.replace("{{- content }}", "{{- message.content }}")
    llama = "<|begin_of_text|>"
    templates = {
        "chatml": (loop, None),
        "chatml old": ("{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}" + loop, None),
        "chatml spaced": (loop.replace("'", '"').replace("{%", "{%-").replace("{{", "{{-").replace("%}", "%}\n   ").rstrip(), None),
        "smollm2": (smollm2, None),
        "qwen2": (smollm2.replace("a helpful AI assistant named SmolLM, trained by Hugging Face", "a helpful assistant."), None),
        "qwen2.5": (trl("qwen2_5"), None),
        "qwen2.5 math": (trl("qwen2_5").replace("You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
                         "Please reason step by step, and put your final answer within \\\\boxed{}."), None),
        "qwen2.5 other tools": (trl("qwen2_5").replace("You may call one or more functions", "Here are tools"), None),
        "qwen3": (qwen3, None),
        "qwen3 first": (first_qwen3, None),
        "qwen3 instruct": (trl("qwen3_instruct_2507"), None),
        **{name: (source, llama) for name, source in LLAMA.items()},
    }
    out = []
    for name, (source, bos) in templates.items():
        t = tokenizer(bos)
        t.chat_template = source
        renders = []
        for conversation in CONVERSATIONS:
            messages = [{"role": role, "content": content} for role, content in conversation]
            if any(role == TOOL for role, _ in conversation) and not name.startswith(("qwen2.5", "qwen3")):
                renders.append(None)
                continue
            more = {"date_string": "01 Feb 2003"} if name == "llama3.2" else {}
            render = lambda **k: t.apply_chat_template(messages, tokenize=False, **k, **more)
            plain, prompt, off = render(), render(add_generation_prompt=True), render(add_generation_prompt=True, enable_thinking=False)
            assert prompt.startswith(plain) and off.startswith(prompt)
            if name in LLAMA:
                original = tokenizer(bos)
                original.chat_template = trl(name.replace(".", "_"))
                for k in {}, {"add_generation_prompt": True}:
                    assert render(**k) == original.apply_chat_template(messages, tokenize=False, **k, **more), name
            renders.append([plain, prompt[len(plain):], off[len(prompt):]])
        out.append({"name": name, "template": source, "bos": bos, "renders": renders})
    unknown = {"zephyr": "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + eos_token }}{% endfor %}",
               "chatml that strips": loop.replace("message['content']", "message['content']|trim"),
               "chatml with text between": loop.replace("{% endfor %}", "\n\n{% endfor %}"),
               "chatml without role": loop.replace("message['role']", "'user'"),
               "qwen3 that keeps thoughts": qwen3.replace("loop.index0 > ns.last_query_index", "true"),
               "llama3.1 of another day": LLAMA["llama3.1"].replace("26 Jul 2024", "27 Jul 2024"),
               "unclosed": loop[:-20], "empty": ""}
    path = os.path.join(HERE, "chat_templates.json")
    with open(path, "w", encoding="utf-8", newline="\n") as f:
        json.dump({"conversations": CONVERSATIONS, "known": out, "unknown": unknown}, f, ensure_ascii=False, indent=0)
        f.write("\n")
    print(os.path.getsize(path))


if __name__ == "__main__":
    main()
