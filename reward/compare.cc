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
  if (token.empty() || token.size() > 400) return {};
  const std::string text(token);
  if (text.find_first_of("xXpP(") != std::string::npos) return {};  // hexadecimal and nan(…) are not meant
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (end != text.c_str() + text.size()) return {};
  return value;
}

// "+007" as "7", "-0" as "0"; nothing when it is no whole number.
std::optional<std::string> whole_number(std::string_view token) {
  const bool negative = token.starts_with('-');
  if (negative || token.starts_with('+')) token.remove_prefix(1);
  if (token.empty() || !std::all_of(token.begin(), token.end(), [](char c) { return c >= '0' && c <= '9'; }))
    return {};
  token.remove_prefix(std::min(token.find_first_not_of('0'), token.size()));
  if (token.empty()) return "0";
  return (negative ? "-" : "") + std::string(token);
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

bool same_number(std::string_view expected, std::string_view actual, Tolerance tolerance) {
  const auto want = whole_number(expected), have = whole_number(actual);
  if (want && have) return *want == *have;
  const std::optional<double> x = as_double(expected), y = as_double(actual);
  if (!x || !y) return false;
  if (std::isnan(*x) || std::isnan(*y)) return std::isnan(*x) && std::isnan(*y);
  if (std::isinf(*x) || std::isinf(*y)) return *x == *y;
  const double gap = std::fabs(*x - *y);
  // past 2^53 neighbouring whole numbers are the same double, whose own digits tell
  if ((want || have) && std::fabs(*x) >= 0x1p53) return fmt::format("{:.0f}", want ? *y : *x) == (want ? *want : *have);
  if (gap <= tolerance.absolute) return true;
  return !want && !have && gap <= tolerance.relative * std::fabs(*x);
}

std::string compare_outputs(std::string_view expected, std::string_view actual, OutputCompare how,
                            Tolerance tolerance) {
  if (how == OutputCompare::exact) {
    if (expected == actual) return "";
    const auto [e, a] = std::mismatch(expected.begin(), expected.end(), actual.begin(), actual.end());
    return fmt::format("differs at byte {}", e - expected.begin() + 1);
  }
  if (how == OutputCompare::lines || how == OutputCompare::unordered_lines) {
    std::vector<std::string_view> want = split_lines(expected), have = split_lines(actual);
    if (how == OutputCompare::unordered_lines) {
      if (want.size() != have.size())
        return fmt::format("has {} lines instead of {}", have.size(), want.size());
      std::sort(want.begin(), want.end()), std::sort(have.begin(), have.end());
      return want == have ? "" : "has other lines";
    }
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
    if (want != have && (how != OutputCompare::floats || !same_number(want, have, tolerance)))
      return fmt::format("differs at word {}", n);
  }
}

}  // namespace cohort
