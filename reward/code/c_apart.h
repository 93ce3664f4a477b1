// C scripts of assertions apart from the program, as cpp_apart.h does for C++: the tests run in a jail of their own, where the
// functions they call are stubs that ask the program over a socket.
//
// Data flow: the program's declarations (c_types.h) -> program + loop that serves its functions (c_serve.inc) -> compiled; stubs +
// tests (c_memory.inc, c_ask.inc) -> compiled (once for a group) -> both run (pair.h) -> how the tests' process ended.
//
// C's pointers say neither how much they point to nor who owns it, so memory is not copied by types: it keeps its address. Objects
// of the tests are sent with the call that gives a pointer to them and lie at the same place in the program's process;
// memory of the program is fetched, a page at a time, when the tests touch it. c_memory.inc has the rules.
#pragma once

#include <string>
#include <string_view>

#include "reward/code/apart.h"

namespace cohort::code {

// `word`: letters and digits that no program can know.
ApartOutcome run_c_apart(const Toolchain& toolchain, std::string_view program, const TestSet& set,
                         std::string_view tests, const std::string& word, const sandbox::Limits& limits,
                         const std::atomic<bool>& cancelled);

}  // namespace cohort::code
