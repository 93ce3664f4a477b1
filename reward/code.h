// Programs, compiled and run in the jail against tests.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "reward/code/language.h"
#include "reward/compare.h"
#include "reward/grader.h"

namespace cohort {

struct CodeLimits {
  using is_options = void;
  double wall_s = 15;
  double cpu_s = 5;
  int memory_mb = 512;
  int output_kb = 4096;
  int file_mb = 64;
  int processes = 64;

  template <class V>
  void visit(V& v) {
    v("wall_s", wall_s, "seconds of wall clock: the backstop for programs that sleep", between(0.01, 3600));
    v("cpu_s", cpu_s, "seconds of CPU time, of all processes together", between(0.01, 3600));
    v("memory_mb", memory_mb, "MiB of resident memory, of all processes together", between(1, 1 << 20));
    v("output_kb", output_kb, "KiB of standard output and error together", between(1, 1 << 20));
    v("file_mb", file_mb, "MiB of files", between(1, 1 << 16));
    v("processes", processes, "processes and threads at once", between(1, 4096));
  }
};

enum class CodeIsolation { automatic, namespaces, process };
inline EnumNames<CodeIsolation> enum_names(CodeIsolation) {
  return {{CodeIsolation::automatic, "auto"},
          {CodeIsolation::namespaces, "namespaces"},
          {CodeIsolation::process, "process"}};
}

// Where a Python test script runs. separate: in a process of its own, that holds the candidate by proxies only;
// in_process: in the candidate's, as everybody else's harness does.
enum class PythonTests { separate, in_process };
inline EnumNames<PythonTests> enum_names(PythonTests) {
  return {{PythonTests::separate, "separate"}, {PythonTests::in_process, "in_process"}};
}

// Where a C or C++ test script runs. separate: apart from the program or not at all; automatic: in the program's process where it
// cannot be apart; in_process: never apart.
enum class CppTests { automatic, separate, in_process };
inline EnumNames<CppTests> enum_names(CppTests) {
  return {
      {CppTests::automatic, "auto"}, {CppTests::separate, "separate"}, {CppTests::in_process, "in_process"}};
}

// The order in which a record's tests are tried. learned: the one that failed most of this record's programs first.
enum class TestOrder { learned, given };
inline EnumNames<TestOrder> enum_names(TestOrder) {
  return {{TestOrder::learned, "learned"}, {TestOrder::given, "given"}};
}

struct CodeOptions {
  using is_options = void;
  std::string language;
  CodeLimits limits;
  CodeLimits compile = {60, 30, 2048, 256, 256, 32};
  OutputCompare compare = OutputCompare::tokens;
  double absolute_tolerance = 1e-6;
  double relative_tolerance = 1e-6;
  bool partial_credit = false;
  bool whole_completion = false;
  bool reuse = true;
  TestOrder test_order = TestOrder::learned;
  PythonTests python_tests = PythonTests::separate;
  CppTests cpp_tests = CppTests::separate;
  bool precompiled_headers = true;
  bool warm_python = true;
  std::string cache_dir;
  CodeIsolation isolation = CodeIsolation::automatic;
  std::string python;
  std::vector<std::string> read_only;
  std::vector<CodeLanguage> languages;

  template <class V>
  void visit(V& v) {
    v("language", language, "c, cpp, python or one of languages, when the record has no \"language\"");
    v("limits", limits, "of one test");
    v("compile", compile, "of the compiler");
    v("compare", compare, "tokens, lines, unordered_lines, exact or floats");
    v("absolute_tolerance", absolute_tolerance, "of compare = \"floats\" and of results of calls",
      at_least(0));
    v("relative_tolerance", relative_tolerance, "of compare = \"floats\" and of results of calls",
      at_least(0));
    v("partial_credit", partial_credit, "the score is the share of tests passed; else all or nothing");
    v("whole_completion", whole_completion,
      "the completion is the program itself; else its last fenced block is");
    v("reuse", reuse, "the same program (comments and blanks aside) of the same record is run once");
    v("test_order", test_order, "learned: tests that fail most often come first; or as given");
    v("python_tests", python_tests, "separate, or in_process, where a program can reach into its tests");
    v("cpp_tests", cpp_tests,
      "separate: a C or C++ script runs in a process without the program; auto: in the program's where "
      "that is not possible; in_process: always there, where a program can reach into its tests");
    v("precompiled_headers", precompiled_headers, "bits/stdc++.h is compiled once for this machine");
    v("warm_python", warm_python, "a started interpreter forks inside the jail for each run");
    v("cache_dir", cache_dir,
      "of precompiled headers; default $XDG_CACHE_HOME/cohort or ~/.cache/cohort (root without namespaces: "
      "/var/cache/cohort)");
    v("isolation", isolation,
      "auto: namespaces, and where the machine refuses them the weaker process isolation; or insist on one");
    v("python", python, "the interpreter; default /usr/bin/python3, else the first python3 in PATH");
    v("read_only", read_only, "more host folders that programs may read (other toolchains, libraries)");
    v("languages", languages, "other languages, or others in place of the built-in ones");
  }
};

// The last fenced code block after the thinking; an unclosed one only when no other is there. Empty without
// one.
std::string_view last_fenced_block(std::string_view response);

// Record fields (docs/code.md has each form with an example): "language"; "limits"; and the tests:
//   "tests"      a list of {"stdin", "stdout"} (also "input", "output") or, Python, {"args", "kwargs", "expected"} of the
//                function "entry_point". "driver": source that is appended to the program and calls its function.
//                "checker": {"language", "source"} decides instead of a comparison. "compare" and the tolerances.
//   "test_code"  a script of assertions or a list of them ("test_list"), then check(entry_point) if that is given, as in
//                HumanEval and MBPP; "prelude" runs before it. C and C++: appended to the program, with a main.
//   "inputs" and "outputs", or "input_output": as in APPS.
// Each test has a fresh jail, which sees the program and this test's input only; what comes out is judged outside.
// (test_code in C and C++ is the exception where it cannot run apart.) Identical programs of one record are graded once.
std::unique_ptr<Grader> make_code_grader(const TomlTable& options);

}  // namespace cohort
