// The words of a C or C++ text, as far as rewriting assertions needs them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cohort::code {

// A word or number, a literal, a comment or white space (skipped), or one other character.
struct Token {
  enum Kind { word, literal, skipped, other };
  Kind kind = other;
  size_t begin = 0, end = 0;
};

std::vector<Token> tokens_of(std::string_view text);
std::string_view of(std::string_view text, const Token& token);
// For each token that opens a bracket the index of the one behind it, or the end; the end for all others.
std::vector<size_t> behind_brackets(std::string_view text, const std::vector<Token>& all);
// The first from `i` on that is not skipped, or the end.
size_t skip(const std::vector<Token>& all, size_t i);
// Whether `word` is one of the text's.
bool mentions(std::string_view text, std::string_view word);
// Whether the word `i` is a function's name with its parameters and body, or label, behind it.
// `behind`: behind_brackets().
bool defines_function(std::string_view text, const std::vector<Token>& all, const std::vector<size_t>& behind,
                      size_t i);

// The text with `main` called otherwise where it is defined: a program may have one that shows what it can do, and its tests
// have another. Not by a macro, which would keep a precompiled header from being used.
std::string without_main(std::string_view text);

std::string replaced(std::string_view text, std::string_view what, std::string_view by);

}  // namespace cohort::code
