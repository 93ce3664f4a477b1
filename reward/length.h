// A soft penalty on long completions (DAPO's overlong shaping, as a reward of its own).
#pragma once

#include <memory>

#include "reward/grader.h"

namespace cohort {

struct LengthOptions {
  using is_options = void;
  int max_tokens = 0;
  int buffer = 0;
  double penalty = 1;

  template <class V>
  void visit(V& v) {
    v("max_tokens", max_tokens, "the most tokens a completion should have", at_least(1));
    v("buffer", buffer, "the penalty grows linearly over the last so many of them; 0: it begins above",
      at_least(0));
    v("penalty", penalty, "largest penalty", at_least(0));
  }
};

// 0 up to max_tokens - buffer, then falling linearly to -penalty at max_tokens, and -penalty beyond. Passed
// while it is 0.
Verdict grade_length(uint32_t tokens, const LengthOptions& options);

std::unique_ptr<Grader> make_length_grader(const TomlTable& options);

}  // namespace cohort
