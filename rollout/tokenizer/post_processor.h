// tokenizer.json's "post_processor": the special tokens put before and behind one text. (What it says about
// pairs of texts and about offsets does not concern token ids of one text.)
#pragma once

#include <cstdint>
#include <vector>

#include "rollout/tokenizer/json_view.h"

namespace cohort::tokenizer {

struct PostProcessor {
  std::vector<int32_t> before, behind;
  static PostProcessor read(const JsonView& view);  // null: nothing is added
};

}  // namespace cohort::tokenizer
