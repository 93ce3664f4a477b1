#include "learner/grpo_loss.h"

#include <algorithm>
#include <cmath>

namespace cohort {
namespace {

constexpr double kMaxLog = 20;

double clamp_log(double x) {
  return std::clamp(x, -kMaxLog, kMaxLog);
}
bool inside(double x) {
  return x >= -kMaxLog && x <= kMaxLog;
}

struct Clipped {
  double loss, by_ratio;  // and its derivative by the ratio
  bool low, high, dual;
};

Clipped clipped_loss(const GrpoOptions& o, double ratio, double advantage) {
  const double bounded = std::clamp(ratio, 1 - o.clip_ratio_low, 1 + o.clip_ratio_high);
  Clipped c{-advantage * ratio, -advantage, false, false, false};
  if (-advantage * bounded > c.loss) {
    c = {-advantage * bounded, 0, advantage<0, advantage> 0, false};
  }
  if (o.clip_ratio_c > 0 && advantage < 0 && -advantage * o.clip_ratio_c < c.loss) {
    c.loss = -advantage * o.clip_ratio_c, c.by_ratio = 0, c.dual = true;
  }
  return c;
}

struct Weight {
  double value;
  bool cut;
};

Weight importance_weight(const GrpoOptions& o, double old_logprob, double behav_logprob) {
  if (!o.rollout_is && !o.use_decoupled_loss) return {1, false};
  const double w = std::exp(clamp_log(old_logprob - behav_logprob));
  if (o.rollout_is) return {std::min(w, o.rollout_is_threshold), w > o.rollout_is_threshold};
  const bool cut = o.behav_imp_weight_cap > 0 && w > o.behav_imp_weight_cap;
  return {cut ? 0 : w, cut};
}

struct Kl {
  double value, by_logprob;
};

Kl kl_estimate(KlEstimator estimator, double logprob, double ref_logprob) {
  const double raw = logprob - ref_logprob, d = clamp_log(raw), slope = inside(raw) ? 1 : 0;
  switch (estimator) {
    case KlEstimator::k1:
      return {d, slope};
    case KlEstimator::k2:
      return {d * d / 2, slope * d};
    case KlEstimator::k3:
      return {std::exp(-d) + d - 1, slope * (1 - std::exp(-d))};
  }
  return {0, 0};
}

}  // namespace

void LossSums::add(const LossSums& other) {
  LossSums copy = other;
  for (size_t i = 0; i < kFields; ++i) values()[i] += copy.values()[i];
}

void check_grpo_options(const GrpoOptions& o, const std::string& where) {
  if (o.rollout_is && o.use_decoupled_loss)
    fail_usage("{}: rollout_is and use_decoupled_loss both weigh by old / sampler's probability; choose one",
               where);
  if (o.clip_ratio_c > 0 && o.clip_ratio_c <= 1 + o.clip_ratio_high)
    fail_usage("{}: clip_ratio_c = {} must be more than 1 + clip_ratio_high = {}", where, o.clip_ratio_c,
               1 + o.clip_ratio_high);
}

template <class Real>
LossSums grpo_loss(const GrpoOptions& o, double loss_scale, const LossInputs<Real>& in,
                   const LossCounts& counts, std::span<Real> grad_logprobs, std::span<Real> grad_entropy) {
  LossSums sums;
  const bool by_sequence = o.importance_sampling_level == ImportanceLevel::sequence;
  const double per_token = 1 / counts.tokens, per_sequence = 1 / counts.sequences;
  for (size_t s = 0; s + 1 < in.cu_tokens.size(); ++s) {
    const int64_t begin = in.cu_tokens[s], end = in.cu_tokens[s + 1], n = end - begin;
    if (n == 0) continue;
    const double advantage = in.advantages[s];
    double agg = per_token;
    switch (o.loss_agg_mode) {
      case LossAggMode::token_mean:
        break;
      case LossAggMode::seq_mean_token_sum:
        agg = per_sequence;
        break;
      case LossAggMode::seq_mean_token_mean:
        agg = per_sequence / static_cast<double>(n);
        break;
      case LossAggMode::seq_mean_token_sum_norm:
        agg = per_sequence / loss_scale;
        break;
    }

    // Sequence level: one ratio and one clip decision for all its tokens; each moves the mean log ratio by
    // 1/n.
    double sequence_log_ratio = 0, by_shared_ratio = 0;
    Clipped clip{};
    if (by_sequence) {
      for (int64_t t = begin; t < end; ++t)
        sequence_log_ratio += static_cast<double>(in.logprobs[t]) - static_cast<double>(in.old_logprobs[t]);
      sequence_log_ratio /= static_cast<double>(n);
      clip = clipped_loss(o, std::exp(clamp_log(sequence_log_ratio)), advantage);
    }

    for (int64_t t = begin; t < end; ++t) {
      const double logprob = in.logprobs[t], old_logprob = in.old_logprobs[t];
      const double log_ratio = by_sequence ? sequence_log_ratio : logprob - old_logprob;
      const double ratio = std::exp(clamp_log(log_ratio));
      if (!by_sequence) clip = clipped_loss(o, ratio, advantage);
      const Weight weight = importance_weight(o, old_logprob, in.behav_logprobs[t]);
      const double by_log_ratio = inside(log_ratio) ? agg * weight.value * clip.by_ratio * ratio : 0;
      double grad = by_sequence ? 0 : by_log_ratio;
      by_shared_ratio += by_log_ratio;
      sums.policy_loss += agg * weight.value * clip.loss;

      if (!in.ref_logprobs.empty()) {
        const Kl kl = kl_estimate(o.kl_estimator, logprob, in.ref_logprobs[t]);
        sums.kl += kl.value;
        sums.kl_loss += agg * o.kl_loss_coef * kl.value;
        grad += agg * o.kl_loss_coef * kl.by_logprob;
      }
      if (!in.entropy.empty()) {
        sums.entropy += in.entropy[t];
        sums.entropy_loss -= o.entropy_coef * per_token * in.entropy[t];
        if (!grad_entropy.empty()) grad_entropy[t] = static_cast<Real>(-o.entropy_coef * per_token);
      }
      grad_logprobs[t] = static_cast<Real>(grad);

      sums.approx_kl += old_logprob - logprob;
      sums.ratio += ratio;
      sums.is_weight += weight.value;
      sums.is_cut += weight.cut;
      sums.clip_low += clip.low;
      sums.clip_high += clip.high;
      sums.clip_dual += clip.dual;
    }
    if (by_sequence)
      for (int64_t t = begin; t < end; ++t)
        grad_logprobs[t] += static_cast<Real>(by_shared_ratio / static_cast<double>(n));
    sums.tokens += static_cast<double>(n);
  }
  sums.loss = sums.policy_loss + sums.kl_loss + sums.entropy_loss;
  return sums;
}

template LossSums grpo_loss<float>(const GrpoOptions&, double, const LossInputs<float>&, const LossCounts&,
                                   std::span<float>, std::span<float>);
template LossSums grpo_loss<double>(const GrpoOptions&, double, const LossInputs<double>&, const LossCounts&,
                                    std::span<double>, std::span<double>);

namespace {

struct Moments {
  double mean = 0, deviation = 0;
};

Moments moments(std::span<const double> values) {
  double sum = 0, squares = 0;
  size_t n = 0;
  for (double x : values)
    if (!std::isnan(x)) sum += x, ++n;
  if (n == 0) return {};
  const double mean = sum / static_cast<double>(n);
  for (double x : values)
    if (!std::isnan(x)) squares += (x - mean) * (x - mean);
  return {mean, n > 1 ? std::sqrt(squares / static_cast<double>(n - 1)) : 0};
}

}  // namespace

std::vector<std::vector<double>> advantages(ScaleRewards scale, std::span<const GroupRewards> groups) {
  constexpr double kEpsilon = 1e-4;
  double batch_deviation = 0;
  if (scale == ScaleRewards::batch) {
    std::vector<double> all;
    for (const GroupRewards& g : groups) all.insert(all.end(), g.rewards.begin(), g.rewards.end());
    batch_deviation = moments(all).deviation;
  }
  std::vector<std::vector<double>> out;
  for (const GroupRewards& g : groups) {
    const Moments m = moments(g.rewards);
    double divisor = 1;
    if (scale == ScaleRewards::group) divisor = m.deviation + kEpsilon;
    if (scale == ScaleRewards::batch) divisor = batch_deviation + kEpsilon;
    std::vector<double>& a = out.emplace_back();
    for (double r : g.rewards) a.push_back(std::isnan(r) ? 0 : (r - m.mean) / divisor);
  }
  return out;
}

void MismatchSums::add(uint32_t lag, double learner_logprob, double sampler_logprob) {
  if (lag >= kl.size()) kl.resize(lag + 1), max_abs.resize(lag + 1), tokens.resize(lag + 1);
  const double d = clamp_log(learner_logprob - sampler_logprob);
  kl[lag] += std::exp(d) - 1 - d;
  max_abs[lag] = std::max(max_abs[lag], std::abs(d));
  tokens[lag] += 1;
}

}  // namespace cohort
