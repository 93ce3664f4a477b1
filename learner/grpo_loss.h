// The GRPO loss of one micro-batch and its gradient with respect to every token's log-probability (and
// entropy), in closed form. The model's backward pass starts from these gradients, so nothing of the loss is
// recorded by autograd: a few operations a token on the host, in double, the same on every machine. No Torch.
//
// With logp the policy being trained, old the policy the ratio is clipped around, behav the sampler's and ref
// the reference:
//   r     = exp(logp - old)                              token level; sequence level (GSPO): exp(mean over
//   the sequence) pg    = max(-A r, -A clip(r, 1 - low, 1 + high))     dual clip where A < 0: min(pg, -A c)
//   w     = min(exp(old - behav), threshold)             rollout_is (truncated importance sampling)
//         | exp(old - behav), 0 above the cap            use_decoupled_loss (AReaL)
//         | 1
//   loss  = sum over tokens of a_t (w pg + kl_loss_coef kl(logp, ref)) - entropy_coef * mean over tokens of H
// where a_t is loss_agg_mode's weight: token-mean 1/N; seq-mean-token-sum 1/S; seq-mean-token-mean 1/(S n_s);
// seq-mean-token-sum-norm 1/(S scale). N and S count the whole mini-batch over all ranks and micro-batches,
// so that the losses and gradients of all its pieces simply add up. Differences of log-probs are clamped to
// ±20 before exp (as verl does); a clamped one passes no gradient.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "learner/options.h"
#include "transport/messages.h"

namespace cohort {

// N completion tokens of S sequences laid end to end; sequence s is [cu_tokens[s], cu_tokens[s + 1]).
template <class Real>
struct LossInputs {
  std::span<const int64_t> cu_tokens;    // S + 1
  std::span<const double> advantages;    // S
  std::span<const Real> logprobs;        // N, of the policy being trained
  std::span<const Real> old_logprobs;    // N
  std::span<const Real> behav_logprobs;  // N
  std::span<const Real> ref_logprobs;    // N, or empty when kl_loss_coef is 0
  std::span<const Real> entropy;         // N, or empty: no entropy metric (and entropy_coef must be 0)
};

// Of the mini-batch, over all ranks.
struct LossCounts {
  double tokens = 0, sequences = 0;
};

// Sums over tokens, so that micro-batches and ranks add up; divide by `tokens`. The first four are parts of
// the loss itself.
struct LossSums {
  double loss = 0, policy_loss = 0, kl_loss = 0, entropy_loss = 0;
  double kl = 0, entropy = 0, approx_kl = 0, ratio = 0, is_weight = 0;
  double clip_low = 0, clip_high = 0, clip_dual = 0, is_cut = 0;  // how many tokens
  double tokens = 0;
  static constexpr size_t kFields = 14;
  std::span<double> values() { return {&loss, kFields}; }
  void add(const LossSums& other);
};
static_assert(sizeof(LossSums) == LossSums::kFields * sizeof(double), "values() spans every field");

// Refuses combinations that have no meaning. `where` names the section in the message.
void check_grpo_options(const GrpoOptions& options, const std::string& where = "[grpo]");

// Writes d loss / d logprobs into grad_logprobs (N) and, when entropy_coef is not 0, d loss / d entropy into
// grad_entropy (N, else empty). `loss_scale`: the divisor of seq-mean-token-sum-norm. Real: float, or double
// for the tests.
template <class Real>
LossSums grpo_loss(const GrpoOptions& options, double loss_scale, const LossInputs<Real>& in,
                   const LossCounts& counts, std::span<Real> grad_logprobs, std::span<Real> grad_entropy);

// A = r - mean of the group, divided by the standard deviation (unbiased, + 1e-4 as TRL) of the group or of
// all rewards of the batch. A reward that is not a number (a completion that could not be graded) takes no
// part; its advantage is 0.
std::vector<std::vector<double>> advantages(ScaleRewards scale, std::span<const GroupRewards> groups);

// How far the sampler's log-probs are from the learner's at the step's start, by the lag of the weights that
// sampled the token: the k3 estimate of KL(sampler || learner), mean of exp(d) - 1 - d with d = learner -
// sampler.
struct MismatchSums {
  std::vector<double> kl, max_abs, tokens;  // by lag
  void add(uint32_t lag, double learner_logprob, double sampler_logprob);
};

}  // namespace cohort
