// [grpo.overlong_buffer]: DAPO's soft punishment of long completions (arXiv 2503.14476, eq. 13). The coordinator
// applies it, as a recorded part of the reward, before groups are compared; the learner's section only holds the
// keys. One struct for both.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "transport/base/options.h"

namespace cohort {

struct OverlongBuffer {
  using is_options = void;
  bool enable = false;
  int len = 0;
  double penalty_factor = 1;

  template <class V>
  void visit(V& v) {
    v("enable", enable, "punish completions that come near max_new_tokens");
    v("len", len, "the last so many tokens before max_new_tokens, over which the penalty grows from 0",
      at_least(0.0));
    v("penalty_factor", penalty_factor, "the penalty at max_new_tokens", between(0, 1e9));
  }

  // Throws Error (exit code 2) for a buffer that is on and no part of a completion. `where`: the key's place.
  void check(int64_t max_new_tokens, const std::string& where) const {
    if (enable && (len < 1 || len > max_new_tokens))
      fail_usage("{} = {} must be from 1 to rollout.max_new_tokens = {}", where, len, max_new_tokens);
  }

  // What is added to the reward: 0 up to max_new_tokens - len, then falling to -penalty_factor at
  // max_new_tokens.
  double penalty(int64_t tokens, int64_t max_new_tokens) const {
    if (!enable || len <= 0) return 0;
    const auto over = static_cast<double>(tokens - (max_new_tokens - len));
    return over <= 0 ? 0 : -penalty_factor * std::min(1.0, over / len);
  }
};

}  // namespace cohort
