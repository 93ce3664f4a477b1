// What Engine keeps of its work; for engine*.cc alone.
#pragma once

#include "rollout/engine.h"

namespace cohort {

// The KV of a group's prompt sits in `prompt_slot` from the first prefilled chunk until its last sequence has
// started.
struct Engine::Group {
  EngineRequest request;
  std::deque<uint32_t> waiting;  // indices without a slot
  size_t running = 0;
  int32_t prompt_slot = -1;
  size_t prefilled = 0;  // prompt tokens in prompt_slot

  size_t to_prefill() const {
    return request.prompt_ids.size() - 1;
  }  // the last one is each sequence's first step
  bool ready() const { return to_prefill() == 0 || (prompt_slot >= 0 && prefilled == to_prefill()); }
};

struct Engine::Sequence {
  Group* group = nullptr;
  uint32_t index = 0;
  int32_t slot = -1;
  uint64_t order = 0;  // of its first start
  int32_t next = 0;    // the token to feed: the prompt's last, then the one sampled last
  std::vector<int32_t>
      again;  // after a pre-emption: all tokens whose KV has to be computed again, empty when it is
  size_t in_flight = 0;  // samples of passes begun and not ended
  bool left =
      false;  // ended, cancelled or pre-empted: passes ahead that still hold it are not its own any more
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  std::vector<VersionRun> versions;
  std::chrono::steady_clock::time_point began, last;
  std::unique_ptr<StreamDecoder> decoder;  // only where stop strings have to be looked for
  std::string text;
  bool stopped_by_string = false, stopped_by_token = false;
  std::string finish_reason;
};

// One forward pass: its steps and whose they are (null for prompt chunks). A sequence may have left meanwhile.
struct Engine::Pass {
  std::vector<SequenceStep> steps;
  std::vector<std::shared_ptr<Sequence>> sequences;
  Version version = 0;
};

}  // namespace cohort
