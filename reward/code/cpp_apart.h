// C++ scripts of assertions without a line of them in the program's process: the tests run in a jail of their own, where the
// functions they call are stubs that ask the program, over a socket, with arguments and results by value.
//
// Data flow: program + loop that serves its functions → compiled; the binary says what their types are → stubs of those
// types + tests → compiled (once for a group) → both run (pair.h) → how the tests' process ended, which never
// holds anything of the program's but values.
#pragma once

#include <string>
#include <string_view>

#include "reward/code/apart.h"

namespace cohort::code {

// `word`: letters and digits that no program can know.
ApartOutcome run_cpp_apart(const Toolchain& toolchain, std::string_view program, const TestSet& set,
                           std::string_view tests, const std::string& word, const sandbox::Limits& limits,
                           const std::atomic<bool>& cancelled);

}  // namespace cohort::code
