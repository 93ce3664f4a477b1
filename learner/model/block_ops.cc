// The two halves of a layer, each as one operation of autograd, worked through in blocks of rows: a block's
// products, norms and activations stay in the core's second-level cache between one step and the next, where
// whole micro-batches would stream every intermediate through memory. The inputs of the products are
// recomputed in backward from what is kept (x and gate_up), which costs less than reading them back.
#include "learner/model/cpu/kernels.h"
#include "learner/model/cpu/qkv.h"
#include "learner/model/ops.h"

namespace cohort::ops {

using cpu::kernels;
using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

namespace {

constexpr int64_t kBlockFloats = 1 << 17;  // of a block's widest intermediate: half a megabyte

float* data(const Tensor& x) {
  return x.defined() ? x.data_ptr<float>() : nullptr;
}
Tensor none_if_empty(const Tensor& x) {
  return x.numel() > 0 ? x : Tensor();
}
Tensor empty_if_none(const Tensor& x) {
  return x.defined() ? x : torch::empty({0});
}  // autograd takes no undefined one

// f(first row, rows) block by block; a multiple of 16 rows keeps the products' tiles whole.
template <class F>
void by_blocks(int64_t rows, int64_t width, F f) {
  const int64_t block = std::max<int64_t>(64, kBlockFloats / width / 16 * 16);
  for (int64_t at = 0; at < rows; at += block) f(at, std::min(block, rows - at));
}

struct NormMlp : Function<NormMlp> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& norm, const Tensor& gate_up_w,
                        const Tensor& down_w, double eps) {
    const int64_t rows = x.size(0), width = x.size(1), inner = down_w.size(1);
    Tensor y = torch::empty_like(x), inverse = torch::empty({rows}, x.options());
    Tensor gate_up = torch::empty({rows, 2 * inner}, x.options());
    Tensor h, act;
    by_blocks(rows, 2 * inner, [&](int64_t at, int64_t n) {
      if (!h.defined())
        h = torch::empty({n, width}, x.options()), act = torch::empty({n, inner}, x.options());
      Tensor h_n = h.narrow(0, 0, n), act_n = act.narrow(0, 0, n), gu = gate_up.narrow(0, at, n),
             out = y.narrow(0, at, n);
      kernels().rms_norm(n, width, data(x) + at * width, width, data(norm), float(eps), data(h), width,
                         data(inverse) + at);
      at::mm_out(gu, h_n, gate_up_w.t());
      kernels().swiglu(n, inner, data(gu), data(act));
      at::addmm_out(out, x.narrow(0, at, n), act_n, down_w.t());
    });
    ctx->save_for_backward({x, norm, gate_up_w, down_w, inverse, gate_up});
    ctx->saved_data["eps"] = eps;
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &norm = saved[1], &gate_up_w = saved[2], &down_w = saved[3],
                 &inverse = saved[4], &gate_up = saved[5];
    const float eps = float(ctx->saved_data["eps"].toDouble());
    const int64_t rows = x.size(0), width = x.size(1), inner = down_w.size(1);
    Tensor dy = grads[0].contiguous(), dx = torch::empty_like(x), d_norm = torch::zeros_like(norm);
    Tensor d_gate_up_w = torch::zeros_like(gate_up_w), d_down_w = torch::zeros_like(down_w);
    Tensor h, dh, act, d_act, d_gu;
    by_blocks(rows, 2 * inner, [&](int64_t at, int64_t n) {
      if (!h.defined()) {
        h = torch::empty({n, width}, x.options()), dh = torch::empty_like(h);
        act = torch::empty({n, inner}, x.options()), d_act = torch::empty_like(act);
        d_gu = torch::empty({n, 2 * inner}, x.options());
      }
      Tensor h_n = h.narrow(0, 0, n), dh_n = dh.narrow(0, 0, n), act_n = act.narrow(0, 0, n);
      Tensor d_act_n = d_act.narrow(0, 0, n), d_gu_n = d_gu.narrow(0, 0, n), dy_n = dy.narrow(0, at, n);
      at::mm_out(d_act_n, dy_n, down_w);
      kernels().swiglu_grad(n, inner, data(gate_up) + at * 2 * inner, data(d_act), data(d_gu), data(act));
      d_down_w.addmm_(dy_n.t(), act_n);
      at::mm_out(dh_n, d_gu_n, gate_up_w);
      kernels().rms_norm(n, width, data(x) + at * width, width, data(norm), eps, data(h), width, nullptr);
      d_gate_up_w.addmm_(d_gu_n.t(), h_n);
      kernels().rms_norm_grad(n, width, data(dh), width, data(x) + at * width, width, data(norm),
                              data(inverse) + at, data(dy) + at * width, data(dx) + at * width, width,
                              data(d_norm));
    });
    return {dx, d_norm, d_gate_up_w, d_down_w, {}};
  }
};

