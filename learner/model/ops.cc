#include "learner/model/ops.h"

#include <ATen/Parallel.h>

#include "learner/model/cpu/kernels.h"
#include "learner/model/cpu/qkv.h"

namespace cohort::ops {

using cpu::kernels;
using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

namespace {

bool fused(const Tensor& x) {
  return x.is_cpu() && x.scalar_type() == torch::kFloat;
}

float* data(const Tensor& x) {
  return x.defined() ? x.data_ptr<float>() : nullptr;
}

// f(begin, end) over rows; one call where there is one thread or little to do.
template <class F>
void over_rows(int64_t rows, int64_t width, F f) {
  at::parallel_for(0, rows, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, width)), f);
}

struct RmsNorm : Function<RmsNorm> {
  static Tensor compute(const Tensor& x, const Tensor& w, double eps, const Tensor& inverse) {
    Tensor y = torch::empty_like(x);
    const int64_t width = x.size(-1);
    float *in = data(x), *out = data(y), *inv = data(inverse);
    over_rows(x.numel() / width, width, [&](int64_t a, int64_t b) {
      kernels().rms_norm(b - a, width, in + a * width, width, data(w), float(eps), out + a * width, width,
                         inv ? inv + a : nullptr);
    });
    return y;
  }
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& w, double eps) {
    Tensor inverse = torch::empty({x.numel() / x.size(-1)}, x.options());
    Tensor y = compute(x, w, eps, inverse);
    ctx->save_for_backward({x, w, inverse});
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &w = saved[1], &inverse = saved[2];
    const int64_t width = x.size(-1);
    Tensor dy = grads[0].contiguous(), dx = torch::empty_like(x), dw = torch::zeros_like(w);
    kernels().rms_norm_grad(x.numel() / width, width, data(dy), width, data(x), width, data(w), data(inverse),
                            nullptr, data(dx), width, data(dw));
    return {dx, dw, {}};
  }
};

struct Swiglu : Function<Swiglu> {
  static Tensor compute(const Tensor& gate_up) {
    const int64_t rows = gate_up.size(0), width = gate_up.size(1) / 2;
    Tensor y = torch::empty({rows, width}, gate_up.options());
    float *in = data(gate_up), *out = data(y);
    over_rows(rows, 4 * width, [&](int64_t a, int64_t b) {
      kernels().swiglu(b - a, width, in + 2 * a * width, out + a * width);
    });
    return y;
  }
  static Tensor forward(AutogradContext* ctx, const Tensor& gate_up) {
    ctx->save_for_backward({gate_up});
    return compute(gate_up);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    Tensor gate_up = ctx->get_saved_variables()[0], dy = grads[0].contiguous(),
           d = torch::empty_like(gate_up);
    const int64_t width = dy.size(1);
    float *in = data(gate_up), *up = data(dy), *out = data(d);
    over_rows(dy.size(0), 4 * width, [&](int64_t a, int64_t b) {
      kernels().swiglu_grad(b - a, width, in + 2 * a * width, up + a * width, out + 2 * a * width, nullptr);
    });
    return {d};
  }
};

// f(sequence, kv head) in parallel, the longest work being one whole sequence of one kv head.
template <class F>
void over_sequences(const std::vector<int64_t>& cu, int64_t kv_heads, F f) {
  at::parallel_for(0, static_cast<int64_t>(cu.size() - 1) * kv_heads, 1, [&](int64_t a, int64_t b) {
    std::vector<float> scratch;
    for (int64_t i = a; i < b; ++i) {
      const int64_t begin = cu[size_t(i / kv_heads)], n = cu[size_t(i / kv_heads) + 1] - begin;
      if (n > 0) f(begin, n, i % kv_heads, scratch);
    }
  });
}

