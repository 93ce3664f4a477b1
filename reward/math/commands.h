// What LaTeX's commands and plain words mean to the lexer.
#pragma once

#include <string_view>
#include <unordered_map>

#include "reward/math/token.h"

namespace cohort::math {

struct Meaning {
  Tok kind;
  const char* text = "";
};
enum class Role : uint8_t {
  token,
  space,
  style,     // its argument counts
  argument,  // its argument does not: \hspace{1mm}, \color{red}
  text,
  greek,
};
struct Command {
  Role role = Role::token;
  Meaning meaning{Tok::other};
};

// By name without the backslash.
const std::unordered_map<std::string_view, Command>& commands();
// Outside LaTeX commands, lower case: sin, sqrt, or, pi …
const std::unordered_map<std::string_view, Meaning>& plain_words();
// "two", "sixteen": the base a subscript names, 0 for none.
unsigned base_word(std::string_view word);

}  // namespace cohort::math
