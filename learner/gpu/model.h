// The decoder of learner/model/decoder.h as the GPU learner runs it: the same architecture and parameter order, forward
// and backward written out instead of recorded, so that every buffer, its life and the moment a gradient is complete are
// known. Includes Torch, for memory and attention.
//
//   forward   per layer: norm | qkv product | bias, head norms, rotation | flash attention | output product | norm | gate
//             and up product | SwiGLU | down product
//   head      rows of predicted tokens only: norm, then chunks of logits, turned into log-prob and entropy
//   backward  the same in reverse; weight gradients are added to float32 sums by the products themselves
//
// The residual stream is float32, one buffer that output and down products add to without a rounding, whatever the type; and
// q, k, v are rounded once, after the rotation. Log-probs are what a sampler's, with the same rule, are compared with. Its
// gradient is of the type: it is read by products in that type, and its errors are averaged over tokens in float32.
//
// What a layer keeps for backward: everything listed in Kept, in the type, or with recompute only the stream at its input.
// Logits exist one chunk at a time, in forward and again in backward.
#pragma once

#include <torch/torch.h>

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "learner/folder/model_config.h"
#include "learner/gpu/attention.h"
#include "learner/gpu/gemm.h"
#include "learner/model/rope_table.h"
#include "learner/packing.h"

namespace cohort::gpu {

class Model {
 public:
  struct Options {
    Type type = Type::bf16;  // of weights and activations
    bool trainable = true;
    bool recompute = false;
    int64_t padding = 0;  // elements beyond the layout in both flat arrays, for the optimizer's shards
  };
  // On the current GPU. Throws Error when its memory cannot hold weights and gradients.
  Model(const ModelConfig& config, const Options& options);
  ~Model();

  const ModelConfig& config() const { return config_; }
  Type type() const { return options_.type; }
  int64_t elements() const { return elements_; }  // of the flat layout, without padding
  // Flat in the order and at the offsets (in elements) of config().tensors(DType::f32).
  torch::Tensor& weights() { return weights_; }
  torch::Tensor& gradients() { return gradients_; }  // float32

  struct Scores {
    torch::Tensor logprobs_N, entropy_N;  // float32, on the GPU
  };
  // Forward only.
  Scores score(const PackedBatch& batch, double temperature);
  // Forward, keeping what backward needs; then backward from d loss / d logprobs and d loss / d entropy (or an undefined
  // tensor) of its scores. `complete(from)` is called as the gradients at or above element `from` got their last addition
  // of this pass, with `from` going down to 0.
  Scores forward(const PackedBatch& batch, double temperature);
  void backward(const torch::Tensor& grad_logprobs, const torch::Tensor& grad_entropy,
                const std::function<void(size_t from)>& complete);

  // What forward() and backward() should need at their peak beside weights and gradients; the allocator's rounding and
  // cuBLAS's workspace come on top.
  size_t activation_bytes(int64_t tokens, int64_t predicted) const;
  int64_t chunk_rows(int64_t predicted) const;

 private:
  struct Range {  // of the flat arrays, as a matrix
    int64_t begin = -1, rows = 0, columns = 1;
    bool exists() const { return begin >= 0; }
  };
  struct Linear {
    std::vector<Range> weights, biases;  // one each where they lie against each other
    int64_t outputs = 0, inputs = 0;
  };
  struct Layer {
    Range input_norm, post_norm, q_norm, k_norm;
    Linear qkv, o, gate_up, down;
    int64_t begin = 0;
  };
  struct Kept {
    torch::Tensor x, h1, inverse1, qkv_given, qkv, head_inverse;  // x, middle: the stream before each norm
    AttentionState attention;
    torch::Tensor middle, h2, inverse2, gate_up;
    torch::Tensor stream;  // with recompute
  };
  struct Pass;  // one batch's indices on the GPU and what is kept of its forward

  std::unique_ptr<Pass> begin(const PackedBatch& batch, double temperature);
  void run_layers(Pass& pass, bool keep);
  // again: only what backward needs, from the stream at the layer's input; it is not the next layer's then.
  Kept layer_forward(size_t i, torch::Tensor& stream, const Pass& pass, bool again = false);
  void layer_backward(size_t i, Kept& kept, torch::Tensor& d, const Pass& pass);
  void head_forward(Pass& pass, bool keep);
  torch::Tensor head_backward(Pass& pass, const torch::Tensor& grad_logprobs,
                              const torch::Tensor& grad_entropy);

  // y = x · wᵀ, or y += …, without the bias.
  void multiply(const Linear& l, const torch::Tensor& x, const torch::Tensor& y, bool add = false) const;
  void add_to_stream(const Linear& l, const torch::Tensor& x, torch::Tensor& stream) const;  // with the bias
  // d of the outputs -> d of the inputs; weight and bias gradients gather.
  torch::Tensor linear_grad(const Linear& l, const torch::Tensor& d, const torch::Tensor& x);
  torch::Tensor bias_of(const Linear& l) const;  // undefined where there is none
  void norm(const torch::Tensor& stream, const Range& w, torch::Tensor& kept, torch::Tensor& y,
            torch::Tensor& inverse) const;
  void norm_grad(const torch::Tensor& dy, const torch::Tensor& x, const torch::Tensor& inverse,
                 const Range& w, const torch::Tensor& residual, torch::Tensor& dx);

  Matrix weight(const Range& r) const;
  Matrix gradient(const Range& r) const;
  const void* weight_at(const Range& r) const;
  float* gradient_at(const Range& r) const;
  torch::Tensor empty(std::initializer_list<int64_t> shape) const;  // of the model's type
  torch::Tensor empty_float(std::initializer_list<int64_t> shape) const;
  void place_parameters();
  void set_rotation(Pass& pass, const PackedBatch& batch, std::vector<int32_t>& table_rows);

  ModelConfig config_;
  Options options_;
  int64_t elements_ = 0;
  torch::Tensor weights_, gradients_, scratch_;
  std::vector<Layer> layers_;
  Range embed_, final_norm_, head_;
  RopeTable rope_;
  torch::Tensor cos_, sin_;     // of positions 0 .. size - 1
  std::unique_ptr<Pass> pass_;  // between forward() and backward()
};

}  // namespace cohort::gpu
