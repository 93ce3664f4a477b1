// A ModelRunner for tests of what is above it: no network, but a distribution that depends on every token of
// the sequence and on the weights each was computed with, so that a wrong slot, a stale prompt or a lost
// token shows.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "rollout/model_runner.h"

namespace cohort {

struct FakeRunnerOptions {
  int32_t max_slots = 8;
  int32_t prompt_slots = 0;
  int32_t max_context = 256;
  int32_t vocab_size = 32;
  int32_t eos = 1;          // -1: none
  double eos_logit = 0;     // added to eos: how soon completions end
  double step_seconds = 0;  // how long a step pretends to take
  bool overlaps = false;    // begin_step() and end_step(), as a runner on a device
  int32_t capacity = 0;     // tokens the cache holds in all slots together, in pages of four; 0: no limit
};

class FakeRunner : public ModelRunner {
 public:
  explicit FakeRunner(FakeRunnerOptions options = {});
  const ModelConfig& config() const override { return config_; }
  ModelConfig& config() { return config_; }
  int32_t max_slots() const override { return options_.max_slots; }
  int32_t prompt_slots() const override { return options_.prompt_slots; }
  int32_t max_context() const override { return options_.max_context; }
  void step(std::span<const SequenceStep> steps, std::span<Sampled> out) override;
  std::vector<float> score(std::span<const int32_t> tokens) override;
  bool overlaps() const override { return options_.overlaps; }
  void begin_step(std::span<const SequenceStep> steps) override;
  void end_step(std::span<Sampled> out) override;
  void reset_slot(int32_t slot) override;
  bool reserve(int32_t slot, int32_t tokens) override;
  bool copy_slot(int32_t from, int32_t to) override;
  int32_t slot_length(int32_t slot) const override;
  // Only the manifest's version matters.
  void stage_weights(std::shared_ptr<const WeightSet> weights) override;
  bool swap_weights() override;
  Version version() const override { return version_; }

  // What the steps looked like.
  uint64_t steps = 0, prefill_steps = 0, prefill_tokens = 0, copies = 0;
  size_t largest_batch = 0, largest_prefill = 0;

 private:
  struct Slot {
    uint64_t state = 0;
    int32_t length = 0, pages = 0;
    int32_t last = -1;  // sampled last
  };
  void compute(std::span<const SequenceStep> steps, std::span<Sampled> out);
  int32_t pages_held() const;
  uint64_t advance(uint64_t state, int32_t token) const;
  std::vector<float> logits(uint64_t state) const;

  FakeRunnerOptions options_;
  ModelConfig config_;
  std::vector<Slot> slots_;
  std::deque<std::vector<Sampled>> begun_;
  Version version_ = 0;
  std::mutex mutex_;  // of staged_
  std::shared_ptr<const WeightSet> staged_;
};

}  // namespace cohort
