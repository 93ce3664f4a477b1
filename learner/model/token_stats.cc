// LM head, log-prob and entropy without [N × V]: forward keeps the hidden states and one number a row (the
// log of the normaliser); backward recomputes a chunk's logits, turns them into their gradient in place and
// multiplies it out.
#include "learner/model/cpu/kernels.h"
#include "learner/model/decoder.h"
#include "learner/model/ops.h"

namespace cohort {
namespace ops {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

bool on_kernels(const Tensor& hidden) {
  return hidden.is_cpu() && hidden.scalar_type() == torch::kFloat;
}

// Without the temperature. `buffer` is used where it fits: a fresh megabyte a chunk would be paged in each
// time.
Tensor chunk_logits(const Tensor& hidden, const Tensor& head, Tensor& buffer) {
  if (!on_kernels(hidden)) {
    Tensor logits = at::mm(hidden, head.t());
    return logits.scalar_type() == torch::kDouble ? logits : logits.to(torch::kFloat);
  }
  if (!buffer.defined()) buffer = torch::empty({hidden.size(0), head.size(0)}, hidden.options());
  Tensor logits = buffer.narrow(0, 0, hidden.size(0));
  return at::mm_out(logits, hidden, head.t());
}

template <class T>
T* from(const Tensor& x, int64_t row) {
  return x.data_ptr<T>() + row;
}

struct TokenStatsFunction : torch::autograd::Function<TokenStatsFunction> {
  static variable_list forward(AutogradContext* ctx, const Tensor& hidden, const Tensor& head,
                               const Tensor& targets, double temperature, bool entropy_gradient,
                               int64_t chunk_rows) {
    const int64_t rows = hidden.size(0);
    auto options =
        hidden.options().dtype(hidden.scalar_type() == torch::kDouble ? torch::kDouble : torch::kFloat);
    Tensor logprobs = torch::empty({rows}, options), entropy = torch::empty({rows}, options);
    Tensor normaliser = torch::empty({rows}, options);
    Tensor buffer;
    for (int64_t at = 0; at < rows; at += chunk_rows) {
      const int64_t n = std::min(chunk_rows, rows - at);
      Tensor logits = chunk_logits(hidden.narrow(0, at, n), head, buffer);
      if (on_kernels(hidden)) {
        cpu::kernels().token_stats(n, logits.size(1), from<float>(logits, 0), logits.size(1),
                                   float(1 / temperature), from<int64_t>(targets, at),
                                   from<float>(logprobs, at), from<float>(entropy, at),
                                   from<float>(normaliser, at));
        continue;
      }
      if (temperature != 1) logits = logits / temperature;
      Tensor lse = logits.logsumexp(1);
      logprobs.narrow(0, at, n).copy_(logits.gather(1, targets.narrow(0, at, n).unsqueeze(1)).squeeze(1) -
                                      lse);
      Tensor log_p = logits - lse.unsqueeze(1);
      entropy.narrow(0, at, n).copy_(-log_p.exp().mul_(log_p).sum(1));
      normaliser.narrow(0, at, n).copy_(lse);
    }
    ctx->save_for_backward({hidden, head, targets, normaliser, entropy});
    ctx->saved_data["temperature"] = temperature;
    ctx->saved_data["entropy_gradient"] = entropy_gradient;
    ctx->saved_data["chunk_rows"] = chunk_rows;
    if (!entropy_gradient) ctx->mark_non_differentiable({entropy});
    return {logprobs, entropy};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    auto saved = ctx->get_saved_variables();
    const Tensor &hidden = saved[0], &head = saved[1], &targets = saved[2], &normaliser = saved[3],
                 &entropy = saved[4];
    const double temperature = ctx->saved_data["temperature"].toDouble();
    const bool with_entropy = ctx->saved_data["entropy_gradient"].toBool() && grads[1].defined();
    const int64_t chunk_rows = ctx->saved_data["chunk_rows"].toInt(), rows = hidden.size(0);
    Tensor d_hidden = torch::empty_like(hidden), d_head = torch::zeros(head.sizes(), normaliser.options());
    Tensor buffer,
        g_all = grads[0].defined() ? grads[0].contiguous() : torch::zeros({rows}, normaliser.options());
    Tensor h_all = with_entropy ? grads[1].contiguous() : Tensor();
    for (int64_t at = 0; at < rows; at += chunk_rows) {
      const int64_t n = std::min(chunk_rows, rows - at);
      Tensor h = hidden.narrow(0, at, n), d = chunk_logits(h, head, buffer);
      if (on_kernels(hidden)) {
        cpu::kernels().token_stats_grad(n, d.size(1), from<float>(d, 0), d.size(1), float(1 / temperature),
                                        from<int64_t>(targets, at), from<float>(normaliser, at),
                                        from<float>(entropy, at), from<float>(g_all, at),
                                        with_entropy ? from<float>(h_all, at) : nullptr);
      } else {
        Tensor log_p = (temperature != 1 ? d / temperature : d) - normaliser.narrow(0, at, n).unsqueeze(1);
        Tensor p = log_p.exp(), g = g_all.narrow(0, at, n).unsqueeze(1);
        d = p * -g;  // d logp/dz = onehot - p
        d.scatter_add_(1, targets.narrow(0, at, n).unsqueeze(1), g);
        if (with_entropy)  // dH/dz = -p (log p + H)
          d.addcmul_(p * h_all.narrow(0, at, n).unsqueeze(1), log_p + entropy.narrow(0, at, n).unsqueeze(1),
                     -1);
        if (temperature != 1) d.div_(temperature);
        d = d.to(hidden.scalar_type());
      }
      Tensor dh = d_hidden.narrow(0, at, n);
      at::mm_out(dh, d, head);
      if (d_head.scalar_type() == d.scalar_type())
        d_head.addmm_(d.t(), h);
      else
        d_head.add_(at::mm(d.t(), h));
    }
    return {d_hidden, d_head.to(head.scalar_type()), {}, {}, {}, {}};
  }
};

}  // namespace

std::tuple<Tensor, Tensor> token_stats(const Tensor& hidden, const Tensor& head, const Tensor& targets,
                                       double temperature, bool entropy_gradient, int64_t chunk_rows) {
  auto out = TokenStatsFunction::apply(hidden.contiguous(), head, targets.contiguous(), temperature,
                                       entropy_gradient, chunk_rows);
  return {out[0], out[1]};
}

}  // namespace ops

TokenStats token_stats(const Decoder& decoder, const torch::Tensor& hidden_ND, const torch::Tensor& targets_N,
                       double temperature, bool entropy_gradient, int64_t chunk_rows) {
  auto [logprobs, entropy] =
      ops::token_stats(hidden_ND, decoder.lm_head(), targets_N, temperature, entropy_gradient, chunk_rows);
  return {logprobs, entropy};
}

}  // namespace cohort
