// Programs, compiled and run in the jail against tests.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

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
inline std::vector<std::pair<CodeIsolation, const char*>> enum_names(CodeIsolation) {
  return {{CodeIsolation::automatic, "auto"},
          {CodeIsolation::namespaces, "namespaces"},
          {CodeIsolation::process, "process"}};
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
  CodeIsolation isolation = CodeIsolation::automatic;
  std::string python;
  std::vector<std::string> read_only;

  template <class V>
  void visit(V& v) {
    v("language", language, "c, cpp or python when the record has no \"language\"");
    v("limits", limits, "of one test");
    v("compile", compile, "of the compiler");
    v("compare", compare, "tokens, lines, exact or floats");
    v("absolute_tolerance", absolute_tolerance, "of compare = \"floats\"", at_least(0));
    v("relative_tolerance", relative_tolerance, "of compare = \"floats\"", at_least(0));
    v("partial_credit", partial_credit, "the score is the share of tests passed; else all or nothing");
    v("whole_completion", whole_completion,
      "the completion is the program itself; else its last fenced block is");
    v("isolation", isolation,
      "auto: namespaces, and where the machine refuses them the weaker process isolation; or insist on one");
    v("python", python, "the interpreter; default /usr/bin/python3, else the first python3 in PATH");
    v("read_only", read_only, "more host folders that programs may read (other toolchains, libraries)");
  }
};

// The last fenced code block after the thinking; an unclosed one only when no other is there. Empty without
// one.
std::string_view last_fenced_block(std::string_view response);

// Record fields: "language"; "tests": [{"stdin", "stdout"}] or "test_code" (+ "entry_point"); "limits".
// stdin/stdout tests: each in a fresh jail that sees the program and this test's input only.
// test_code: Python: run after the program in one interpreter, then check(entry_point) if that is given, as
// in HumanEval; C and C++: appended to the program, with a main that must return 0. Leaving before the end is
// no pass.
std::unique_ptr<Grader> make_code_grader(const TomlTable& options);

}  // namespace cohort
