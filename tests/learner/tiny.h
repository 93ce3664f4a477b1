// A tiny policy and a made-up batch for it, the same on every machine and for every number of ranks.
#pragma once

#include <random>

#include "learner/grpo_step.h"
#include "learner/policy.h"
#include "tests/learner/model/small_config.h"

namespace cohort::testing {

inline const bool one_thread = (set_compute_threads(1), true);

inline ModelConfig tiny_config() {
  ModelConfig c = test::small_config("llama", {});
  c.eos_token_ids = {0};
  return c;
}

// 6 groups of 4 completions of ragged lengths; behaviour log-probs near the policy's, lags 0 to 2.
inline Batch made_up_batch(const Policy& policy, uint32_t step, unsigned seed) {
  std::mt19937 random(seed);
  const auto draw = [&](int low, int high) {
    return low + static_cast<int>(random() % static_cast<unsigned>(high - low + 1));
  };
  Batch batch;
  batch.step = step;
  for (GroupId g = 1; g <= 6; ++g) {
    batch.groups.push_back({g, {}});
    std::vector<int32_t> prompt;
    for (int i = draw(1, 5); i > 0; --i) prompt.push_back(draw(1, 22));
    for (uint32_t index = 0; index < 4; ++index) {
      Sample s;
      s.group = g, s.index = index, s.prompt_ids = prompt;
      for (int i = draw(1, 9); i > 0; --i) s.token_ids.push_back(draw(0, 22));
      PackedBatch pack;
      pack.add(s.prompt_ids, s.token_ids);
      s.logprobs = policy.score(pack, 1).logprobs;
      for (float& x : s.logprobs) x += 0.02f * static_cast<float>(draw(-10, 10));
      const uint32_t first = static_cast<uint32_t>(draw(1, static_cast<int>(s.token_ids.size())));
      const uint32_t lag = std::min<uint32_t>(step, static_cast<uint32_t>(draw(0, 2)));
      s.versions = {{step - lag, first}};
      if (first < s.token_ids.size())
        s.versions.push_back({step, static_cast<uint32_t>(s.token_ids.size()) - first});
      s.reward = draw(0, 2) * 0.5;
      batch.groups.back().rewards.push_back(s.reward);
      batch.samples.push_back(s);
      batch.total_tokens += s.token_ids.size();
    }
  }
  batch.total_samples = static_cast<uint32_t>(batch.samples.size());
  return batch;
}

// What one rank gets of it: every so-many-th sample, so that ranks get unequal token counts.
inline Batch share(Batch batch, int rank, int ranks) {
  std::vector<Sample> mine;
  for (size_t i = 0; i < batch.samples.size(); ++i)
    if (static_cast<int>(i * i + i / 3) % ranks == rank) mine.push_back(batch.samples[i]);
  batch.samples = mine;
  return batch;
}

inline GrpoStepOptions tiny_step_options() {
  GrpoStepOptions o;
  o.grpo.mini_batches = 2;
  o.grpo.ppo_epochs = 2;
  o.grpo.clip_ratio_high = 0.28;
  o.micro_batch_tokens = 40;
  o.max_new_tokens = 9;
  o.max_staleness = 2;
  return o;
}

inline OptimizerOptions tiny_optimizer_options() {
  OptimizerOptions o;
  o.learning_rate = 1e-3, o.weight_decay = 0.01, o.adam_eps = 1e-5;
  return o;
}

}  // namespace cohort::testing
