// What C and C++ scripts of assertions have in common that are kept apart from the program (c_apart.h, cpp_apart.h): the program with a
// loop that serves its functions and the tests with stubs that ask it are two compilations and two jails, and the tests' process says how
// it ended.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reward/code/python_tests.h"

namespace cohort::code {

// A pair has a result, or a reason why a stub cannot stand for the program's functions, and the compiler's words where it was the
// program that did not compile.
struct ApartOutcome {
  std::optional<TestResult> result;
  std::string reason;
  std::optional<Compiled> not_compiled;
};

// Functions of the program that the tests name and do not define themselves.
std::vector<std::string> called_by_tests(std::string_view program, const TestSet& set,
                                         std::string_view tests);

// Whether a compilation that failed means that program and tests cannot be apart, and not that it is to be refused: an error in
// the `ours` part of its source. A compiler that ran out of its limits says nothing of that, and a program could bring it about.
bool cannot_be_apart(const Compiled& failed, std::string_view ours);

// How a pair ends with a compilation that failed: `why` where it cannot be apart.
ApartOutcome end_not_compiled(const Compiled& failed, std::string_view ours, const std::string& why);

// How a pair ends with tests that are compiled or not, whose program is: runs both. `why` tests do not compile that could not be apart;
// "" where nothing is known of that.
ApartOutcome end_of_pair(const Toolchain& toolchain, const CodeLanguage& language, const Compiled& program,
                         const Compiled& tests, const std::string& why, const sandbox::Limits& limits,
                         const std::atomic<bool>& cancelled);

}  // namespace cohort::code
