#include "learner/model/ops.h"

namespace cohort::ops {

using torch::Tensor;

Tensor rms_norm(const Tensor& x, const Tensor& w, double eps) {
  return reference::rms_norm(x, w, eps);
}

Tensor swiglu(const Tensor& gate_up) {
  return reference::swiglu(gate_up);
}

std::tuple<Tensor, Tensor, Tensor> split_rotate(const Tensor& qkv, const Tensor& cos, const Tensor& sin,
                                                int64_t heads, int64_t kv_heads, const Tensor& q_norm,
                                                const Tensor& k_norm, double eps) {
  return reference::split_rotate(qkv, cos, sin, heads, kv_heads, q_norm, k_norm, eps);
}

Tensor packed_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                        const std::vector<int64_t>& cu_seqlens) {
  return reference::packed_attention(q, k, v, cu_seqlens);
}

}  // namespace cohort::ops
