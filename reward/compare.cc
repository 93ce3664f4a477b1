#include "reward/compare.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <optional>

namespace cohort {
namespace {

constexpr std::string_view kBlank = " \t\r\n\f\v";

// The next word from `at` on; empty at the end.
std::string_view next_token(std::string_view text, size_t& at) {
  const size_t begin = std::min(text.find_first_not_of(kBlank, at), text.size());
  at = std::min(text.find_first_of(kBlank, begin), text.size());
  return text.substr(begin, at - begin);
}

std::optional<double> as_double(std::string_view token) {
  if (token.size() > 400) return {};
  const std::string text(token);
  if (text.find_first_of("xXpP") != std::string::npos) return {};  // hexadecimal is not meant
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (end != text.c_str() + text.size() || text.empty()) return {};
  return value;
}

bool is_whole(std::string_view token) {
  if (!token.empty() && (token[0] == '-' || token[0] == '+')) token.remove_prefix(1);
  return !token.empty() &&
         std::all_of(token.begin(), token.end(), [](char c) { return c >= '0' && c <= '9'; });
}

bool near(std::string_view a, std::string_view b, Tolerance tolerance) {
  if (a == b) return true;
  if (is_whole(a) && is_whole(b)) return false;
  const std::optional<double> x = as_double(a), y = as_double(b);
  if (!x || !y) return false;
  if (std::isnan(*x) || std::isnan(*y)) return std::isnan(*x) && std::isnan(*y);
  if (std::isinf(*x) || std::isinf(*y)) return *x == *y;
  const double gap = std::fabs(*x - *y);
  return gap <= tolerance.absolute || gap <= tolerance.relative * std::fabs(*x);
}

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    const size_t last = line.find_last_not_of(" \t\r");
    lines.push_back(last == std::string_view::npos ? std::string_view() : line.substr(0, last + 1));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  while (!lines.empty() && lines.back().empty()) lines.pop_back();
  return lines;
}

}  // namespace

std::string compare_outputs(std::string_view expected, std::string_view actual, OutputCompare how,
                            Tolerance tolerance) {
  if (how == OutputCompare::exact) {
    if (expected == actual) return "";
    const auto [e, a] = std::mismatch(expected.begin(), expected.end(), actual.begin(), actual.end());
    return fmt::format("differs at byte {}", e - expected.begin() + 1);
  }
  if (how == OutputCompare::lines) {
    const std::vector<std::string_view> want = split_lines(expected), have = split_lines(actual);
    for (size_t i = 0; i < std::min(want.size(), have.size()); ++i)
      if (want[i] != have[i]) return fmt::format("differs at line {}", i + 1);
    if (want.size() == have.size()) return "";
    return fmt::format("has {} lines instead of {}", have.size(), want.size());
  }
  size_t e = 0, a = 0;
  for (size_t n = 1;; ++n) {
    const std::string_view want = next_token(expected, e), have = next_token(actual, a);
    if (want.empty() && have.empty()) return "";
    if (have.empty()) return fmt::format("ends after {} words, too early", n - 1);
    if (want.empty()) return fmt::format("goes on after {} words", n - 1);
    if (how == OutputCompare::floats ? !near(want, have, tolerance) : want != have)
      return fmt::format("differs at word {}", n);
  }
}

}  // namespace cohort
