"""Makes humaneval_mutants.jsonl: canonical solutions of HumanEval with one token changed, and whether the problem's own
tests, run the plain way (everything in one interpreter), let each pass. The grader must agree on every one.
    python3 make_humaneval_mutants.py HumanEval.jsonl.gz > humaneval_mutants.jsonl
A line: task, offset into canonical_solution, the token there, what takes its place, whether it passes."""
import gzip, io, json, signal, sys, tokenize

SWAPS = {"+": "-", "-": "+", "*": "+", "/": "*", "//": "/", "%": "//", "**": "*", "<": "<=", "<=": "<", ">": ">=", ">=": ">",
         "==": "!=", "!=": "==", "+=": "-=", "and": "or", "or": "and", "not": "", "in": "not in", "True": "False", "False": "True",
         "min": "max", "max": "min", "sum": "len", "sorted": "list", "all": "any", "any": "all", "lower": "upper",
         "break": "continue", "append": "remove", "range": "reversed"}
MUTANTS = 4  # a problem, spread over its sites

def sites(solution):
    in_for = False
    text = "def f():\n" + solution
    lines = [0]
    for line in text.splitlines(True): lines.append(lines[-1] + len(line))
    last = ""
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            new = SWAPS.get(token.string)
            if token.type == tokenize.NUMBER and token.string.isdigit(): new = str(int(token.string) + 1)
            if token.string == "in" and last in ("for", "not"): new = None
            if token.type in (tokenize.OP, tokenize.NUMBER, tokenize.NAME) and new is not None and not in_for:
                yield lines[token.start[0] - 1] + token.start[1] - len("def f():\n"), token.string, new
            if token.string == "for": in_for = True
            elif token.string == "in" or token.type == tokenize.NEWLINE: in_for = False
            last = token.string
    except tokenize.TokenError:
        pass

def passes(program, problem):
    space = {"__name__": "candidate"}
    def expired(*_): raise TimeoutError
    signal.signal(signal.SIGALRM, expired)
    signal.alarm(4)
    try:
        exec(compile(program, "solution.py", "exec"), space)
        exec(compile(problem["test"], "tests.py", "exec"), space)
        space["check"](space[problem["entry_point"]])
        return True
    except TimeoutError:
        return None  # left out: a test suite has no time to wait for it
    except BaseException:
        return False
    finally:
        signal.alarm(0)

for number, line in enumerate(gzip.open(sys.argv[1], "rt")):
    problem = json.loads(line)
    solution = problem["canonical_solution"]
    found = list(sites(solution))
    for at in range(min(MUTANTS, len(found))):
        offset, old, new = found[at * len(found) // min(MUTANTS, len(found))]
        program = problem["prompt"] + solution[:offset] + new + solution[offset + len(old):]
        result = passes(program, problem)
        if result is not None: print(json.dumps([number, offset, old, new, result]))
