// What Policy asks of a device; see policy.h for each call. No Torch.
#pragma once

#include "learner/policy.h"

namespace cohort {

class PolicyDevice {
 public:
  virtual ~PolicyDevice() = default;
  virtual const ModelConfig& config() const = 0;
  virtual void load(const WeightSet& weights) = 0;
  virtual WeightSet snapshot(Version version, DType dtype) const = 0;
  virtual WeightSet publishable(Version version, DType dtype) { return snapshot(version, dtype); }
  virtual FlatArrays arrays() = 0;
  virtual void zero_gradients() = 0;
  virtual TokenScores score(const PackedBatch& batch, double temperature) = 0;
  virtual TokenScores forward_backward(const PackedBatch& batch, double temperature, bool entropy_gradient,
                                       const Policy::Loss& loss, const Policy::Complete& complete) = 0;
  virtual size_t activation_bytes(int64_t, int64_t) const { return 0; }
  virtual size_t take_peak_bytes() { return 0; }
};

// learner/gpu/policy.cc, or in a build without CUDA learner/no_gpu.cc, which says so.
std::unique_ptr<PolicyDevice> make_gpu_policy(const ModelConfig& config, const std::string& device,
                                              const std::string& dtype, bool trainable,
                                              const std::string& recompute);

}  // namespace cohort
