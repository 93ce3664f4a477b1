// The policy as training sees it: packed sequences in, log-probabilities of their predicted tokens out, and
// gradients of whatever loss the caller defines on those numbers. The only place of the training code where
// Torch is used; no Torch in this header. One thread uses a Policy.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "learner/folder/model_config.h"
#include "learner/packing.h"

namespace cohort {

struct TokenScores {
  std::vector<float> logprobs, entropy;  // of the N predicted tokens, in the pack's order
};

class Policy {
 public:
  // device "cpu", dtype "float32". `trainable`: gradients can be computed (a reference policy needs none).
  // Throws Error for a device or dtype this build does not train on.
  Policy(const ModelConfig& config, const std::string& device, const std::string& dtype, bool trainable);
  ~Policy();

  const ModelConfig& config() const;
  void init_random(uint64_t seed);
  void load(const WeightSet& weights);
  WeightSet snapshot(Version version, DType dtype) const;

  // Flat, in the layout of config().tensors(DType::f32); the optimizer and the all-reduce work on these in
  // place.
  std::span<float> parameters();
  std::span<float> gradients();
  void zero_gradients();

  // Forward only. Log-probs under softmax(logits / temperature).
  TokenScores score(const PackedBatch& batch, double temperature) const;

  // Forward, then `loss` is called once with the scores and must fill d loss / d logprobs (N) and, if
  // entropy_gradient, d loss / d entropy (N, else empty); then backward, which adds to gradients().
  using Loss = std::function<void(const TokenScores& scores, std::span<float> grad_logprobs,
                                  std::span<float> grad_entropy)>;
  TokenScores forward_backward(const PackedBatch& batch, double temperature, bool entropy_gradient,
                               const Loss& loss);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Compute threads of this process, for all of Torch. Before the first Policy.
void set_compute_threads(int threads);

}  // namespace cohort
