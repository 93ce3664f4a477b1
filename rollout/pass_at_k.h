// What n samples of each problem say about a policy: pass@k, maj@k and their 95% intervals. No I/O.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace cohort {

// Unbiased pass@k of one problem: the chance that k of its n samples, drawn without replacement, hold one of
// the c right ones; 1 - C(n-c, k) / C(n, k) (Chen et al. 2021). k <= n.
double pass_at_k(int n, int c, int k);

struct Vote {
  std::string answer;  // "" does not vote
  bool correct = false;
};
// Majority vote over one problem's samples: the share of right answers among the most frequent answers (ties
// are broken evenly); 0 when nobody votes. Samples with the same answer count as right when most of them are.
double majority(const std::vector<Vote>& votes);

struct Estimate {
  double value = 0, low = 0, high = 0;
};
// The mean over problems with the 95% percentile interval of 2,000 bootstrap resamples of the problems (fixed
// seed: the same values give the same interval). Problems, not samples, are resampled: samples of one problem
// are not independent. Where all problems have the same value a bootstrap has no width, and Wilson's interval
// for that share of successes is given. No values: 0 with [0, 1].
Estimate mean_over_problems(const std::vector<double>& values);

// The answer a completion gives, in a form in which equal answers are mostly equal texts: the last
// <answer>…</answer>, the last \boxed{…} or what follows the last ####, without white space. "" when there is
// none.
std::string extract_answer(const std::string& completion);

}  // namespace cohort
