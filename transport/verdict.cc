#include "transport/verdict.h"

#include <array>

#include "transport/base/error.h"
#include "transport/messages.h"

namespace cohort {
namespace {
constexpr std::array<const char*, 12> kVerdicts = {
    "passed",           "failed",           "no_answer",       "compile_error", "candidate_timeout",
    "candidate_memory", "candidate_output", "candidate_crash", "unknown",       "infra_error",
    "cancelled",        "budget_exhausted"};
static_assert(static_cast<size_t>(VerdictKind::budget_exhausted) + 1 == kVerdicts.size());
constexpr std::array<const char*, 4> kRoles = {"rollout", "reward", "learner", "observer"};
static_assert(static_cast<size_t>(Role::observer) + 1 == kRoles.size());
}  // namespace

const char* to_string(VerdictKind kind) {
  return kVerdicts.at(static_cast<size_t>(kind));
}

VerdictKind verdict_kind_from(const std::string& name) {
  for (size_t i = 0; i < kVerdicts.size(); ++i)
    if (name == kVerdicts[i]) return static_cast<VerdictKind>(i);
  std::string nearest = nearest_name(name, {kVerdicts.begin(), kVerdicts.end()});
  fail("'{}' is not a verdict{}", name, nearest.empty() ? "" : " (did you mean '" + nearest + "'?)");
}

const char* to_string(Role role) {
  return kRoles.at(static_cast<size_t>(role));
}

}  // namespace cohort
