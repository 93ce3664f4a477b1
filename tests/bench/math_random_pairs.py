#!/usr/bin/env python3
"""Random expressions beside themselves after tempting rewritings (right and wrong ones), graded and compared with their values.

    pip install mpmath
    python3 tests/bench/math_random_pairs.py --cohort build/bin/cohort-reward --seed 1 --pairs 8000 [--constants]

Prints every pair that passed though the two differ at a point where both are defined (30 digits), or that failed though they agree
at all eight; the sum at the end. What this program says of them is not certified: it does not see that x - x is exactly 0 below a root,
and eight points may miss where two functions part.
"""
import argparse, collections, json, random, subprocess, tempfile
import mpmath as mp

args = argparse.ArgumentParser()
args.add_argument("--cohort", default="build/bin/cohort-reward")
args.add_argument("--seed", type=int, default=1)
args.add_argument("--pairs", type=int, default=8000)
args.add_argument("--constants", action="store_true", help="no variable, complex numbers")
args = args.parse_args()
mp.mp.dps = 30
rng = random.Random(args.seed)
VARS = not args.constants
dot = " \\cdot "

class U(Exception):
    """Not defined here, or not worth computing."""

# expression: tuple
def leaf():
    k = rng.random()
    if VARS and k < 0.55: return ("x",)
    if k < 0.9: return ("n", rng.choice([1, 2, 3, 4, 5, -1, -2, -3, 8, 9]))
    return (rng.choice(["pi", "e"]),) if (VARS or k < .95) else ("i",)
UN = ["sqrt", "cbrt", "abs", "ln", "exp", "sin", "cos", "arctan", "neg", "inv", "sq", "cube", "half", "floor", "fourth", "arcsin", "tan"]
def gen(d):
    if d == 0 or rng.random() < 0.15: return leaf()
    if rng.random() < 0.55: return (rng.choice(UN), gen(d - 1))
    return (rng.choice(["+", "-", "*", "/", "+", "*"]), gen(d - 1), gen(d - 1))
def tex(e):
    o = e[0]
    if o == "x": return "x"
    if o == "n": return str(e[1]) if e[1] >= 0 else f"(-{-e[1]})"
    if o == "pi": return "\\pi"
    if o in "ei" and len(e) == 1: return o
    a = tex(e[1])
    if len(e) == 3:
        b = tex(e[2])
        return f"\\frac{{{a}}}{{{b}}}" if o == "/" else f"({a}{dot if o == '*' else o}{b})"
    return {"sqrt": f"\\sqrt{{{a}}}", "cbrt": f"\\sqrt[3]{{{a}}}", "fourth": f"\\sqrt[4]{{{a}}}", "abs": f"\\left|{a}\\right|", "ln": f"\\ln({a})", "exp": f"e^{{{a}}}", "sin": f"\\sin({a})",
            "cos": f"\\cos({a})", "tan": f"\\tan({a})", "arctan": f"\\arctan({a})", "arcsin": f"\\arcsin({a})", "neg": f"(-{a})", "inv": f"\\frac{{1}}{{{a}}}", "sq": f"({a})^2", "cube": f"({a})^3",
            "half": f"\\frac{{{a}}}{{2}}", "floor": f"\\lfloor {a}\\rfloor"}[o]
def real(z): return abs(mp.im(z)) < 1e-22 * (1 + abs(z))
def ev(e, x):
    o = e[0]
    if o == "x": return mp.mpc(x)
    if o == "n": return mp.mpc(e[1])
    if o == "pi": return mp.mpc(mp.pi)
    if o == "e" : return mp.mpc(mp.e)
    if o == "i": return mp.mpc(0, 1)
    a = ev(e[1], x)
    if abs(a) > 1e40: raise U
    if len(e) == 3:
        b = ev(e[2], x)
        if o == "+": return a + b
        if o == "-": return a - b
        if o == "*": return a * b
        if abs(b) < 1e-20: raise U
        return a / b
    r = real(a)
    if o in ("sqrt", "fourth"):
        if VARS and (not r or a.real < -1e-20): raise U
        return mp.root(mp.mpc(a.real, 0) if r else a, 2 if o == "sqrt" else 4)
    if o == "cbrt":
        if r: return mp.sign(a.real) * mp.mpc(mp.cbrt(abs(a.real)))
        if VARS: raise U
        return mp.root(a, 3)
    if o == "abs": return mp.mpc(abs(a))
    if o == "ln":
        if abs(a) < 1e-20 or (VARS and (not r or a.real < 0)): raise U
        return mp.log(mp.mpc(a.real, 0) if r else a)
    if o == "exp":
        if abs(a) > 80: raise U
        return mp.exp(a)
    if o in ("sin", "cos", "tan"):
        if abs(a.imag) > 60: raise U
        if o == "tan" and abs(mp.cos(a)) < 1e-18: raise U
        return mp.mpc(getattr(mp, o)(a))
    if o == "arctan":
        if not r: raise U
        return mp.mpc(mp.atan(a.real))
    if o == "arcsin":
        if not r or abs(a.real) > 1: raise U
        return mp.mpc(mp.asin(a.real))
    if o == "neg": return -a
    if o == "inv":
        if abs(a) < 1e-20: raise U
        return 1 / a
    if o == "sq": return a * a
    if o == "cube": return a ** 3
    if o == "half": return a / 2
    if o == "floor":
        if not r or abs(a.real - mp.nint(a.real)) < 1e-15: raise U
        return mp.mpc(mp.floor(a.real))
