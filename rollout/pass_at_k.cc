#include "rollout/pass_at_k.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "rollout/sampler.h"

namespace cohort {

double pass_at_k(int n, int c, int k) {
  if (n - c < k) return 1;
  double all_wrong = 1;
  for (int i = n - c + 1; i <= n; ++i) all_wrong *= 1 - double(k) / i;
  return 1 - all_wrong;
}

double majority(const std::vector<Vote>& votes) {
  struct Count {
    int votes = 0, right = 0;
  };
  std::map<std::string, Count> counts;
  for (const Vote& v : votes) {
    if (v.answer.empty()) continue;
    ++counts[v.answer].votes;
    counts[v.answer].right += v.correct;
  }
  int most = 0;
  for (const auto& [answer, count] : counts) most = std::max(most, count.votes);
  if (most == 0) return 0;
  double tied = 0, right = 0;
  for (const auto& [answer, count] : counts) {
    if (count.votes < most) continue;
    ++tied;
    right += 2 * count.right > count.votes;
  }
  return right / tied;
}

Estimate mean_over_problems(const std::vector<double>& values) {
  const size_t n = values.size();
  if (n == 0) return {0, 0, 1};
  double sum = 0;
  for (double v : values) sum += v;
  Estimate e{sum / double(n), 0, 0};
  if (std::all_of(values.begin(), values.end(), [&](double v) { return v == values[0]; })) {
    const double z = 1.959964, zn = z * z / double(n);
    const double center = (e.value + zn / 2) / (1 + zn);
    const double half = z / (1 + zn) * std::sqrt(e.value * (1 - e.value) / double(n) + zn / (4 * double(n)));
    e.low = std::clamp(center - half, 0.0, e.value), e.high = std::clamp(center + half, e.value, 1.0);
    return e;
  }
  constexpr uint32_t kResamples = 2000;
  std::vector<double> means(kResamples);
  for (uint32_t r = 0; r < kResamples; ++r) {
    double total = 0;
    for (size_t i = 0; i < n; ++i) total += values[size_t(uniform_at(1, r, 0, uint32_t(i)) * double(n))];
    means[r] = total / double(n);
  }
  std::sort(means.begin(), means.end());
  e.low = means[size_t(0.025 * kResamples)];
  e.high = means[size_t(0.975 * kResamples)];
  return e;
}

namespace {

std::string without_space(std::string_view text) {
  std::string out;
  for (char c : text)
    if (!std::isspace(static_cast<unsigned char>(c))) out += c;
  return out;
}

}  // namespace

std::string extract_answer(const std::string& completion) {
  const std::string open = "<answer>", close = "</answer>", boxed = "\\boxed{";
  if (const size_t end = completion.rfind(close); end != std::string::npos)
    if (const size_t begin = completion.rfind(open, end); begin != std::string::npos)
      return without_space(
          std::string_view(completion).substr(begin + open.size(), end - begin - open.size()));
  if (const size_t at = completion.rfind(boxed); at != std::string::npos) {
    const size_t begin = at + boxed.size();
    int depth = 1;
    for (size_t i = begin; i < completion.size(); ++i) {
      depth += completion[i] == '{' ? 1 : completion[i] == '}' ? -1 : 0;
      if (depth == 0) return without_space(std::string_view(completion).substr(begin, i - begin));
    }
    return "";
  }
  if (const size_t at = completion.rfind("####"); at != std::string::npos)
    return without_space(std::string_view(completion).substr(at + 4));
  return "";
}

}  // namespace cohort
