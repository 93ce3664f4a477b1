// From verdicts to numbers.
#pragma once

#include <vector>

#include "actors/options.h"
#include "transport/verdict.h"

namespace cohort {

// A fault of ours in any part: the sum would be no reward of the candidate's.
bool has_infra_error(const std::vector<RewardPart>& parts);
// The first infra_error's reason, "" if there is none.
std::string infra_reason(const std::vector<RewardPart>& parts);
double total_reward(const std::vector<RewardPart>& parts);  // sum of weight * score

// OverlongBuffer's penalty as a part of its own, weight 1.
RewardPart overlong_part(const OverlongBuffer& options, uint32_t tokens, uint32_t max_tokens);

// All rewards equal (to 1e-9): the group's advantages are all 0 and it teaches nothing.
bool zero_variance(const std::vector<double>& rewards);

struct Interval {
  double mean = 0, low = 0, high = 0;
};
// 95% interval of pass@1 from per-prompt numbers of passes out of `samples` each. Prompts are the independent
// unit: one sample each, Wilson's interval; more, the normal interval of the per-prompt means, never narrower
// than Wilson's for all completions as one.
Interval pass_at_1(const std::vector<uint32_t>& passes, uint32_t samples);

}  // namespace cohort
