// Texts of C++ that this side puts into a source: what may stand there, and how a binary says a type.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cohort::code {

// A type as a binary says it: a function's, or `types<…>` with no result.
struct CppShape {
  std::string result;
  std::vector<std::string> parameters;
  std::vector<std::string> values;  // of constants beside it
  // Of what is asked for: its arguments and result can go from one process to the other.
  bool served() const { return !values.empty() && values[0] == "true"; }
};
// Of "F; auto ...V = {a, b}…".
std::optional<CppShape> read_shape(std::string_view text);

bool is_identifier(std::string_view text);

// A value that is spelled the same for any program: numbers, texts, nullptr.
bool is_literal(std::string_view text);

// A word of a type that every process has the same: what else a program may call its own is not looked into.
bool is_plain_word(std::string_view text);

// Whether the tests compare with a function of that name: one of the program's does not take its place.
bool decides_tests(std::string_view name);

// The parts between commas outside of every bracket.
std::vector<std::string> split(std::string_view list);

// A type as it stands before a name: `int[3]` and `int(*)()` do not by themselves.
std::string in_brackets(const std::string& type);

}  // namespace cohort::code
