// Causal attention of packed sequences on the GPU, forward and backward. In bf16 by kernels/packed_attention.h, for the head
// sizes that it takes, or LibTorch's flash kernels for others (whose gradients differ in their last bits from run to run); by the
// plain formula in float32 (slow, for comparisons) and for head sizes that neither takes. Includes Torch.
#pragma once

#include <torch/torch.h>

#include <vector>

namespace cohort::gpu {

struct Sequences {
  torch::Tensor cu_seqlens;   // S + 1, int32, on the GPU
  std::vector<int64_t> host;  // the same
  int64_t longest = 0;
  torch::Tensor tiles;  // int32, on the GPU: cuda::packed_tiles(host)
};

// What backward needs besides q, k and v.
struct AttentionState {
  torch::Tensor out_THE;
  torch::Tensor log_sums;
  torch::Tensor random, unused;  // the flash kernels'
};

// qkv: T rows of (heads + 2 kv_heads) heads, in one piece.
AttentionState attend(const torch::Tensor& qkv, int64_t heads, int64_t kv_heads, const Sequences& sequences);
// {dq_THE, dk_TKE, dv_TKE}
std::vector<torch::Tensor> attend_grad(const torch::Tensor& d_out_THE, const torch::Tensor& qkv,
                                       int64_t heads, int64_t kv_heads, const AttentionState& state,
                                       const Sequences& sequences);

}  // namespace cohort::gpu
