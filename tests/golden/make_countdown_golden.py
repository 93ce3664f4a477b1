#!/usr/bin/env python3
"""Countdown answers and their verdicts, decided by Python's own parser and fractions.

Writes tests/golden/countdown.tsv: numbers, target, answer, verdict (passed or failed), one case a line.
Made with Python 3.11 (standard library only):  python3 tests/golden/make_countdown_golden.py > tests/golden/countdown.tsv
"""
import ast
import random
import re
from fractions import Fraction

OPS = {ast.Add: lambda a, b: a + b, ast.Sub: lambda a, b: a - b, ast.Mult: lambda a, b: a * b, ast.Div: lambda a, b: a / b}


def evaluate(node, used):
    if isinstance(node, ast.Constant) and type(node.value) is int:
        used.append(node.value)
        return Fraction(node.value)
    if isinstance(node, ast.BinOp) and type(node.op) in OPS:
        return OPS[type(node.op)](evaluate(node.left, used), evaluate(node.right, used))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = evaluate(node.operand, used)
        return -value if isinstance(node.op, ast.USub) else value
    raise ValueError


def verdict(numbers, target, answer):
    text = answer.replace("×", "*").replace("÷", "/").replace("−", "-")
    if not re.fullmatch(r"[0-9+\-*/() ]+", text) or re.search(r"(?<!\d)0\d", text):
        return "failed"  # Python itself would read 00 as 0
    used = []
    try:
        value = evaluate(ast.parse(text.strip(), mode="eval").body, used)
    except (ValueError, SyntaxError, ZeroDivisionError):
        return "failed"
    return "passed" if sorted(used) == sorted(numbers) and value == target else "failed"


def tree(rng, leaves):
    if len(leaves) == 1:
        text = str(leaves[0])
        return f"({text})" if rng.random() < 0.1 else "-" + text if rng.random() < 0.03 else text
    cut = rng.randrange(1, len(leaves))
    op = rng.choice("++--**//×÷−")
    gap = " " * rng.randrange(2)
    text = tree(rng, leaves[:cut]) + gap + op + gap + tree(rng, leaves[cut:])
    return text if rng.random() < 0.3 else f"({text})"


def mutate(rng, text):
    at = rng.randrange(len(text) + 1)
    kind = rng.randrange(4)
    if kind == 0:
        return text[:at] + rng.choice("0123456789+-*/() .,=^_eax%!") + text[at:]
    if kind == 1:
        return text[:at] + text[at + 1:]
    if kind == 2:
        return text.replace(rng.choice("()+-* "), "", 1)
    return text[:at] + rng.choice(["**", "//", "--", "()", " 1 ", "1", "00", "+ "]) + text[at:]


def main():
    rng = random.Random(20261122)
    for _ in range(6000):
        numbers = [rng.randrange(0 if rng.random() < 0.1 else 1, 31) for _ in range(rng.randrange(1, 7))]
        leaves = numbers[:]
        rng.shuffle(leaves)
        answer = tree(rng, leaves)
        try:
            used = []
            text = answer.replace("×", "*").replace("÷", "/").replace("−", "-")
            value = evaluate(ast.parse(text, mode="eval").body, used)
        except ZeroDivisionError:
            value = Fraction(7)
        target = int(value) if value.denominator == 1 else rng.randrange(100)
        if rng.random() < 0.15:
            target += rng.choice([-1, 1])
        if rng.random() < 0.45:
            answer = mutate(rng, answer)
        if not answer.strip():
            continue
        print(" ".join(map(str, numbers)), target, answer, verdict(numbers, target, answer), sep="\t")


if __name__ == "__main__":
    main()
