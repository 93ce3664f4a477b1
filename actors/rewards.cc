#include "actors/rewards.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

namespace cohort {

bool has_infra_error(const std::vector<RewardPart>& parts) {
  return std::any_of(parts.begin(), parts.end(),
                     [](const RewardPart& p) { return is_no_reward(p.verdict.kind); });
}

std::string infra_reason(const std::vector<RewardPart>& parts) {
  for (const RewardPart& p : parts)
    if (is_no_reward(p.verdict.kind))
      return fmt::format("{}: {}", p.name,
                         p.verdict.reason.empty() ? to_string(p.verdict.kind) : p.verdict.reason);
  return "";
}

double total_reward(const std::vector<RewardPart>& parts) {
  double sum = 0;
  for (const RewardPart& p : parts) sum += p.weight * p.verdict.score;
  return sum;
}

RewardPart overlong_part(const OverlongBuffer& options, uint32_t tokens, uint32_t max_tokens) {
  RewardPart part{"overlong_buffer", 1.0, {}};
  part.verdict.score = options.penalty(tokens, max_tokens);
  part.verdict.kind = part.verdict.score < 0 ? VerdictKind::failed : VerdictKind::passed;
  if (part.verdict.score < 0)
    part.verdict.reason = fmt::format("{} tokens into the last {}",
                                      int64_t{tokens} - (int64_t{max_tokens} - options.len), options.len);
  part.verdict.evidence = fmt::format("{{\"tokens\":{},\"max_tokens\":{}}}", tokens, max_tokens);
  return part;
}

bool zero_variance(const std::vector<double>& rewards) {
  if (rewards.empty()) return true;
  const auto [low, high] = std::minmax_element(rewards.begin(), rewards.end());
  return *high - *low < 1e-9;
}

Interval pass_at_1(const std::vector<uint32_t>& passes, uint32_t samples) {
  const double n = static_cast<double>(passes.size()), m = samples, z = 1.959964;
  if (passes.empty() || samples == 0) return {0, 0, 1};
  double sum = 0;
  for (uint32_t p : passes) sum += p;
  const double mean = sum / (n * m);
  auto wilson = [&](double count) -> Interval {
    const double center = (mean + z * z / (2 * count)) / (1 + z * z / count);
    const double half =
        z / (1 + z * z / count) * std::sqrt(mean * (1 - mean) / count + z * z / (4 * count * count));
    return {mean, std::max(0.0, center - half), std::min(1.0, center + half)};
  };
  if (samples == 1 || passes.size() < 2) return wilson(n);
  double squares = 0;
  for (uint32_t p : passes) squares += (p / m - mean) * (p / m - mean);
  const double half = z * std::sqrt(squares / (n - 1) / n);
  const Interval all = wilson(n * m);
  return {mean, std::max(0.0, std::min(mean - half, all.low)),
          std::min(1.0, std::max(mean + half, all.high))};
}

}  // namespace cohort
