#include "learner/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace cohort {

double learning_rate_at(const OptimizerOptions& o, int64_t update, int64_t total_updates) {
  if (update < o.warmup_steps)
    return o.learning_rate * static_cast<double>(update + 1) / static_cast<double>(o.warmup_steps);
  if (o.lr_scheduler == Schedule::constant) return o.learning_rate;
  const double span = static_cast<double>(std::max<int64_t>(1, total_updates - o.warmup_steps));
  const double progress = std::min(1.0, static_cast<double>(update - o.warmup_steps) / span);
  const double share =
      o.lr_scheduler == Schedule::linear ? 1 - progress : (1 + std::cos(std::numbers::pi * progress)) / 2;
  return o.learning_rate * (o.min_lr_ratio + (1 - o.min_lr_ratio) * share);
}

double global_norm(std::span<const float> values) {
  // eight sums side by side: the compiler may use vector registers without changing the order of additions
  double sums[8] = {};
  size_t i = 0;
  for (; i + 8 <= values.size(); i += 8)
    for (size_t j = 0; j < 8; ++j)
      sums[j] += static_cast<double>(values[i + j]) * static_cast<double>(values[i + j]);
  for (; i < values.size(); ++i) sums[0] += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  double sum = 0;
  for (double s : sums) sum += s;
  return std::sqrt(sum);
}

AdamW::AdamW(const OptimizerOptions& options, const std::vector<TensorSpec>& tensors, int64_t total_updates)
    : options_(options), total_updates_(total_updates) {
  size_t elements = 0;
  for (const TensorSpec& t : tensors) {
    const size_t offset = t.offset / sizeof(float), count = t.bytes / sizeof(float);
    parts_.push_back({offset, count, t.shape.size() >= 2});
    elements = std::max(elements, offset + count);
  }
  first_.resize(elements);
  second_.resize(elements);
}

AdamW::Step AdamW::step(std::span<float> parameters, std::span<const float> gradients) {
  Step out;
  out.grad_norm = global_norm(gradients);
  out.learning_rate = learning_rate_at(options_, updates_, total_updates_);
  if (!std::isfinite(out.grad_norm)) {
    out.skipped = true;
    return out;
  }
  ++updates_;
  const double clip =
      options_.max_grad_norm > 0 ? std::min(1.0, options_.max_grad_norm / (out.grad_norm + 1e-6)) : 1;
  const double correct1 = 1 - std::pow(options_.adam_beta1, static_cast<double>(updates_));
  const double correct2 = 1 - std::pow(options_.adam_beta2, static_cast<double>(updates_));
  const float scale = static_cast<float>(clip), beta1 = static_cast<float>(options_.adam_beta1),
              beta2 = static_cast<float>(options_.adam_beta2),
              rest1 = static_cast<float>(1 - options_.adam_beta1),
              rest2 = static_cast<float>(1 - options_.adam_beta2),
              eps = static_cast<float>(options_.adam_eps),
              step_size = static_cast<float>(out.learning_rate / correct1),
              root2 = static_cast<float>(1 / std::sqrt(correct2));
  for (const Part& part : parts_) {
    const float keep = part.decay ? static_cast<float>(1 - out.learning_rate * options_.weight_decay) : 1.0f;
    float* __restrict p = parameters.data() + part.offset;
    float* __restrict m = first_.data() + part.offset;
    float* __restrict v = second_.data() + part.offset;
    const float* __restrict g = gradients.data() + part.offset;
    for (size_t i = 0; i < part.count; ++i) {
      const float grad = scale * g[i];
      m[i] = beta1 * m[i] + rest1 * grad;
      v[i] = beta2 * v[i] + rest2 * grad * grad;
      p[i] = keep * p[i] - step_size * m[i] / (std::sqrt(v[i]) * root2 + eps);
    }
  }
  return out;
}

}  // namespace cohort
