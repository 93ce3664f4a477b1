// From logits to a token and the log-probability of the distribution really sampled. CPU, no Torch.
#pragma once

#include <cstdint>
#include <span>

#include "transport/messages.h"

namespace cohort {

// Uniform in (0, 1), a pure function of its arguments (Philox 4x32-10, Salmon et al. 2011): completion `index` of
// `group` draws the same numbers whatever shares its batch, its worker or its run's restart.
double uniform_at(uint64_t seed, GroupId group, uint32_t index, uint32_t position);

struct Sampled {
  int32_t token = 0;
  float logprob = 0;
};

// Order as in vLLM and transformers: temperature, then top-k, then top-p, then min-p, each on what the one before left.
// `logits_V` is used as scratch. temperature 0: the arg max (lowest id on a tie), logprob under temperature 1.
Sampled sample(std::span<float> logits_V, const SamplingParams& params, double uniform);

}  // namespace cohort