def nodes(e, path=()):
    yield path, e
    for i, c in enumerate(e[1:]):
        if isinstance(c, tuple): yield from nodes(c, path + (i + 1,))
def put(e, path, new):
    if not path: return new
    l = list(e); l[path[0]] = put(e[path[0]], path[1:], new); return tuple(l)
def wrong(e):
    """a tempting rewriting at one node"""
    o = e[0]; c = []
    if len(e) == 2 and o in ("sqrt", "half", "floor", "abs", "cbrt", "fourth", "neg"): c.append(e[1])
    if len(e) == 2 and isinstance(e[1], tuple):
        a = e[1]
        if o in UN and a[0] in UN: c.append((a[0], (o, a[1])))
        if len(a) == 3: c.append((a[0], (o, a[1]), (o, a[2]))); c.append((a[0], (o, a[1]), a[2])); c.append(("+", (o, a[1]), (o, a[2])))
        if len(a) == 2: c.append((o, ("abs", a))); c.append(("abs", e))
        c.append(("neg", (o, ("neg", a))));  c.append((o, ("neg", a))); c.append((o, ("abs", a))); c.append(("inv", (o, ("inv", a))))
        if o == "sq": c += [("*", a, a), ("sq", ("abs", a)), ("*", ("abs", a), a)]
        if o == "sqrt": c += [("fourth", ("sq", a)), ("sqrt", ("abs", a)), ("half", a)]
        if o == "fourth": c += [("sqrt", ("sqrt", a))]
        if o == "cube": c += [("*", ("sq", a), a), ("cube", ("abs", a))]
        if o == "abs": c += [("sqrt", ("sq", a)), ("abs", ("neg", a))]
        if o == "sin": c += [("cos", ("-", ("/", ("pi",), ("n", 2)), a)), ("*", ("tan", a), ("cos", a))]
    elif len(e) == 3:
        a, b = e[1], e[2]
        c += [(o, b, a), ("+", a, b), ("*", a, b)]
        if a[0] == b[0] and a[0] in UN: c.append((a[0], (o, a[1], b[1])))
        if o == "/": c += [("*", a, ("inv", b)), ("inv", ("/", b, a))]
    c += [("sqrt", ("sq", e)), ("cbrt", ("cube", e)), ("exp", ("ln", e)), ("ln", ("exp", e)), ("sq", ("sqrt", e)), ("abs", e), ("cube", ("cbrt", e)), ("arctan", ("tan", e)), ("sin", ("arcsin", e)), ("arcsin", ("sin", e)), ("-", ("+", e, ("n", 1)), ("n", 1)), ("inv", ("inv", e)), ("neg", ("neg", e))]
    return rng.choice(c)
pairs = []
while len(pairs) < args.pairs:
    e = gen(rng.choice([2, 3, 3, 4]))
    f = e
    for _ in range(rng.choice([1, 1, 2, 3])):
        path, node = rng.choice(list(nodes(f)))
        f = put(f, path, wrong(node))
    if tex(e) != tex(f) and len(tex(f)) < 300:
        pairs.append((e, f))
with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as rows:
    for i, (e, f) in enumerate(pairs):
        rows.write(json.dumps({"id": i, "gold": tex(e), "response": "$\\boxed{" + tex(f) + "}$"}) + "\n")
    rows.flush()
    out = subprocess.run([args.cohort, "verify", "math", "--input", rows.name], capture_output=True, text=True, check=True)
count = collections.Counter()
for line in out.stdout.splitlines():
    row = json.loads(line)
    (e, f), verdict = pairs[row["id"]], row["verdict"]
    count[verdict] += 1
    if verdict not in ("passed", "failed"):
        continue
    agree = differ = 0
    for x in [0.37, -0.83, 1.9, -2.7, 3.3, 0.061, 7.7, -5.2] if VARS else [0.5]:
        try:
            a, b = ev(e, mp.mpf(x)), ev(f, mp.mpf(x))
        except (U, ValueError, ZeroDivisionError, OverflowError):
            continue
        if abs(a - b) > 1e-15 * (1 + abs(a)):
            differ += 1
        else:
            agree += 1
    if (verdict == "passed" and differ) or (verdict == "failed" and agree and not differ):
        count["looked at: " + verdict] += 1
        print(verdict, tex(e), " | ", tex(f), f"agree at {agree}, differ at {differ}")
print(dict(count))
