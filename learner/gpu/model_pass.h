// What gpu::Model keeps of one batch, and the small conversions its files share. Includes Torch.
#pragma once

#include "learner/gpu/model.h"

namespace cohort::gpu {

inline torch::Dtype dtype_of(Type type) {
  return type == Type::f32 ? torch::kFloat : torch::kBFloat16;
}
inline Type type_of(const torch::Tensor& x) {
  return x.scalar_type() == torch::kFloat ? Type::f32 : Type::bf16;
}
inline const int32_t* ints(const torch::Tensor& x) {
  return x.data_ptr<int32_t>();
}
inline float* floats(const torch::Tensor& x) {
  return x.defined() ? x.data_ptr<float>() : nullptr;
}
inline void* data(const torch::Tensor& x) {
  return x.defined() ? x.data_ptr() : nullptr;
}

constexpr int64_t kChunkElements = int64_t{1} << 30;  // logits at once: 4 GiB

struct Model::Pass {
  int64_t tokens = 0, predicted = 0, distinct = 0;
  float inverse_temperature = 1;
  torch::Tensor token, table_row, row, target;          // int32
  torch::Tensor distinct_token, distinct_begin, order;  // of the embedding's gradient
  torch::Tensor cos, sin;
  Sequences sequences;
  std::vector<Kept> kept;
  // Of one layer at a time, there as long as layers run: freed between layers, their memory would be cut up for what layers
  // keep, and the next micro-batch would find no place for its logits.
  torch::Tensor qkv_product, act;
  torch::Tensor stream;                        // after the last layer, until the head has its rows
  torch::Tensor head_x, head_y, head_inverse;  // N rows: of the stream, normalised
  torch::Tensor logprobs, entropy, normaliser;
  torch::Tensor logits;  // of the last chunk of forward, where backward begins
};

}  // namespace cohort::gpu
