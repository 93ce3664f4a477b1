// What the GPU tests share. Each begins with NEEDS_GPU(): without one it is skipped by name.
#pragma once

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "learner/gpu/runtime.h"

// The numbers are the same each time.
#define NEEDS_GPU()                                        \
  if (!cohort::gpu::available()) GTEST_SKIP() << "no GPU"; \
  cohort::gpu::open_device("cuda", "the test's device");   \
  torch::manual_seed(1)

namespace cohort::testing {

// ‖a - b‖ / ‖b‖ in float64; infinite when anything is not finite.
inline double relative_error(const torch::Tensor& a, const torch::Tensor& b) {
  const torch::Tensor x = a.detach().to(torch::kCPU, torch::kDouble).flatten(),
                      y = b.detach().to(torch::kCPU, torch::kDouble).flatten();
  if (x.numel() != y.numel() || !x.isfinite().all().item<bool>()) return INFINITY;
  return ((x - y).norm() / y.norm().clamp_min(1e-30)).item<double>();
}

}  // namespace cohort::testing