struct NormQkv : Function<NormQkv> {
  static variable_list forward(AutogradContext* ctx, const Tensor& x, const Tensor& norm, const Tensor& w,
                               const Tensor& bias_or_empty, const Tensor& cos, const Tensor& sin,
                               int64_t heads, int64_t kv_heads, const Tensor& q_norm_or_empty,
                               const Tensor& k_norm_or_empty, double eps) {
    Tensor bias = none_if_empty(bias_or_empty);
    Tensor q_norm = none_if_empty(q_norm_or_empty), k_norm = none_if_empty(k_norm_or_empty);
    const int64_t rows = x.size(0), width = x.size(1), row = w.size(0), dim = row / (heads + 2 * kv_heads);
    const int64_t q_row = heads * dim, k_row = kv_heads * dim;
    const cpu::QkvShape shape{heads, kv_heads, dim, data(q_norm), data(k_norm), float(eps)};
    Tensor q = torch::empty({rows, heads, dim}, x.options()),
           k = torch::empty({rows, kv_heads, dim}, x.options());
    Tensor v = torch::empty_like(k), inverse = torch::empty({rows}, x.options());
    // the norms' gradient needs what they were given
    Tensor kept = q_norm.defined() ? torch::empty({rows, row}, x.options()) : Tensor();
    Tensor head_inverse = q_norm.defined() ? torch::empty({rows, heads + kv_heads}, x.options()) : Tensor();
    Tensor h, buffer;
    by_blocks(rows, row, [&](int64_t at, int64_t n) {
      if (!h.defined()) h = torch::empty({n, width}, x.options());
      if (!buffer.defined() && !kept.defined()) buffer = torch::empty({n, row}, x.options());
      Tensor h_n = h.narrow(0, 0, n), qkv = kept.defined() ? kept.narrow(0, at, n) : buffer.narrow(0, 0, n);
      kernels().rms_norm(n, width, data(x) + at * width, width, data(norm), float(eps), data(h), width,
                         data(inverse) + at);
      if (bias.defined())
        at::addmm_out(qkv, bias, h_n, w.t());
      else
        at::mm_out(qkv, h_n, w.t());
      cpu::split_rotate(shape, n, data(qkv), data(cos) + at * dim / 2, data(sin) + at * dim / 2,
                        data(q) + at * q_row, data(k) + at * k_row, data(v) + at * k_row,
                        kept.defined() ? data(head_inverse) + at * (heads + kv_heads) : nullptr);
    });
    ctx->save_for_backward({x, norm, w, cos, sin, q_norm, k_norm, inverse, kept, head_inverse});
    ctx->saved_data["heads"] = heads;
    ctx->saved_data["kv_heads"] = kv_heads;
    ctx->saved_data["bias"] = bias.defined();
    ctx->saved_data["eps"] = eps;
    return {q, k, v};
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &norm = saved[1], &w = saved[2], &cos = saved[3], &sin = saved[4],
                 &q_norm = saved[5], &k_norm = saved[6], &inverse = saved[7], &kept = saved[8],
                 &head_inverse = saved[9];
    const int64_t heads = ctx->saved_data["heads"].toInt(), kv_heads = ctx->saved_data["kv_heads"].toInt();
    const float eps = float(ctx->saved_data["eps"].toDouble());
    const int64_t rows = x.size(0), width = x.size(1), row = w.size(0), dim = cos.size(1) * 2;
    const int64_t q_row = heads * dim, k_row = kv_heads * dim;
    const cpu::QkvShape shape{heads, kv_heads, dim, data(q_norm), data(k_norm), eps};
    auto of = [&](const Tensor& g, int64_t n) {
      return g.defined() ? g.contiguous() : torch::zeros({rows, n, dim}, x.options());
    };
    Tensor dq = of(grads[0], heads), dk = of(grads[1], kv_heads), dv = of(grads[2], kv_heads);
    Tensor dx = torch::empty_like(x), d_norm = torch::zeros_like(norm), d_w = torch::zeros_like(w);
    Tensor d_bias = ctx->saved_data["bias"].toBool() ? torch::zeros({row}, x.options()) : Tensor();
    Tensor d_q_norm, d_k_norm;
    if (q_norm.defined()) d_q_norm = torch::zeros_like(q_norm), d_k_norm = torch::zeros_like(k_norm);
    Tensor h, dh, d_qkv;
    by_blocks(rows, row, [&](int64_t at, int64_t n) {
      if (!h.defined()) {
        h = torch::empty({n, width}, x.options()), dh = torch::empty_like(h);
        d_qkv = torch::empty({n, row}, x.options());
      }
      Tensor h_n = h.narrow(0, 0, n), dh_n = dh.narrow(0, 0, n), d_n = d_qkv.narrow(0, 0, n);
      cpu::split_rotate_grad(shape, n, kept.defined() ? data(kept) + at * row : nullptr,
                             kept.defined() ? data(head_inverse) + at * (heads + kv_heads) : nullptr,
                             data(cos) + at * dim / 2, data(sin) + at * dim / 2, data(dq) + at * q_row,
                             data(dk) + at * k_row, data(dv) + at * k_row, data(d_qkv), data(d_q_norm),
                             data(d_k_norm));
      at::mm_out(dh_n, d_n, w);
      kernels().rms_norm(n, width, data(x) + at * width, width, data(norm), eps, data(h), width, nullptr);
      d_w.addmm_(d_n.t(), h_n);
      if (d_bias.defined()) d_bias.add_(d_n.sum(0));
      kernels().rms_norm_grad(n, width, data(dh), width, data(x) + at * width, width, data(norm),
                              data(inverse) + at, nullptr, data(dx) + at * width, width, data(d_norm));
    });
    return {dx, d_norm, d_w, d_bias, {}, {}, {}, {}, d_q_norm, d_k_norm, {}};
  }
};

bool on_kernels(const Tensor& x) {
  return x.is_cpu() && x.scalar_type() == torch::kFloat;
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> norm_qkv(const Tensor& x, const Tensor& norm, const Tensor& w,
                                            const Tensor& bias, const Tensor& cos, const Tensor& sin,
                                            int64_t heads, int64_t kv_heads, const Tensor& q_norm,
                                            const Tensor& k_norm, double eps) {
  if (!on_kernels(x))
    return reference::norm_qkv(x, norm, w, bias, cos, sin, heads, kv_heads, q_norm, k_norm, eps);
  auto out = NormQkv::apply(x.contiguous(), norm, w, empty_if_none(bias), cos.contiguous(), sin.contiguous(),
                            heads, kv_heads, empty_if_none(q_norm), empty_if_none(k_norm), eps);
  return {out[0], out[1], out[2]};
}

Tensor norm_mlp(const Tensor& x, const Tensor& norm, const Tensor& gate_up, const Tensor& down, double eps) {
  if (!on_kernels(x)) return reference::norm_mlp(x, norm, gate_up, down, eps);
  return NormMlp::apply(x.contiguous(), norm, gate_up, down, eps);
}

}  // namespace cohort::ops
