// The code reward's speed: compiling with and without the precompiled header, Python cold and warm, HumanEval, and what
// grading by group saves. Each part alternates between the two ways it compares, so that other work on the machine
// meets both alike; medians with the quartiles around them.
//   code_bench compile|scripts|python [--repeat N]
//   code_bench humaneval HumanEval.jsonl          (gzip -dc it first)
//   code_bench flip|soak [RUNS]                   (code_stress.h)
//   code_bench groups PROMPTS.jsonl COMPLETIONS.jsonl      (what `cohort eval --output` wrote, joined by id)
#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "code_stress.h"
#include "reward/code.h"
#include "reward/grader.h"
#include "transport/base/log.h"
#include "transport/base/measure.h"

namespace cohort {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

std::unique_ptr<Grader> make(const std::string& options) {
  return make_code_grader(TomlTable::parse("whole_completion = true\n" + options, "bench"));
}

Verdict grade(Grader& grader, const std::string& record, const std::string& program) {
  GradeInput input;
  input.record_json = record;
  input.completion = program;
  return grader.grade(input, false);
}

struct Way {
  std::string name;
  std::unique_ptr<Grader> grader;
  std::vector<double> ms;
};

void print(std::vector<Way>& ways) {
  for (Way& way : ways) {
    std::sort(way.ms.begin(), way.ms.end());
    const auto at = [&](double q) { return way.ms[static_cast<size_t>(q * double(way.ms.size() - 1))]; };
    fmt::print("{:<24} {:>8.2f} ms   ({:.2f} to {:.2f})\n", way.name, at(0.5), at(0.25), at(0.75));
  }
}

// One program over and over; a number in it keeps it from being found compiled.
void alternate(std::vector<Way>& ways, const json& record, const std::string& program, int repeat) {
  for (int i = -1; i < repeat; ++i)  // the first makes what is made once
    for (Way& way : ways) {
      std::string source = program;
      if (const size_t at = source.find("@N@"); at != std::string::npos)
        source.replace(at, 3, std::to_string(i + 2));
      const auto began = Clock::now();
      const Verdict v = grade(*way.grader, record.dump(), source);
      if (v.kind != VerdictKind::passed) fail("{}: {} {}", way.name, v.reason, v.evidence);
      if (i >= 0) way.ms.push_back(1e3 * seconds_since(began));
    }
  print(ways);
}

void compile(int repeat) {
  const json ok = {{{"stdout", "ok"}}};
  std::vector<Way> cpp;
  cpp.push_back({"C++, precompiled header", make("reuse = false"), {}});
  cpp.push_back({"C++, without", make("reuse = false\nprecompiled_headers = false"), {}});
  alternate(cpp, {{"language", "cpp"}, {"tests", ok}},
            "#include <bits/stdc++.h>\nint n = @N@;\nint main() { std::cout << (n ? \"ok\" : \"\"); }",
            repeat);
  std::vector<Way> c;
  c.push_back({"C", make("reuse = false"), {}});
  alternate(c, {{"language", "c"}, {"tests", ok}},
            "#include <stdio.h>\nint n = @N@;\nint main(void) { puts(n ? \"ok\" : \"\"); }", repeat);
}

void python(int repeat) {
  const auto ways = [] {
    std::vector<Way> two;
    two.push_back({"warm", make("reuse = false"), {}});
    two.push_back({"cold", make("reuse = false\nwarm_python = false"), {}});
    return two;
  };
  fmt::print("a program, standard input and output\n");
  auto io = ways();
  alternate(io, {{"language", "python"}, {"tests", {{{"stdin", "2"}, {"stdout", "4"}}}}},
            "print(int(input()) ** 2)", repeat);
  fmt::print("a call\n");
  auto call = ways();
  alternate(
      call,
      json::parse(R"({"language": "python", "entry_point": "f", "tests": [{"args": [2], "expected": 4}]})"),
      "def f(x): return x ** 2", repeat);
  fmt::print("a script of assertions: two interpreters\n");
  auto script = ways();
  alternate(script, {{"language", "python"}, {"test_code", "assert f(2) == 4"}}, "def f(x): return x ** 2",
            repeat);
}

// Tests in a process of their own, and in the program's. The tests' side is compiled once for all programs of a record.
void scripts(int repeat) {
  const auto measure = [&](const char* what, const char* language, const std::string& program,
                           const std::string& tests) {
    fmt::print("{}\n", what);
    std::vector<Way> two;
    two.push_back({"apart", make("reuse = false"), {}});
    two.push_back({"in the program's process", make("reuse = false\ncpp_tests = \"in_process\""), {}});
    alternate(two,
              {{"language", language}, {"test_code", "#include <assert.h>\nint main() { " + tests + " }"}},
              program, repeat);
  };
  measure("C, an array sorted in place", "c",
          "static int n = @N@;\nvoid order(int* a, int k) {\n  for (int i = 0; n && i < k; ++i)\n    for "
          "(int j = i; j > "
          "0 && a[j - 1] > a[j]; --j) { int t = a[j]; a[j] = a[j - 1]; a[j - 1] = t; }\n}\n",
          "int a[4] = {3, 1, 2, 0}; order(a, 4); for (int i = 0; i < 4; ++i) assert(a[i] == i);");
  measure("C++, a function of vectors", "cpp",
          "#include <bits/stdc++.h>\nusing namespace std;\nint n = @N@;\nvector<int> twice(vector<int> a) { "
          "for (int& x "
          ": a) x *= 2; return n ? a : a; }\n",
          "assert((twice({1, 2}) == vector<int>{2, 4}));");
  measure("C++, a class", "cpp",
          "#include <bits/stdc++.h>\nusing namespace std;\nint n = @N@;\nclass Stack {\n  vector<int> "
          "v;\npublic:\n  "
          "void push(int x) { v.push_back(x); }\n  int pop() { int x = v.back(); v.pop_back(); return x; }\n "
          " bool "
          "empty() const { return v.empty(); }\n};\n",
          "Stack s; s.push(1); s.push(2); assert(s.pop() == 2 && s.pop() == 1 && s.empty());");
}

struct Job {
  std::string record, program;
};

struct Sum {
  double wall_s = 0, own_cpu_s = 0, programs_cpu_s = 0;
  size_t passed = 0, reused = 0, tests = 0;
};

Sum grade_all(const std::string& options, const std::vector<Job>& jobs, unsigned threads) {
  const auto grader = make(options);
  std::vector<Verdict> verdicts(jobs.size());
  std::atomic<size_t> next = 0;
  Sum sum;
  auto own_cpu = [] { return cpu_seconds(RUSAGE_SELF) + cpu_seconds(RUSAGE_CHILDREN); };
  const double cpu = own_cpu();
  const auto began = Clock::now();
  std::vector<std::thread> workers;
  for (unsigned t = 0; t < threads; ++t)
    workers.emplace_back([&] {
      for (size_t i; (i = next++) < jobs.size();)
        verdicts[i] = grade(*grader, jobs[i].record, jobs[i].program);
    });
  for (std::thread& worker : workers) worker.join();
  sum.wall_s = seconds_since(began);
  sum.own_cpu_s = own_cpu() - cpu;
  for (const Verdict& v : verdicts) {
    const json evidence = json::parse(v.evidence);
    sum.passed += v.kind == VerdictKind::passed;
    sum.reused += evidence.contains("reused");
    if (!evidence.contains("reused")) {
      sum.tests += evidence.value("tests_run", size_t{0});
      sum.programs_cpu_s += evidence.value("cpu_s", 0.0);
    }
  }
  return sum;
}

std::vector<json> lines_of(const std::string& path) {
  std::ifstream in(path);
  if (!in) fail("{}: cannot be read", path);
  std::vector<json> rows;
  for (std::string line; std::getline(in, line);) rows.push_back(json::parse(line));
  return rows;
}

void humaneval(const std::string& path, int repeat) {
  std::vector<Job> jobs;
  for (const json& p : lines_of(path))
    jobs.push_back({json{{"language", "python"},
                         {"test_code", p["test"]},
                         {"entry_point", p["entry_point"]},
                         {"prelude", p["prompt"]}}
                        .dump(),
                    p["prompt"].get<std::string>() + p["canonical_solution"].get<std::string>()});
  for (int i = 0; i < repeat; ++i)
    for (const auto& [name, options] :
         {std::pair{"warm", "reuse = false"},
          {"cold", "reuse = false\nwarm_python = false"},
          {"in the candidate's process, cold", "reuse = false\npython_tests = \"in_process\""}}) {
      const Sum sum = grade_all(options, jobs, 2);
      fmt::print("{:<34} {} of {} pass, {:.2f} s, {:.1f} a second on two threads\n", name, sum.passed,
                 jobs.size(), sum.wall_s, double(jobs.size()) / sum.wall_s);
    }
}

void groups(const std::string& prompts, const std::string& completions) {
  std::map<std::string, std::string> records;
  for (json& row :
       [&] {
         static auto rows = lines_of(prompts);
         return std::ref(rows);
       }()
           .get())
    records[row["id"].dump()] = row.dump();
  std::vector<Job> jobs;
  for (const json& row : lines_of(completions))
    if (row.contains("completion")) jobs.push_back({records.at(row["id"].dump()), row["completion"]});
  fmt::print("{} completions of {} prompts\n", jobs.size(), records.size());
  for (const auto& [name, options] : {std::pair{"as they come", "reuse = false\ntest_order = \"given\""},
                                      {"identical programs once", "test_order = \"given\""},
                                      {"and the failing test first", ""}}) {
    const Sum sum = grade_all(options, jobs, 2);
    fmt::print("{:<28} {:>7.2f} s wall  {:>5} programs  {:>6} tests run  {} pass\n", name, sum.wall_s,
               jobs.size() - sum.reused, sum.tests, sum.passed);
  }
}

int bench(int argc, char** argv) {
  log::init("code_bench", "", log::Level::warn);
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "flip") return code_flip(argc > 2 ? std::stoi(argv[2]) : 2000);
  if (what == "soak") return code_soak(argc > 2 ? std::stoi(argv[2]) : 10000);
  int repeat = what == "humaneval" ? 3 : 21;
  for (int i = 2; i + 1 < argc; ++i)
    if (std::string(argv[i]) == "--repeat") repeat = std::stoi(argv[i + 1]);
  if (what == "compile")
    compile(repeat);
  else if (what == "scripts")
    scripts(repeat);
  else if (what == "python")
    python(repeat);
  else if (what == "humaneval" && argc > 2)
    humaneval(argv[2], repeat);
  else if (what == "groups" && argc > 3)
    groups(argv[2], argv[3]);
  else
    fail_usage(
        "code_bench compile|scripts|python | flip|soak [RUNS] | humaneval FILE | groups PROMPTS COMPLETIONS "
        "[--repeat N]");
  return 0;
}

}  // namespace
}  // namespace cohort

int main(int argc, char** argv) {
  return cohort::run_main("code_bench", [&] { return cohort::bench(argc, argv); });
}
