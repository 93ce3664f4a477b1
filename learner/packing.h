// Which sequences share a forward pass, and how they lie in it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "transport/messages.h"

namespace cohort {

// Indices 0..lengths.size()-1 in as few bins as `max_tokens` a bin allows, about equally full. A sequence
// longer than max_tokens has a bin of its own. Indices ascend within a bin; the result depends on the
// arguments only.
std::vector<std::vector<int32_t>> micro_batches(std::span<const int64_t> lengths, int64_t max_tokens);

// Exactly `parts` bins of about equal tokens (some may be empty): who takes what of a batch.
std::vector<std::vector<int32_t>> balanced_shares(std::span<const int64_t> lengths, int parts);

// Sequences laid end to end, T tokens, N of them predicted (the completions' tokens).
struct PackedBatch {
  std::vector<int64_t> tokens, positions;  // T; positions restart at 0 with each sequence
  std::vector<int64_t> cu_seqlens;         // S + 1, in tokens
  std::vector<int64_t> rows, targets;      // N; the token at rows[i] predicts targets[i]
  std::vector<int64_t> cu_targets;         // S + 1, in predicted tokens

  // A sequence: what is given, and what is learnt. The first token of all is never predicted.
  void add(std::span<const int32_t> prompt, std::span<const int32_t> completion);
  // The same with a mask over the whole sequence: 1 where the token is learnt.
  void add_masked(std::span<const int32_t> tokens, std::span<const uint8_t> learnt);
};

}  // namespace cohort
