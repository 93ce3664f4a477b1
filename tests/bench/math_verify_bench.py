#!/usr/bin/env python3
"""The math grader beside Math-Verify on the same answers.

  python3 -m venv VENV && VENV/bin/pip install math-verify==0.8.0
  ninja -C build math_bench
  VENV/bin/python tests/bench/math_verify_bench.py --data DIR --work DIR [--limit N] [--only NAME…] [--keep]

DIR has math/*.jsonl and gsm8k/{test,train}.jsonl. Writes the checks as files of {"id", "gold", "response"} to --work, runs
build/tests/math_bench and Math-Verify on one core each, and prints a Markdown table of speed and agreement;
disagreements.jsonl in --work has every check on which the two do not say the same. --limit 0 takes every check. --keep
takes what Math-Verify said (and its times) from an earlier run in the same folder: for agreement, not for speed.
"""
import argparse, collections, json, pathlib, statistics, subprocess, time

def checks(data):
    """Name -> [(id, gold, response)]. Short answers pair each gold with itself and with another problem's; solutions
    are the sampled ones of a language model."""
    def golds():
        for name, pick in [("aime24", lambda r: str(r["answer"])), ("amc23", lambda r: "%g" % r["answer"]),
                           ("asdiv", lambda r: r["answer"]), ("mawps", lambda r: "%g" % r["target"]),
                           ("svamp", lambda r: "%g" % r["Answer"])]:
            rows = [json.loads(l) for l in open(data / "math" / f"{name}.jsonl")]
            yield name, [pick(r) for r in rows]
        for name, file in [("gsm8k", "test"), ("gsm8k train", "train")]:
            rows = [json.loads(l) for l in open(data / "gsm8k" / f"{file}.jsonl")]
            yield name, [r["answer"].split("####")[1].strip() for r in rows]
    for name, answers in golds():
        out = []
        for i, gold in enumerate(answers):
            out.append((f"{i}=", gold, f"\\boxed{{{gold}}}"))
            other = answers[(i * 7 + 1) % len(answers)]
            out.append((f"{i}~", gold, f"\\boxed{{{other}}}"))
        yield name, out
    for name, file in [("gsm8k solutions", "test"), ("gsm8k train solutions", "train")]:
        rows = [json.loads(l) for l in open(data / "gsm8k" / f"{file}.jsonl")]
        yield name, [(str(i), r["answer"].split("####")[1].strip(), r["answer"]) for i, r in enumerate(rows)]
    rows = [json.loads(l) for l in open(data / "math" / "sampled_math_cot_100.jsonl")]
    yield "MATH solutions", [(f"{r['idx']}.{k}", r["gt"], text) for r in rows for k, text in enumerate(r["code"])]
    here = pathlib.Path(__file__).resolve().parent.parent / "reward" / "math_pairs.jsonl"
    rows = [json.loads(l) for l in open(here)]
    yield "labelled pairs", [(f"{i} {r['label']}", r["gold"], f"\\boxed{{{r['answer']}}}") for i, r in enumerate(rows)]

def peer(jobs):
    from math_verify import parse, verify
    def boxed(text): return parse("\\boxed{" + text + "}")
    out, times = [], []
    for _, gold, response in jobs:
        began = time.perf_counter()
        try:
            same = verify(boxed(gold), parse(response))
        except Exception:
            same = None
        times.append(time.perf_counter() - began)
        out.append(same)
    return out, times

def asked(jobs, kept, path):
    if kept and path.exists():
        rows = [json.loads(l) for l in path.read_text().splitlines()]
        if [r["id"] for r in rows] == [i for i, _, _ in jobs]:
            return [r["same"] for r in rows], [r["s"] for r in rows]
    theirs, times = peer(jobs)
    path.write_text("".join(json.dumps({"id": i, "same": t, "s": s}) + "\n" for (i, _, _), t, s in zip(jobs, theirs, times)))
    return theirs, times

def main():
    args = argparse.ArgumentParser()
    args.add_argument("--data", type=pathlib.Path, required=True)
    args.add_argument("--work", type=pathlib.Path, required=True)
    args.add_argument("--bench", default="build/tests/math_bench")
    args.add_argument("--limit", type=int, default=1000, help="checks a file, evenly spread; 0: all")
    args.add_argument("--only", nargs="*", help="these files")
    args.add_argument("--keep", action="store_true")
    args = args.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    differing = open(args.work / "disagreements.jsonl", "w")
    print("| answers | checks | ours, median | Math-Verify, median | mean | p99 | times at the median | both agree |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for name, jobs in checks(args.data):
        if args.only and name not in args.only: continue
        if args.limit:
            step = max(1, len(jobs) // args.limit)
            if step % 2 == 0: step += 1
            jobs = jobs[::step]
        path = args.work / (name.replace(" ", "_") + ".jsonl")
        path.write_text("".join(json.dumps({"id": i, "gold": g, "response": r}) + "\n" for i, g, r in jobs))
        verdicts = args.work / (path.stem + "_ours.jsonl")
        line = subprocess.run([args.bench, str(path), "--json", "--verdicts", str(verdicts)], check=True, capture_output=True, text=True).stdout
        ours = json.loads(line)
        kinds = [json.loads(l) for l in verdicts.read_text().splitlines()]
        theirs, times = asked(jobs, args.keep, args.work / (path.stem + "_theirs.jsonl"))
        agree = collections.Counter()
        for (i, gold, response), mine, same in zip(jobs, kinds, theirs):
            ok = (mine["verdict"] == "passed") == bool(same)
            agree[ok] += 1
            if not ok:
                differing.write(json.dumps({"file": name, "id": i, "gold": gold, "ours": mine["verdict"], "reason": mine["reason"],
                                            "answer": mine["evidence"].get("answer"), "also": mine["evidence"].get("also"),
                                            "math_verify": same}, ensure_ascii=False) + "\n")
                differing.flush()
        times = sorted(times)
        median = statistics.median(times)
        print(f"| {name} | {len(jobs)} | {ours['us_median']:.1f} µs | {median*1e3:.2f} ms | "
              f"{statistics.mean(times)*1e3:.2f} ms | {times[int(0.99*(len(times)-1))]*1e3:.1f} ms | "
              f"{median*1e6/ours['us_median']:,.0f} | {agree[True]}/{len(jobs)} |", flush=True)

main()
