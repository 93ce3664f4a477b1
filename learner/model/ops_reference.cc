#include "learner/model/ops.h"

namespace cohort::ops::reference {

using torch::Tensor;

Tensor rms_norm(const Tensor& x, const Tensor& w, double eps) {
  // in float32 whatever x is, then rounded to x's dtype before the weight, as transformers does
  Tensor wide = x.scalar_type() == torch::kDouble ? x : x.to(torch::kFloat);
  Tensor scale = torch::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + eps);
  return (wide * scale).to(x.scalar_type()) * w;
}

Tensor swiglu(const Tensor& gate_up) {
  auto halves = gate_up.chunk(2, -1);
  return torch::silu(halves[0]) * halves[1];
}

namespace {
Tensor rotate(const Tensor& x_THE, const Tensor& cos, const Tensor& sin) {
  auto halves = x_THE.chunk(2, -1);
  Tensor c = cos.unsqueeze(1).to(x_THE.scalar_type()), s = sin.unsqueeze(1).to(x_THE.scalar_type());
  return torch::cat({halves[0] * c - halves[1] * s, halves[1] * c + halves[0] * s}, -1);
}
}  // namespace

std::tuple<Tensor, Tensor, Tensor> split_rotate(const Tensor& qkv, const Tensor& cos, const Tensor& sin,
                                                int64_t heads, int64_t kv_heads, const Tensor& q_norm,
                                                const Tensor& k_norm, double eps) {
  const int64_t rows = qkv.size(0), dim = qkv.size(1) / (heads + 2 * kv_heads);
  auto parts = qkv.view({rows, heads + 2 * kv_heads, dim}).split_with_sizes({heads, kv_heads, kv_heads}, 1);
  Tensor q = q_norm.defined() ? ops::rms_norm(parts[0], q_norm, eps) : parts[0];
  Tensor k = k_norm.defined() ? ops::rms_norm(parts[1], k_norm, eps) : parts[1];
  return {rotate(q, cos, sin), rotate(k, cos, sin), parts[2]};
}

std::tuple<Tensor, Tensor, Tensor> norm_qkv(const Tensor& x, const Tensor& norm, const Tensor& w,
                                            const Tensor& bias, const Tensor& cos, const Tensor& sin,
                                            int64_t heads, int64_t kv_heads, const Tensor& q_norm,
                                            const Tensor& k_norm, double eps) {
  return ops::split_rotate(at::linear(ops::rms_norm(x, norm, eps), w, bias), cos, sin, heads, kv_heads,
                           q_norm, k_norm, eps);
}

Tensor norm_mlp(const Tensor& x, const Tensor& norm, const Tensor& gate_up, const Tensor& down, double eps) {
  return at::addmm(x, ops::swiglu(at::linear(ops::rms_norm(x, norm, eps), gate_up)), down.t());
}

Tensor packed_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                        const std::vector<int64_t>& cu_seqlens) {
  const int64_t heads = q.size(1), kv_heads = k.size(1), dim = q.size(2), group = heads / kv_heads;
  std::vector<Tensor> out;
  for (size_t i = 0; i + 1 < cu_seqlens.size(); ++i) {
    const int64_t begin = cu_seqlens[i], n = cu_seqlens[i + 1] - begin;
    if (n == 0) continue;
    if (!q.is_cpu() && q.element_size() == 2) {  // the library's fused kernels; float32 stays exact
      auto of = [&](const Tensor& x) { return x.narrow(0, begin, n).transpose(0, 1).unsqueeze(0); };
      Tensor o = at::scaled_dot_product_attention(of(q), of(k), of(v), {}, 0.0, /*is_causal=*/true, {},
                                                  /*enable_gqa=*/heads != kv_heads);
      out.push_back(o.squeeze(0).transpose(0, 1));
      continue;
    }
    // the query heads of one kv head as more rows of one product: K and V are not repeated
    Tensor qs = q.narrow(0, begin, n)
                    .view({n, kv_heads, group, dim})
                    .permute({1, 2, 0, 3})
                    .reshape({kv_heads, group * n, dim});
    Tensor ks = k.narrow(0, begin, n).permute({1, 2, 0}), vs = v.narrow(0, begin, n).transpose(0, 1);
    Tensor scores = torch::bmm(qs, ks) * (1 / std::sqrt(double(dim)));
    Tensor future = torch::ones({n, n}, q.options().dtype(torch::kBool)).triu(1).repeat({group, 1});
    scores = scores.masked_fill(future, -std::numeric_limits<double>::infinity());
    Tensor p = torch::softmax(scores, -1, q.scalar_type() == torch::kDouble ? torch::kDouble : torch::kFloat);
    Tensor o = torch::bmm(p.to(q.scalar_type()), vs);
    out.push_back(o.view({kv_heads, group, n, dim}).permute({2, 0, 1, 3}).reshape({n, heads, dim}));
  }
  return out.empty() ? torch::zeros_like(q) : torch::cat(out, 0);
}

std::tuple<Tensor, Tensor> token_stats(const Tensor& hidden, const Tensor& head, const Tensor& targets,
                                       double temperature) {
  Tensor logits = torch::matmul(hidden, head.t());
  if (logits.scalar_type() != torch::kDouble) logits = logits.to(torch::kFloat);
  Tensor all = torch::log_softmax(logits / temperature, -1);
  return {all.gather(1, targets.unsqueeze(1)).squeeze(1), -(all.exp() * all).sum(-1)};
}

}  // namespace cohort::ops::reference
