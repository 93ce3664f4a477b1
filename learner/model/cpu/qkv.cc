#include "learner/model/cpu/qkv.h"

#include <algorithm>

#include "learner/model/cpu/kernels.h"

namespace cohort::cpu {

void split_rotate(const QkvShape& s, int64_t rows, const float* qkv, const float* cos, const float* sin,
                  float* q, float* k, float* v, float* inverse) {
  const Kernels& K = kernels();
  const int64_t row = s.row(), q_row = s.heads * s.dim, k_row = s.kv_heads * s.dim;
  if (s.q_norm == nullptr) {
    K.rotate(rows, s.heads, s.dim, qkv, row, cos, sin, 1, q, q_row);
    K.rotate(rows, s.kv_heads, s.dim, qkv + q_row, row, cos, sin, 1, k, k_row);
  } else {
    for (int64_t t = 0; t < rows; ++t) {
      const float* x = qkv + t * row;
      float* at = inverse ? inverse + t * (s.heads + s.kv_heads) : nullptr;
      K.rms_norm(s.heads, s.dim, x, s.dim, s.q_norm, s.eps, q + t * q_row, s.dim, at);
      K.rms_norm(s.kv_heads, s.dim, x + q_row, s.dim, s.k_norm, s.eps, k + t * k_row, s.dim,
                 at ? at + s.heads : nullptr);
    }
    K.rotate(rows, s.heads, s.dim, q, q_row, cos, sin, 1, q, q_row);
    K.rotate(rows, s.kv_heads, s.dim, k, k_row, cos, sin, 1, k, k_row);
  }
  for (int64_t t = 0; t < rows; ++t) std::copy_n(qkv + t * row + q_row + k_row, k_row, v + t * k_row);
}

void split_rotate_grad(const QkvShape& s, int64_t rows, const float* qkv, const float* inverse,
                       const float* cos, const float* sin, const float* dq, const float* dk, const float* dv,
                       float* d_qkv, float* d_q_norm, float* d_k_norm) {
  const Kernels& K = kernels();
  const int64_t row = s.row(), q_row = s.heads * s.dim, k_row = s.kv_heads * s.dim;
  K.rotate(rows, s.heads, s.dim, dq, q_row, cos, sin, -1, d_qkv, row);
  K.rotate(rows, s.kv_heads, s.dim, dk, k_row, cos, sin, -1, d_qkv + q_row, row);
  for (int64_t t = 0; t < rows; ++t) {
    float* d = d_qkv + t * row;
    if (s.q_norm != nullptr) {  // in place: the kernel reads an element before it writes it
      const float *x = qkv + t * row, *at = inverse + t * (s.heads + s.kv_heads);
      K.rms_norm_grad(s.heads, s.dim, d, s.dim, x, s.dim, s.q_norm, at, nullptr, d, s.dim, d_q_norm);
      K.rms_norm_grad(s.kv_heads, s.dim, d + q_row, s.dim, x + q_row, s.dim, s.k_norm, at + s.heads, nullptr,
                      d + q_row, s.dim, d_k_norm);
    }
    std::copy_n(dv + t * k_row, k_row, d + q_row + k_row);
  }
}

}  // namespace cohort::cpu
