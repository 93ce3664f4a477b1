// The policy as training sees it: packed sequences in, log-probabilities of their predicted tokens out, and
// gradients of whatever loss the caller defines on those numbers. The only place of the training code where
// Torch is used; no Torch in this header. One thread uses a Policy. On a CPU it is the Decoder of learner/model; on a GPU
// the same model written out in learner/gpu/model.h.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "learner/folder/model_config.h"
#include "learner/packing.h"

namespace cohort {

class PolicyDevice;

struct TokenScores {
  std::vector<float> logprobs, entropy;  // of the N predicted tokens, in the pack's order
};

// A policy's flat arrays, where they lie: parameters in the compute dtype, gradients in float32, both in the layout (in
// elements) of config().tensors(DType::f32).
struct FlatArrays {
  bool on_gpu = false;
  DType dtype = DType::f32;
  void* weights = nullptr;
  float* gradients = nullptr;        // null when not trainable
  size_t elements = 0, padding = 0;  // padding: unused elements behind both
};

class Policy {
 public:
  // device "cpu" with dtype "float32", or "cuda" (this rank's GPU), "cuda:N" with "float32" or "bfloat16". `trainable`:
  // gradients can be computed (a reference policy needs none). recompute: "none", or "layer" to keep only each layer's
  // input for backward (GPU). Throws Error for what this build or machine does not have.
  Policy(const ModelConfig& config, const std::string& device, const std::string& dtype, bool trainable,
         const std::string& recompute = "none");
  ~Policy();

  const ModelConfig& config() const;
  void init_random(uint64_t seed);
  void load(const WeightSet& weights);
  WeightSet snapshot(Version version, DType dtype) const;
  // For a WeightServer: the same as snapshot(), but what is on a GPU stays there, in a buffer of its own that a rollout worker
  // on that GPU can copy, until somebody asks for the bytes.
  WeightSet publishable(Version version, DType dtype);

  FlatArrays arrays();
  // The same as spans, of a policy in float32 in host memory only; the optimizer and the all-reduce work on these in
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
  // `complete`: see Updater::complete; given with the last batch before an update.
  using Complete = std::function<void(size_t from)>;
  TokenScores forward_backward(const PackedBatch& batch, double temperature, bool entropy_gradient,
                               const Loss& loss, const Complete& complete = {});

  // GPU memory (0 on a CPU). What a batch's activations should need beside weights, gradients and optimizer; and what all
  // tensors of this process needed at most since the last call.
  size_t activation_bytes(int64_t tokens, int64_t predicted) const;
  size_t take_peak_bytes();

 private:
  std::unique_ptr<PolicyDevice> impl_;
};

// Fresh weights (float32): normal(0, initializer_range); norms 1; biases 0; the same on every machine.
WeightSet random_weights(const ModelConfig& config, uint64_t seed);

// Compute threads of this process, for all of Torch. Before the first Policy.
void set_compute_threads(int threads);

}  // namespace cohort
