// The one model definition: a dense decoder (Llama, Qwen2, Qwen3) in LibTorch, for SFT, GRPO, scoring, reward
// models and the Torch rollout path. Includes Torch: only .cc files with the shared precompiled header
// include this.
//
// Shapes: T tokens of a ragged batch laid end to end, D hidden, H query heads, K kv heads, E head_dim, V
// vocabulary.
#pragma once

#include <torch/torch.h>

#include <memory>
#include <vector>

#include "learner/folder/model_config.h"

namespace cohort {

// How one layer's queries meet keys and values; the rest of the model does not know about sequences.
class Attention {
 public:
  virtual ~Attention() = default;
  // q_THE, k_TKE (rotated), v_TKE of this call's tokens -> out_THE. Differentiable when the implementation
  // is.
  virtual torch::Tensor attend(int64_t layer, const torch::Tensor& q_THE, const torch::Tensor& k_TKE,
                               const torch::Tensor& v_TKE) = 0;
};

// Training and scoring: packed sequences, each causal on its own. cu_seqlens: 0, l0, l0+l1, … (host).
std::unique_ptr<Attention> make_packed_attention(const ModelConfig& config, std::vector<int64_t> cu_seqlens);

class Decoder {
 public:
  // Parameters are views into one flat fp32/bf16 tensor in the order of config.tensors(): the optimizer, the
  // gradient all-reduce, checkpoints and weight transport all work on the flat tensor. (float64 is taken too,
  // for tests of gradients; its layout is that of float32, element for element.)
  Decoder(const ModelConfig& config, torch::Device device, torch::Dtype dtype);

  const ModelConfig& config() const { return config_; }
  void init_random(uint64_t seed);  // normal(0, initializer_range); norms 1; biases 0; same on every machine
  void load(
      const WeightSet& weights);  // converts dtype when it differs; throws Error when names or shapes differ
  WeightSet snapshot(Version version, DType dtype) const;
  torch::Tensor flat_parameters() const { return flat_; }
  torch::Tensor flat_gradients() const {
    return flat_grad_;
  }                         // fp32, same layout; defined after enable_gradients()
  void enable_gradients();  // parameters require grad; their gradients gather in flat_grad_
  void zero_gradients();

  // tokens_T and positions_T int64 -> final hidden states (after the last norm) hidden_TD. A position lower
  // than the one before it, or not one above it, begins another sequence (dynamic RoPE depends on a
  // sequence's length).
  torch::Tensor forward(const torch::Tensor& tokens_T, const torch::Tensor& positions_T,
                        Attention& attention) const;
  // hidden_ND -> logits_NV, float32.
  torch::Tensor logits(const torch::Tensor& hidden_ND) const;
  torch::Tensor lm_head() const;  // lm_head_VD, the embedding where the two are tied

  // For decoding on a CPU in float32: forward() and logits() without gradients then use own matrix products
  // whose rows do not depend, bit for bit, on how many rows there are. To be called again after the
  // parameters changed.
  void pack_for_inference();

 private:
  struct Linear;
  struct Layer;
  struct Parts;
  ModelConfig config_;
  torch::Tensor flat_, flat_grad_;
  std::shared_ptr<Parts> parts_;  // copies of a Decoder share everything
};

struct TokenStats {
  torch::Tensor logprobs_N;  // of targets_N under softmax(logits / temperature), float32, differentiable
  torch::Tensor entropy_N;   // of the same distribution, no gradient unless asked for
};
// LM head, log-prob and entropy in chunks of rows, so that [N × V] never exists whole (recomputed in
// backward).
TokenStats token_stats(const Decoder& decoder, const torch::Tensor& hidden_ND, const torch::Tensor& targets_N,
                       double temperature, bool entropy_gradient = false, int64_t chunk_rows = 1024);

}  // namespace cohort
