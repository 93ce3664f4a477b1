// What a sharded AdamW tells the code that does the arithmetic, on CPU or GPU. No Torch.
#pragma once

#include <cstdint>

namespace cohort {

// A run of parameters with one weight decay, in elements of the arrays it lies in.
struct AdamRun {
  uint64_t weight = 0;  // in weights and gradients
  uint64_t state = 0;   // in both moments, and in master when it is an array of its own and not the weights
  uint32_t count = 0;   // at most kAdamRun
  uint32_t decay = 0;   // weight decay applies
};
constexpr uint32_t kAdamRun = 1 << 15;

// grad = scale · g; m = beta1 m + rest1 grad; v = beta2 v + rest2 grad²; p = keep p - step_size m / (√v · root2 + eps)
struct AdamFactors {
  float scale = 1, beta1 = 0, beta2 = 0, rest1 = 0, rest2 = 0, eps = 0, step_size = 0, root2 = 1;
  float keep = 1;  // 1 - learning rate · weight decay, where decay is set
};

}  // namespace cohort
