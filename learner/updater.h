// What follows the backward passes of a mini-batch: gradients summed over all ranks, clipped, AdamW, the new parameters
// on every rank. Two ways: replicated (every rank holds the whole state and does the same arithmetic; the CPU learner)
// and sharded (sharded_adamw.h; the GPU learner).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "learner/checkpoint.h"
#include "learner/collectives.h"
#include "learner/optimizer.h"
#include "learner/policy.h"

namespace cohort {

class Updater {
 public:
  struct Step : AdamW::Step {
    double exchange_s = 0, update_s = 0;
  };

  virtual ~Updater() = default;
  // After Policy::load of the same weights (float32): what the policy rounded is kept exactly here.
  virtual void start(const WeightSet& weights) = 0;
  // Of the last micro-batch before step(): the gradients at or above element `from` are complete, so their exchange may
  // begin. Optional.
  virtual void complete(size_t from) = 0;
  // Collective. all_here: another collective has just ended.
  virtual Step step(bool all_here = false) = 0;

  virtual int64_t updates() const = 0;
  // Checkpoints: parameters and both moments, float32, in the flat layout, independent of ranks and sharding.
  // Collective: gathered into rank 0's host memory; other ranks' sections are not to be read.
  virtual std::vector<CheckpointSection> collect() = 0;
  // Rank 0's host memory to read a checkpoint into; then, collective: from there to all ranks, policy included.
  virtual std::vector<CheckpointSection> room() = 0;
  virtual void spread(int64_t updates) = 0;
  // Frees what collect() and room() hold.
  virtual void release() {}
};

// Collective: the parameters as the optimizer holds them, in float32, on rank 0 (elsewhere without data). What a policy in
// bf16 gives itself (Policy::snapshot) is rounded.
WeightSet exact_weights(Updater& updater, const ModelConfig& config, Version version);

// Borrows both.
std::unique_ptr<Updater> make_replicated_updater(Policy& policy, AdamW& optimizer, Collectives& ranks);
// The one for the policy's device. Borrows policy and ranks. Collective.
std::unique_ptr<Updater> make_updater(const OptimizerOptions& options, Policy& policy, Collectives& ranks,
                                      int64_t total_updates);

}  // namespace cohort
