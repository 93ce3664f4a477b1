// An answer as it stands in a text or a \boxed{}: what value, unit and digits it states, and whether two
// state the same.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "reward/math/exact.h"

namespace cohort::math {

struct Answer {
  Exact value;
  // A decimal literal standing alone: digits after the point (negative with an exponent) and significant
  // digits shown.
  struct Shown {
    long decimals = 0;
    long significant = 0;
  };
  std::optional<Shown> shown;
  bool percent = false;
  std::string unit;  // lower case, singular, "" for none
};

// Reads: whole numbers with or without thousands separators (1,234 1{,}234 1\,234), decimals, 1.5e3, + - * /
// ^, \frac, mixed numbers, \sqrt, parentheses, percent, currency signs, degrees, trailing units, "x = 5",
// LaTeX spacing and \text. Nothing for what it does not cover wholly; bounded in time and stack for any
// bytes.
std::optional<Answer> read_answer(std::string_view text);
// The same for the longest beginning of `text` that is an answer, when no digit stands in what is left.
std::optional<Answer> read_leading_answer(std::string_view text);

enum class Equality { equal, different, unknown };

// Exact equality, except that a decimal equals an exact value when it is its correct rounding or truncation
// to the digits shown and shows at least `decimal_digits` significant ones. A unit or percent sign that only
// one side has is dropped; known units are converted; unlike unknown ones leave it unknown.
Equality compare(const Answer& gold, const Answer& given, int decimal_digits);

// Texts that are no numbers: spelling details of LaTeX and white space aside. Equal texts are equal, two
// different choice letters or yes/no words are different, everything else is unknown.
Equality compare_texts(std::string_view gold, std::string_view given);

}  // namespace cohort::math
