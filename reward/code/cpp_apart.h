// C++ scripts of assertions without a line of them in the program's process: the tests run in a jail of their own, where the
// functions they call are stubs that ask the program, over a socket, with arguments and results by value.
//
// Data flow: program + loop that serves its functions → compiled; the binary says what their types are → stubs of those
// types + tests → compiled (once for a group) → both run (pair.h) → how the tests' process ended, which never
// holds anything of the program's but values.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reward/code/c_tokens.h"
#include "reward/code/python_tests.h"

namespace cohort::code {

// Tests and program one after the other are tried with this: either has a result, or a reason why a stub cannot
// stand for its functions, and the compiler's words where it was the program that did not compile.
struct ApartOutcome {
  std::optional<TestResult> result;
  std::string reason;
  std::optional<Compiled> not_compiled;
};

// `word`: letters and digits that no program can know.
ApartOutcome run_cpp_apart(const Toolchain& toolchain, std::string_view program, const TestSet& set,
                           std::string_view tests, const std::string& word, const sandbox::Limits& limits,
                           const std::atomic<bool>& cancelled);

// Functions of the program that the tests name and do not define themselves.
std::vector<std::string> called_by_tests(std::string_view program, const TestSet& set,
                                         std::string_view tests);

// Whether a compilation that failed means that program and tests cannot be apart, and not that it is to be refused: an error in
// the `ours` part of its source. A compiler that ran out of its limits says nothing of that, and a program could bring it about.
bool cannot_be_apart(const Compiled& failed, std::string_view ours);

// Runs both and says how that ended.
TestResult judge_apart(const Toolchain& toolchain, const CodeLanguage& language, const Compiled& program,
                       const Compiled& tests, const sandbox::Limits& limits,
                       const std::atomic<bool>& cancelled);

}  // namespace cohort::code
