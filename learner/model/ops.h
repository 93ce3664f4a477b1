// The decoder's small operations. Each has a plain ATen form, which is the reference and what other devices
// and dtypes use, and, on a CPU in float32, a fused one with a hand-written gradient: at the sizes Cohort
// trains on CPUs the plain forms spend more time in memory passes than in matrix products. Includes Torch.
#pragma once

#include <torch/torch.h>

#include <tuple>
#include <vector>

namespace cohort::ops {

// x / sqrt(mean(x²) + eps) · w over the last dimension (Zhang & Sennrich 2019).
torch::Tensor rms_norm(const torch::Tensor& x, const torch::Tensor& w, double eps);
// silu(gate) · up of gate_up_T(2I) = [gate | up] (Shazeer 2020).
torch::Tensor swiglu(const torch::Tensor& gate_up);
// Splits qkv_T((H+2K)E) into q_THE, k_TKE, v_TKE. cos_TE2, sin_TE2 (half of E) rotate q and k in the
// half-split form of the Hugging Face checkpoints. With q_norm_E, k_norm_E (or undefined tensors) q and k are
// normalised per head first.
std::tuple<torch::Tensor, torch::Tensor, torch::Tensor> split_rotate(
    const torch::Tensor& qkv, const torch::Tensor& cos, const torch::Tensor& sin, int64_t heads,
    int64_t kv_heads, const torch::Tensor& q_norm, const torch::Tensor& k_norm, double eps);
// split_rotate(rms_norm(x, norm) · wᵀ + bias): the first half of a layer. bias may be undefined.
std::tuple<torch::Tensor, torch::Tensor, torch::Tensor> norm_qkv(
    const torch::Tensor& x, const torch::Tensor& norm, const torch::Tensor& w, const torch::Tensor& bias,
    const torch::Tensor& cos, const torch::Tensor& sin, int64_t heads, int64_t kv_heads,
    const torch::Tensor& q_norm, const torch::Tensor& k_norm, double eps);
// x + swiglu(rms_norm(x, norm) · gate_upᵀ) · downᵀ: the second half.
torch::Tensor norm_mlp(const torch::Tensor& x, const torch::Tensor& norm, const torch::Tensor& gate_up,
                       const torch::Tensor& down, double eps);
// Causal attention of each sequence on its own: q_THE, k_TKE, v_TKE -> out_THE.
torch::Tensor packed_attention(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                               const std::vector<int64_t>& cu_seqlens);
// (log-prob of the target, entropy) under softmax(hidden · headᵀ / temperature), in chunks of rows.
std::tuple<torch::Tensor, torch::Tensor> token_stats(const torch::Tensor& hidden, const torch::Tensor& head,
                                                     const torch::Tensor& targets, double temperature,
                                                     bool entropy_gradient, int64_t chunk_rows);

namespace reference {
torch::Tensor rms_norm(const torch::Tensor& x, const torch::Tensor& w, double eps);
torch::Tensor swiglu(const torch::Tensor& gate_up);
std::tuple<torch::Tensor, torch::Tensor, torch::Tensor> split_rotate(
    const torch::Tensor& qkv, const torch::Tensor& cos, const torch::Tensor& sin, int64_t heads,
    int64_t kv_heads, const torch::Tensor& q_norm, const torch::Tensor& k_norm, double eps);
std::tuple<torch::Tensor, torch::Tensor, torch::Tensor> norm_qkv(
    const torch::Tensor& x, const torch::Tensor& norm, const torch::Tensor& w, const torch::Tensor& bias,
    const torch::Tensor& cos, const torch::Tensor& sin, int64_t heads, int64_t kv_heads,
    const torch::Tensor& q_norm, const torch::Tensor& k_norm, double eps);
torch::Tensor norm_mlp(const torch::Tensor& x, const torch::Tensor& norm, const torch::Tensor& gate_up,
                       const torch::Tensor& down, double eps);
torch::Tensor packed_attention(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                               const std::vector<int64_t>& cu_seqlens);
// Whole [N × V], autograd's own gradient.
std::tuple<torch::Tensor, torch::Tensor> token_stats(const torch::Tensor& hidden, const torch::Tensor& head,
                                                     const torch::Tensor& targets, double temperature);
}  // namespace reference

}  // namespace cohort::ops
