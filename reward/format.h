// Whether a completion has the form <think>…</think><answer>…</answer>.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "reward/grader.h"

namespace cohort {

struct FormatOptions {
  using is_options = void;
  std::string think_tag = "think";
  std::string answer_tag = "answer";
  bool think_in_prompt = false;
  bool require_content = false;
  double partial_score = 0;

  template <class V>
  void visit(V& v) {
    v("think_tag", think_tag, "name of the reasoning's tag");
    v("answer_tag", answer_tag, "name of the answer's tag");
    v("think_in_prompt", think_in_prompt, "the prompt's template already opens the reasoning");
    v("require_content", require_content, "neither part may be blank");
    v("partial_score", partial_score,
      "score of a wrong form, times the share of its tags that occur exactly once", between(0, 1));
  }
};

// Passed: each tag exactly once, in order, and only white space outside.
Verdict grade_format(std::string_view response, const FormatOptions& options);

std::unique_ptr<Grader> make_format_grader(const TomlTable& options);

}  // namespace cohort
