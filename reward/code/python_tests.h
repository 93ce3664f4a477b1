// Tests of Python functions. The candidate's process sees inputs only; what it answers is judged outside it.
#pragma once

#include <atomic>
#include <nlohmann/json.hpp>
#include <string>

#include "reward/code/tests.h"
#include "reward/code/toolchain.h"

namespace cohort::code {

struct TestResult {
  Judged judged;
  sandbox::Outcome outcome;      // of the candidate
  std::string difference_shown;  // the beginning of what it answered, for the evidence
  bool in_process = false;       // tests and candidate shared a process
};

// One call: the arguments go in, the result comes out and is compared here.
TestResult run_call(const Toolchain& toolchain, const Program& program, const Test& test, Tolerance tolerance,
                    const sandbox::Limits& limits, const std::atomic<bool>& cancelled);

// A script of assertions in a jail of its own, which calls the candidate in its jail over a socket pair. Throws
// InfraError when the script itself is broken or gives the candidate what no other process can have.
TestResult run_script(const Toolchain& toolchain, const Program& program, const TestSet& set,
                      const Test& test, const sandbox::Limits& limits, const std::atomic<bool>& cancelled);

// Candidate and tests in one process: weaker (docs/code.md), for tests the above cannot serve.
TestResult run_script_in_process(const Toolchain& toolchain, const Program& program, const TestSet& set,
                                 const Test& test, const sandbox::Limits& limits,
                                 const std::atomic<bool>& cancelled);

// A crash whose last words are one of the language's syntax errors is a compile_error.
void judge_syntax(const CodeLanguage& language, const sandbox::Outcome& outcome, Judged& judged);

}  // namespace cohort::code
