#include "learner/gpu/attention.h"

#include <cuda_runtime_api.h>

#include "kernels/packed_attention.h"
#include "learner/gpu/runtime.h"
#include "learner/model/ops.h"

namespace cohort::gpu {

using torch::Tensor;

namespace {

enum class Way : uint8_t { ours, flash, formula };
Way way_of(const Tensor& qkv) {
  if (qkv.scalar_type() == torch::kFloat) return Way::formula;
  if (cuda::packed_attention_takes(qkv.size(2))) return Way::ours;
  return qkv.size(2) % 8 == 0 && qkv.size(2) <= 256 ? Way::flash : Way::formula;
}

int multiprocessors() {
  static const int count = [] {  // a rank has one GPU
    int device = 0, n = 0;
    check(cudaGetDevice(&device), "cudaGetDevice");
    check(cudaDeviceGetAttribute(&n, cudaDevAttrMultiProcessorCount, device), "cudaDeviceGetAttribute");
    return n;
  }();
  return count;
}

__nv_bfloat16* pointer(const Tensor& t) {
  return static_cast<__nv_bfloat16*>(t.data_ptr());
}

cuda::PackedAttentionParams params(const Tensor& qkv, int64_t heads, int64_t kv_heads,
                                   const AttentionState& state, const Sequences& s) {
  cuda::PackedAttentionParams p;
  p.tiles = reinterpret_cast<const cuda::PackedTile*>(s.tiles.data_ptr<int32_t>());
  p.count = static_cast<int>(s.tiles.numel() * 4 / static_cast<int64_t>(2 * sizeof(cuda::PackedTile)));
  p.rows = static_cast<int>(qkv.size(0)), p.qkv = pointer(qkv);
  p.heads = static_cast<int>(heads), p.kv_heads = static_cast<int>(kv_heads);
  p.head_dim = static_cast<int>(qkv.size(2)), p.scale = 1 / std::sqrt(static_cast<float>(qkv.size(2)));
  p.out = pointer(state.out_THE);
  p.log_sums = state.log_sums.defined() ? state.log_sums.data_ptr<float>() : nullptr;
  p.multiprocessors = multiprocessors();
  return p;
}

struct Parts {
  Tensor q, k, v;
};
Parts parts_of(const Tensor& qkv, int64_t heads, int64_t kv_heads) {
  return {qkv.narrow(1, 0, heads), qkv.narrow(1, heads, kv_heads), qkv.narrow(1, heads + kv_heads, kv_heads)};
}

}  // namespace

AttentionState attend(const Tensor& qkv, int64_t heads, int64_t kv_heads, const Sequences& s) {
  AttentionState state;
  const auto [q, k, v] = parts_of(qkv, heads, kv_heads);
  Tensor ignored;
  switch (way_of(qkv)) {
    case Way::ours: {
      state.out_THE = torch::empty({qkv.size(0), heads, qkv.size(2)}, qkv.options());
      cuda::PackedAttentionParams p = params(qkv, heads, kv_heads, state, s);
      state.log_sums =
          torch::empty({heads, int64_t{p.count} * cuda::kPackedTile}, qkv.options().dtype(torch::kFloat));
      p.log_sums = state.log_sums.data_ptr<float>();
      packed_attention(p, nullptr);
      break;
    }
    case Way::flash:
      std::tie(state.out_THE, state.log_sums, state.random, state.unused, ignored) =
          at::_flash_attention_forward(q, k, v, s.cu_seqlens, s.cu_seqlens, s.longest, s.longest,
                                       /*dropout_p=*/0.0, /*is_causal=*/true, /*return_debug_mask=*/false);
      break;
    case Way::formula:
      state.out_THE = ops::reference::packed_attention(q, k, v, s.host).contiguous();
  }
  return state;
}

std::vector<Tensor> attend_grad(const Tensor& d_out, const Tensor& qkv, int64_t heads, int64_t kv_heads,
                                const AttentionState& state, const Sequences& s) {
  const auto [q, k, v] = parts_of(qkv, heads, kv_heads);
  switch (way_of(qkv)) {
    case Way::ours: {
      cuda::PackedAttentionGradParams g;
      g.forward = params(qkv, heads, kv_heads, state, s);
      std::vector<Tensor> grads = {torch::empty(q.sizes(), qkv.options()),
                                   torch::empty(k.sizes(), qkv.options()),
                                   torch::empty(v.sizes(), qkv.options())};
      const Tensor scratch =
          torch::empty({cuda::packed_attention_grad_scratch(g.forward)}, qkv.options().dtype(torch::kFloat));
      g.d_out = pointer(d_out), g.scratch = scratch.data_ptr<float>();
      g.dq = pointer(grads[0]), g.dk = pointer(grads[1]), g.dv = pointer(grads[2]);
      packed_attention_grad(g, nullptr);
      return grads;
    }
    case Way::flash: {
      auto [dq, dk, dv] =
          at::_flash_attention_backward(d_out, q, k, v, state.out_THE, state.log_sums, s.cu_seqlens,
                                        s.cu_seqlens, s.longest, s.longest, /*dropout_p=*/0.0,
                                        /*is_causal=*/true, state.random, state.unused);
      return {dq.contiguous(), dk.contiguous(), dv.contiguous()};
    }
    case Way::formula:
      break;
  }
  const torch::AutoGradMode recorded(true);
  std::vector<Tensor> inputs;
  for (const Tensor& x : {q, k, v}) inputs.push_back(x.detach().contiguous().requires_grad_(true));
  const Tensor out = ops::reference::packed_attention(inputs[0], inputs[1], inputs[2], s.host);
  std::vector<Tensor> grads = torch::autograd::grad({out}, inputs, {d_out});
  for (Tensor& g : grads) g = g.contiguous();
  return grads;
}

}  // namespace cohort::gpu
