// From one product's rows [q | k | v] to rotated queries and keys, and back for the gradient. No Torch.
#pragma once

#include <cstdint>

namespace cohort::cpu {

struct QkvShape {
  int64_t heads = 0, kv_heads = 0, dim = 0;
  const float *q_norm = nullptr, *k_norm = nullptr;  // [dim] each, or null: no norm per head
  float eps = 0;
  int64_t row() const { return (heads + 2 * kv_heads) * dim; }
};

// cos, sin [rows][dim/2]; q [rows][heads][dim]; k, v [rows][kv_heads][dim]; inverse [rows][heads + kv_heads]
// is what the gradient of the norms needs, and may be null.
void split_rotate(const QkvShape& shape, int64_t rows, const float* qkv, const float* cos, const float* sin,
                  float* q, float* k, float* v, float* inverse);
// d_qkv is set; d_q_norm and d_k_norm are added to. qkv and inverse are read only where there are norms.
void split_rotate_grad(const QkvShape& shape, int64_t rows, const float* qkv, const float* inverse,
                       const float* cos, const float* sin, const float* dq, const float* dk, const float* dv,
                       float* d_qkv, float* d_q_norm, float* d_k_norm);

}  // namespace cohort::cpu