struct PackedAttention : Function<PackedAttention> {
  static Tensor compute(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<int64_t>& cu,
                        const Tensor& lse) {
    const auto& K = kernels();
    const int64_t heads = q.size(1), kv_heads = k.size(1), dim = q.size(2), group = heads / kv_heads;
    const int64_t q_row = heads * dim, kv_row = kv_heads * dim;
    const float scale = float(1 / std::sqrt(double(dim)));
    Tensor out = torch::empty_like(q);
    over_sequences(cu, kv_heads, [&](int64_t begin, int64_t n, int64_t head, std::vector<float>& scratch) {
      const int64_t keys = cpu::panels_size(n, dim, K.panel), values = cpu::panels_size(dim, n, K.panel);
      scratch.resize(std::max(scratch.size(), size_t(keys + values + cpu::attention_scratch(n))));
      float *key_panels = scratch.data(), *value_panels = key_panels + keys;
      const int64_t kv = begin * kv_row + head * dim, first = begin * q_row + head * group * dim;
      K.pack(n, dim, data(k) + kv, kv_row, 1, key_panels, dim * K.panel);
      K.pack(dim, n, data(v) + kv, 1, kv_row, value_panels, n * K.panel);
      K.attention(n, 0, group, dim, data(q) + first, q_row, key_panels, dim * K.panel, value_panels,
                  n * K.panel, scale, data(out) + first, q_row,
                  lse.defined() ? data(lse) + begin * heads + head * group : nullptr, heads,
                  value_panels + values);
    });
    return out;
  }
  static Tensor forward(AutogradContext* ctx, const Tensor& q, const Tensor& k, const Tensor& v,
                        const std::vector<int64_t>& cu) {
    Tensor lse = torch::empty({q.size(0), q.size(1)}, q.options());
    Tensor out = compute(q, k, v, cu, lse);
    ctx->save_for_backward({q, k, v, out, lse});
    ctx->saved_data["cu"] = cu;
    return out;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto& K = kernels();
    auto saved = ctx->get_saved_variables();
    const Tensor &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3], &lse = saved[4];
    const std::vector<int64_t> cu = ctx->saved_data["cu"].toIntVector();
    const int64_t heads = q.size(1), kv_heads = k.size(1), dim = q.size(2), group = heads / kv_heads;
    const int64_t q_row = heads * dim, kv_row = kv_heads * dim;
    const float scale = float(1 / std::sqrt(double(dim)));
    Tensor d_out = grads[0].contiguous(), dq = torch::empty_like(q), dk = torch::empty_like(k),
           dv = torch::empty_like(v);
    over_sequences(cu, kv_heads, [&](int64_t begin, int64_t n, int64_t head, std::vector<float>& scratch) {
      scratch.resize(std::max(scratch.size(), size_t(cpu::attention_grad_scratch(n, dim))));
      const int64_t kv = begin * kv_row + head * dim, first = begin * q_row + head * group * dim;
      K.attention_grad(n, group, dim, data(q) + first, q_row, data(k) + kv, data(v) + kv, kv_row,
                       data(out) + first, data(d_out) + first, q_row,
                       data(lse) + begin * heads + head * group, heads, scale, data(dq) + first, q_row,
                       data(dk) + kv, data(dv) + kv, kv_row, scratch.data());
    });
    return {dq, dk, dv, {}};
  }
};

bool wants_gradient(std::initializer_list<Tensor> inputs) {
  if (!at::GradMode::is_enabled()) return false;
  for (const Tensor& x : inputs)
    if (x.defined() && x.requires_grad()) return true;
  return false;
}

}  // namespace

Tensor rms_norm(const Tensor& x_any, const Tensor& w, double eps) {
  if (!fused(x_any)) return reference::rms_norm(x_any, w, eps);
  Tensor x = x_any.contiguous();
  return wants_gradient({x, w}) ? RmsNorm::apply(x, w, eps) : RmsNorm::compute(x, w, eps, {});
}

Tensor swiglu(const Tensor& gate_up_any) {
  if (!fused(gate_up_any)) return reference::swiglu(gate_up_any);
  Tensor gate_up = gate_up_any.contiguous();
  return wants_gradient({gate_up}) ? Swiglu::apply(gate_up) : Swiglu::compute(gate_up);
}

std::tuple<Tensor, Tensor, Tensor> split_rotate(const Tensor& qkv_any, const Tensor& cos_any,
                                                const Tensor& sin_any, int64_t heads, int64_t kv_heads,
                                                const Tensor& q_norm, const Tensor& k_norm, double eps) {
  if (!fused(qkv_any) || wants_gradient({qkv_any, q_norm, k_norm}))
    return reference::split_rotate(qkv_any, cos_any, sin_any, heads, kv_heads, q_norm, k_norm, eps);
  Tensor qkv = qkv_any.contiguous(), cos = cos_any.contiguous(), sin = sin_any.contiguous();
  const int64_t rows = qkv.size(0), dim = qkv.size(1) / (heads + 2 * kv_heads);
  Tensor q = torch::empty({rows, heads, dim}, qkv.options()),
         k = torch::empty({rows, kv_heads, dim}, qkv.options());
  Tensor v = torch::empty_like(k);
  cpu::split_rotate({heads, kv_heads, dim, data(q_norm), data(k_norm), float(eps)}, rows, data(qkv),
                    data(cos), data(sin), data(q), data(k), data(v), nullptr);
  return {q, k, v};
}

Tensor packed_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                        const std::vector<int64_t>& cu_seqlens) {
  if (!fused(q)) return reference::packed_attention(q, k, v, cu_seqlens);
  Tensor qc = q.contiguous(), kc = k.contiguous(), vc = v.contiguous();
  return wants_gradient({q, k, v}) ? PackedAttention::apply(qc, kc, vc, cu_seqlens)
                                   : PackedAttention::compute(qc, kc, vc, cu_seqlens, {});
}

}  // namespace cohort::ops
