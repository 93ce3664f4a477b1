#include "rollout/pass_at_k.h"

#include <gtest/gtest.h>

#include <cmath>

namespace cohort {
namespace {

// By counting subsets.
double by_enumeration(int n, int c, int k) {
  int hit = 0, all = 0;
  for (unsigned set = 0; set < 1u << n; ++set) {
    if (__builtin_popcount(set) != k) continue;
    ++all;
    hit += (set & ((1u << c) - 1)) != 0;
  }
  return double(hit) / all;
}

TEST(PassAtK, EqualsCountingSubsets) {
  for (int n = 1; n <= 10; ++n)
    for (int c = 0; c <= n; ++c)
      for (int k = 1; k <= n; ++k) EXPECT_NEAR(pass_at_k(n, c, k), by_enumeration(n, c, k), 1e-12);
  EXPECT_NEAR(pass_at_k(200, 13, 100), 0.9999194972, 1e-9);  // 1 - C(187,100)/C(200,100)
}

TEST(Majority, VotesTiesAndSilence) {
  EXPECT_EQ(majority({}), 0);
  EXPECT_EQ(majority({{"", true}, {"", true}}), 0);
  EXPECT_EQ(majority({{"3", true}, {"3", true}, {"4", false}}), 1);
  EXPECT_EQ(majority({{"3", true}, {"4", false}, {"4", false}, {"", true}, {"", true}}), 0);
  EXPECT_EQ(majority({{"3", true}, {"4", false}}), 0.5);
}

TEST(Intervals, BootstrapOverProblemsAndWilsonWhereTheyAgree) {
  std::vector<double> values;
  for (int i = 0; i < 400; ++i) values.push_back(i % 4 == 0);
  const Estimate e = mean_over_problems(values);
  EXPECT_NEAR(e.value, 0.25, 1e-12);
  const double half = 1.96 * std::sqrt(0.25 * 0.75 / 400);
  EXPECT_NEAR(e.low, 0.25 - half, 0.006);
  EXPECT_NEAR(e.high, 0.25 + half, 0.006);
  const Estimate again = mean_over_problems(values);
  EXPECT_EQ(e.low, again.low);
  EXPECT_EQ(e.high, again.high);
  const Estimate none = mean_over_problems(std::vector<double>(20, 0.0));
  EXPECT_EQ(none.low, 0);
  EXPECT_NEAR(none.high, 0.1611, 1e-3);  // Wilson, 0 of 20
  const Estimate all = mean_over_problems(std::vector<double>(20, 1.0));
  EXPECT_NEAR(all.low, 1 - 0.1611, 1e-3);
  EXPECT_EQ(all.high, 1);
}

TEST(Answer, IsTheLastOneWithoutSpace) {
  EXPECT_EQ(extract_answer("<answer>1</answer> <answer> ( 3 * 1 ) + 6 </answer>"), "(3*1)+6");
  EXPECT_EQ(extract_answer("so \\boxed{1} and \\boxed{\\frac{1}{2}} ."), "\\frac{1}{2}");
  EXPECT_EQ(extract_answer("text #### 1,234\n"), "1,234");
  EXPECT_EQ(extract_answer("nothing"), "");
  EXPECT_EQ(extract_answer("\\boxed{1"), "");
}

}  // namespace
}  // namespace cohort
