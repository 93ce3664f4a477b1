// Rotary position embedding frequencies (Su et al. 2021) with transformers' scaling types. No Torch.
#pragma once

#include <cstdint>
#include <vector>

#include "learner/folder/model_config.h"

namespace cohort {

// head_dim/2 inverse frequencies, in float32 as transformers computes them. Only `dynamic` depends on the
// sequence's length: beyond max_position_embeddings its base grows with it; shorter sequences all give the
// same result.
std::vector<float> rope_inverse_frequencies(const ModelConfig& config, int64_t sequence_length = 0);
// What cos and sin are multiplied with (yarn; 1 for the others).
double rope_attention_factor(const ModelConfig& config);

}  // namespace cohort
