// From logits to a token and the log-probability of the distribution really sampled. CPU, no Torch.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "transport/messages.h"

namespace cohort {

// Philox 4x32 with ten rounds (Salmon et al. 2011): four random words, a pure function of counter and key.
std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// Uniform in (0, 1), a pure function of its arguments (Philox): completion `index` of
// `group` draws the same numbers whatever shares its batch, its worker or its run's restart.
double uniform_at(uint64_t seed, GroupId group, uint32_t index, uint32_t position);

struct Sampled {
  int32_t token = 0;
  float logprob = 0;
};

// Order as in vLLM and transformers: temperature, then top-k, then top-p, then min-p, each on what the one
// before left. Ties with the k-th logit are kept; where top-p cuts a tie, lower ids stay. The log-prob is
// that of the truncated, renormalised distribution the token was really drawn from. temperature 0: the arg
// max (lowest id on a tie), logprob under temperature 1. `logits_V` is used as scratch. NaN counts as -inf;
// Error when no logit is left. Any thread.
Sampled sample(std::span<float> logits_V, const SamplingParams& params, double uniform);

}  // namespace cohort
