#include "learner/gpu/attention.h"

#include "learner/model/ops.h"

namespace cohort::gpu {

using torch::Tensor;

namespace {

bool flash(const Tensor& q) {
  return q.scalar_type() != torch::kFloat && q.size(2) % 8 == 0 && q.size(2) <= 256;
}

}  // namespace

AttentionState attend(const Tensor& q, const Tensor& k, const Tensor& v, const Sequences& s) {
  AttentionState state;
  if (!flash(q)) {
    state.out_THE = ops::reference::packed_attention(q, k, v, s.host).contiguous();
    return state;
  }
  Tensor ignored;
  std::tie(state.out_THE, state.log_sums, state.random, state.unused, ignored) = at::_flash_attention_forward(
      q, k, v, s.cu_seqlens, s.cu_seqlens, s.longest, s.longest, /*dropout_p=*/0.0,
      /*is_causal=*/true, /*return_debug_mask=*/false);
  return state;
}

std::vector<Tensor> attend_grad(const Tensor& d_out, const Tensor& q, const Tensor& k, const Tensor& v,
                                const AttentionState& state, const Sequences& s) {
  if (flash(q)) {
    auto [dq, dk, dv] =
        at::_flash_attention_backward(d_out, q, k, v, state.out_THE, state.log_sums, s.cu_seqlens,
                                      s.cu_seqlens, s.longest, s.longest, /*dropout_p=*/0.0,
                                      /*is_causal=*/true, state.random, state.unused);
    return {dq.contiguous(), dk.contiguous(), dv.contiguous()};
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
