// Supervised data: JSON lines of {"prompt", "completion"} or {"messages": [{"role", "content"}]}, as token
// sequences of which the completion (of messages: what the assistant said, with the tokens that end its turn)
// is learnt. No Torch.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "rollout/tokenizer/tokenizer.h"

namespace cohort {

struct SftSample {
  std::vector<int32_t> tokens;
  std::vector<uint8_t> learnt;  // 1 where the token is learnt
  int64_t targets() const;      // how many tokens are predicted and learnt
};

struct SftDataOptions {
  std::string path;
  std::string model_folder;  // for its chat template
  int32_t eos_token_id = -1;
  bool append_eos = true;  // after a completion that does not end with it
  int64_t max_length = 0;  // tokens; longer sequences are cut at their end
  int32_t vocab_size = 0;
};

struct SftData {
  std::vector<SftSample> samples;
  int64_t cut = 0;      // sequences that were too long
  int64_t dropped = 0;  // of those, the ones with nothing left to learn
  uint64_t hash = 0;    // of all lines
};

// Throws Error naming file and line: not JSON, neither form, a field of another type, nothing the assistant
// said, a tokenizer that knows more tokens than the model.
SftData read_sft_data(const SftDataOptions& options, const Tokenizer& tokenizer);

// Which sample comes `position`-th when the data is gone through again and again, each time in another order.
// A pure function of its arguments: nothing of it has to be in a checkpoint.
class SampleOrder {
 public:
  SampleOrder(size_t samples, uint64_t seed) : samples_(samples), seed_(seed) {}
  size_t at(uint64_t position);

 private:
  size_t samples_;
  uint64_t seed_;
  uint64_t epoch_ = UINT64_MAX;
  std::vector<uint32_t> order_;
};

}  // namespace cohort
