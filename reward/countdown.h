// Countdown: an expression over given numbers that makes a target, as in TinyZero.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "reward/grader.h"

namespace cohort {

struct CountdownOptions {
  using is_options = void;
  bool use_all = true;
  double format_score = 0;
  int max_chars = 1000;
  int max_depth = 64;

  template <class V>
  void visit(V& v) {
    v("use_all", use_all, "every number exactly once; false: each at most once");
    v("format_score", format_score,
      "score of a readable expression over the given numbers that misses the target", between(0, 1));
    v("max_chars", max_chars, "a longer answer fails unread", between(1, 100000));
    v("max_depth", max_depth, "parentheses and signs nested deeper than this fail unread", between(1, 1000));
  }
};

struct CountdownProblem {
  std::vector<int64_t> numbers;
  int64_t target = 0;
};

// Reads the last <answer>…</answer> after the thinking. Grammar: whole numbers without leading zeros, + - * /
// × ÷ − (binary, and + - as signs), parentheses, white space between tokens; exact rational arithmetic.
// Several different answers fail. Total: any bytes give a verdict.
Verdict grade_countdown(const CountdownProblem& problem, std::string_view response,
                        const CountdownOptions& options);

// Record fields: "numbers" (or TinyZero's "nums"), "target".
std::unique_ptr<Grader> make_countdown_grader(const TomlTable& options);

}  // namespace cohort
