// tokenizer.json's "normalizer": text in, text out, before pre-tokenization.
#pragma once

#include <memory>
#include <string>

#include "rollout/tokenizer/json_view.h"

namespace cohort::tokenizer {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  // `text` is UTF-8 before and after. Any thread.
  virtual void apply(std::string& text) const = 0;
};

// nullptr when `view` is null. Throws Error naming a normalizer that is not supported.
std::unique_ptr<Normalizer> read_normalizer(const JsonView& view, int depth = 0);

}  // namespace cohort::tokenizer
