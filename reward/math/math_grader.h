// Does a completion's final answer equal the gold answer? Three-valued and exact: passed, failed, or unknown
// for what this checker cannot read or decide; it never guesses.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "reward/grader.h"

namespace cohort {

struct MathOptions {
  using is_options = void;
  std::string gold_field = "gold";
  int decimal_digits = 4;
  bool last_number = true;
  bool ordered_lists = false;
  int max_chars = 1000000;
  int max_steps = 200000;

  template <class V>
  void visit(V& v) {
    v("gold_field", gold_field,
      "the record's field with the right answer, or with a solution that states it");
    v("decimal_digits", decimal_digits,
      "a decimal equals an exact value when it rounds it right and shows at least this many significant "
      "digits",
      between(1, 1000));
    v("last_number", last_number, "without any statement of an answer the last number counts");
    v("ordered_lists", ordered_lists,
      "\"1, 2\" without brackets differs from \"2, 1\"; by default such a list is a set of answers");
    v("max_chars", max_chars, "a longer completion is unknown, unread", at_least(1));
    v("max_steps", max_steps,
      "work a check may take, in steps of about 0.1 microseconds; above it the verdict is unknown",
      at_least(100));
  }
};

// The answer is looked for after the thinking and, when there is one, inside the last <answer>…</answer>: the
// last balanced \boxed{}, else the last "the answer is …", else "####", else the whole text if it is an
// answer, else the last number. A boxed, stated or #### answer that is provably different from the one taken
// makes it failed: no hedging.
Verdict grade_math(std::string_view gold, std::string_view response, const MathOptions& options);

std::unique_ptr<Grader> make_math_grader(const TomlTable& options);

}  // namespace cohort
