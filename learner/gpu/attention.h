// Causal attention of packed sequences on the GPU, forward and backward: LibTorch's flash kernels for bf16, the plain
// formula for float32 (slow, for comparisons) and for head sizes the kernels do not take. Includes Torch.
#pragma once

#include <torch/torch.h>

#include <vector>

namespace cohort::gpu {

struct Sequences {
  torch::Tensor cu_seqlens;   // S + 1, int32, on the GPU
  std::vector<int64_t> host;  // the same
  int64_t longest = 0;
};

// What backward needs besides q, k and v.
struct AttentionState {
  torch::Tensor out_THE;
  torch::Tensor log_sums, random, unused;  // the flash kernels'
};

// q_THE, k_TKE, v_TKE may be parts of wider rows.
AttentionState attend(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                      const Sequences& sequences);
// {dq, dk, dv}
std::vector<torch::Tensor> attend_grad(const torch::Tensor& d_out_THE, const torch::Tensor& q,
                                       const torch::Tensor& k, const torch::Tensor& v,
                                       const AttentionState& state, const Sequences& sequences);

}  // namespace cohort::gpu
