// tokenizer.json's "decoder": tokens back to text.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "rollout/tokenizer/json_view.h"

namespace cohort::tokenizer {

class Decoder {
 public:
  virtual ~Decoder() = default;
  // Rewrites the tokens; the text is what is then left, joined. Any thread.
  virtual void apply(std::vector<std::string>& tokens) const = 0;
};

struct Decoders {
  std::unique_ptr<Decoder> chain;  // nullptr: there is none, and tokens are joined with spaces
  bool byte_level = false;         // it is ByteLevel alone: each token stands for bytes of its own
};

// Throws Error naming a decoder that is not supported.
Decoders read_decoder(const JsonView& view);

}  // namespace cohort::tokenizer
