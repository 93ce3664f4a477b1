// LM head, log-prob and entropy without [N × V]: forward keeps the hidden states and one number a row (the
// log of the normaliser); backward recomputes a chunk's logits, turns them into their gradient in place and
// multiplies it out.
#include "learner/model/decoder.h"
#include "learner/model/ops.h"

namespace cohort {
namespace ops {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

Tensor chunk_logits(const Tensor& hidden, const Tensor& head, double temperature) {
  Tensor logits = at::mm(hidden, head.t());
  if (logits.scalar_type() != torch::kDouble) logits = logits.to(torch::kFloat);
  if (temperature != 1) logits.div_(temperature);
  return logits;
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
    for (int64_t at = 0; at < rows; at += chunk_rows) {
      const int64_t n = std::min(chunk_rows, rows - at);
      Tensor logits = chunk_logits(hidden.narrow(0, at, n), head, temperature);
      Tensor lse = logits.logsumexp(1);
      logprobs.narrow(0, at, n).copy_(logits.gather(1, targets.narrow(0, at, n).unsqueeze(1)).squeeze(1) -
                                      lse);
      Tensor log_p = logits.sub_(lse.unsqueeze(1));
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
    for (int64_t at = 0; at < rows; at += chunk_rows) {
      const int64_t n = std::min(chunk_rows, rows - at);
      Tensor h = hidden.narrow(0, at, n), t = targets.narrow(0, at, n).unsqueeze(1);
      Tensor log_p = chunk_logits(h, head, temperature).sub_(normaliser.narrow(0, at, n).unsqueeze(1));
      Tensor p = log_p.exp();
      Tensor g =
          grads[0].defined() ? grads[0].narrow(0, at, n).unsqueeze(1) : torch::zeros({n, 1}, p.options());
      Tensor d = p * -g;  // d logp/dz = onehot - p
      d.scatter_add_(1, t, g);
      if (with_entropy)  // dH/dz = -p (log p + H)
        d.addcmul_(p * grads[1].narrow(0, at, n).unsqueeze(1),
                   log_p.add_(entropy.narrow(0, at, n).unsqueeze(1)), -1);
      if (temperature != 1) d.div_(temperature);
      Tensor dh = d.to(hidden.scalar_type());
      d_hidden.narrow(0, at, n).copy_(at::mm(dh, head));
      d_head.add_(at::mm(dh.t(), h));
    }
    return {d_hidden, d_head.to(head.scalar_type()), {}, {}, {}, {}};
  }
};

}  // namespace

std::tuple<Tensor, Tensor> token_stats(const Tensor& hidden, const Tensor& head, const Tensor& targets,
                                       double temperature, bool entropy_gradient, int64_t chunk_rows) {
  auto out = TokenStatsFunction::apply(hidden, head, targets, temperature, entropy_gradient, chunk_rows);
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
