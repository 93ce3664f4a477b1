// C and C++ scripts of assertions ("test_code" with a main): program and tests share a process, so what is here makes a
// forged pass hard, not impossible (docs/code.md says what is left; "driver" with input and output has no such limits).
//
// Data flow: program + boundary + tests, whose assertions call the harness under names drawn for this worker → one
// compiler run → the program runs twice. In the first run every assertion must hold. In the control run, which
// the program has no plain way to tell from it, every assertion is turned: `a == b` compares with a value next to
// b, others are negated; there every one must fail. Whatever passes without regard to its tests passes both.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace cohort::code {

class NativeTests {
 public:
  // `word`: letters and digits that no program can know.
  explicit NativeTests(std::string word) : word_(std::move(word)) {}
  const std::string& word() const { return word_; }

  // Program and tests as one source. Fewer than one assertion in `tests`: there is no control run.
  std::string source(std::string_view program, std::string_view tests, bool cpp) const;
  // To be compiled and linked before it, with -Wl,--wrap=main. Reads a nonce of 32 digits from descriptor 0, which is
  // then empty, and writes "nonce assertions failed" to descriptor 3 when main has returned 0.
  std::string harness() const;
  // A nonce for the run or the control run.
  std::string nonce(bool control) const;

 private:
  const std::string word_;
};

// What undoes macros that the program has given the names of keywords.
std::string undone_words(bool cpp);

// Whether `tests` has an assertion to turn.
bool has_assertions(std::string_view tests);

// A function of the C library that tests compare or compute with.
bool of_c_library(std::string_view function);

// Why a program fails without being run: it defines a function of the C library that its tests use. `entry_point`: the
// function that is tested, which may have any name.
std::optional<std::string> defines_library(std::string_view program, std::string_view tests,
                                           std::string_view entry_point);

// Why a program is not run in one process with such tests, or nothing.
std::optional<std::string> refuse_native(std::string_view program, std::string_view tests,
                                         std::string_view entry_point);

}  // namespace cohort::code
