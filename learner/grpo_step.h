// One GRPO step: a batch in, optimizer updates, metrics out. Every rank calls it with its share of the same
// batch.
//
//   rewards of all groups -> advantages (the same on every rank)
//   groups, in order, cut into mini_batches runs: group j of n belongs to mini-batch j * mini_batches / n
//   token and sequence counts of each mini-batch, summed over ranks
//   where the loss needs them: old log-probs (this rank's weights at the step's start) and reference
//   log-probs ppo_epochs times, for each mini-batch: micro-batches forward and backward, gradients summed
//   over ranks, one AdamW update
//
// The loss is normalised by the counts over all ranks, so the update depends neither on how many ranks there
// are nor on how samples are dealt to them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "learner/collectives.h"
#include "learner/grpo_loss.h"
#include "learner/policy.h"
#include "learner/updater.h"
#include "transport/messages.h"

namespace cohort {

struct GrpoStepOptions {
  GrpoOptions grpo;
  int64_t micro_batch_tokens = 8192;
  double temperature = 1;     // the sampler's
  double max_new_tokens = 1;  // seq-mean-token-sum-norm's divisor when loss_scale_factor is 0
  uint32_t max_staleness = 0;
};

class GrpoStep {
 public:
  // `reference` may be null when kl_loss_coef is 0. All are borrowed.
  GrpoStep(const GrpoStepOptions& options, Policy& policy, Policy* reference, Updater& updater,
           Collectives& ranks);

  // Collective. Throws Error when the batch breaks a promise (a token staler than max_staleness or sampled by
  // weights that do not exist yet, token ids outside the vocabulary, log-prob and token counts that differ),
  // before anything changed. The metrics are the same on every rank.
  std::vector<Metric> train(const Batch& batch);

 private:
  struct Work;
  void check(const Batch& batch) const;
  void score(Work& work, std::span<const int32_t> samples, const Policy& policy,
             std::vector<std::vector<float>>& out) const;
  void learn(Work& work, std::span<const int32_t> samples, const LossCounts& counts, bool first_pass);
  std::vector<Metric> metrics(const Batch& batch, Work& work);

  GrpoStepOptions options_;
  Policy& policy_;
  Policy* reference_;
  Updater& updater_;
  Collectives& ranks_;
};

}  // namespace cohort
