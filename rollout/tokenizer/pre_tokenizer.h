// tokenizer.json's "pre_tokenizer": cuts text into the pieces that the model sees one by one.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "rollout/tokenizer/json_view.h"

namespace cohort::tokenizer {

// Either text still to be cut and tokenized (id -1) or an added token already recognised.
struct Piece {
  std::string_view text;
  int32_t id = -1;
  bool first = false;  // begins where the whole input begins (Metaspace asks)
};

// Owns the texts that pre-tokenizers rewrite; must outlive the pieces.
using TextStore = std::deque<std::string>;

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  // Appends the pieces of one text piece to `out`. Any thread.
  virtual void split(const Piece& piece, std::vector<Piece>& out, TextStore& store) const = 0;
};

// The chain of pre-tokenizers, with nested sequences flattened.
struct PreTokenizers {
  std::vector<std::unique_ptr<PreTokenizer>> chain;
  // The last one is ByteLevel: it leaves the bytes as they are and the model maps them (most files; much
  // faster).
  bool byte_pieces = false;
};

// Empty when `view` is null. Throws Error naming a pre-tokenizer that is not supported.
PreTokenizers read_pre_tokenizers(const JsonView& view);

}  // namespace cohort::tokenizer
