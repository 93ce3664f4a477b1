// Sampler: known-answer vectors for the generator, and draws against distributions computed the slow, obvious
// way.
#include "rollout/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <set>

#include "transport/base/error.h"
#include "transport/base/measure.h"

namespace cohort {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// From the Random123 distribution's known-answer file (philox4x32, 10 rounds).
TEST(Philox, KnownAnswers) {
  using Words = std::array<uint32_t, 4>;
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint32_t f = 0xffffffff;
  EXPECT_EQ(philox4x32({f, f, f, f}, {f, f}), (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(UniformAt, DependsOnEveryArgumentAndIsUniform) {
  std::set<double> seen;
  for (uint64_t seed : {1ull, 2ull, 1ull << 40})
    for (GroupId group : {1ull, 2ull, 1ull << 40})
      for (uint32_t index : {0u, 1u})
        for (uint32_t position : {0u, 1u}) {
          const double u = uniform_at(seed, group, index, position);
          EXPECT_GT(u, 0);
          EXPECT_LT(u, 1);
          EXPECT_EQ(u, uniform_at(seed, group, index, position));
          seen.insert(u);
        }
  EXPECT_EQ(seen.size(), 36u);
  std::vector<int> bins(100);
  for (uint32_t i = 0; i < 100000; ++i) ++bins[size_t(100 * uniform_at(7, 3, i / 500, i % 500))];
  double chi2 = 0;
  for (int b : bins) chi2 += (b - 1000.0) * (b - 1000.0) / 1000;
  EXPECT_LT(chi2, 149);  // 99 degrees of freedom: p = 0.001
}

// The distribution by definition, in double, with full sorts.
std::vector<double> exact(const std::vector<float>& logits, const SamplingParams& p) {
  const size_t n = logits.size();
  std::vector<double> w(n);
  double max = -INFINITY;
  for (float l : logits)
    if (!std::isnan(l)) max = std::max(max, double(l));
  for (size_t i = 0; i < n; ++i)
    w[i] = std::isnan(logits[i]) ? 0 : std::exp((double(logits[i]) - max) / p.temperature);
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return w[a] > w[b]; });
  if (p.top_k > 0 && size_t(p.top_k) < n) {
    const double kth = w[order[size_t(p.top_k) - 1]];
    for (double& x : w)
      if (x < kth) x = 0;
  }
  if (p.top_p < 1) {
    const double total = std::accumulate(w.begin(), w.end(), 0.0);
    double sum = 0;
    for (size_t i : order) {
      if (sum > 0 && sum >= p.top_p * total) w[i] = 0;
      sum += w[i];
    }
  }
  if (p.min_p > 0) {
    const double top = *std::max_element(w.begin(), w.end());
    for (double& x : w)
      if (x < p.min_p * top) x = 0;
  }
  const double total = std::accumulate(w.begin(), w.end(), 0.0);
  for (double& x : w) x /= total;
  return w;
}

std::vector<float> random_logits(size_t n, uint64_t seed, float spread) {
  std::mt19937_64 rng(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> l(n);
  for (float& x : l) x = normal(rng);
  return l;
}

// Upper 0.0001 quantile of chi-square by Wilson and Hilferty: the draws are fixed, so this cannot be flaky.
double chi2_limit(double df) {
  const double z = 3.719;
  const double t = 1 - 2 / (9 * df) + z * std::sqrt(2 / (9 * df));
  return df * t * t * t;
}

struct Case {
  double temperature, top_p;
  int top_k;
  double min_p;
};

TEST(Sample, DrawsTheExactDistributionForEveryCombination) {
  for (size_t n : {5u, 64u, 120u, 1000u}) {
    const std::vector<float> logits = random_logits(n, n, 2);
    for (double temperature : {0.6, 1.0, 1.7})
      for (double top_p : {1.0, 0.9, 0.3})
        for (int top_k : {0, 1, 4, 50})
          for (double min_p : {0.0, 0.05}) {
            SamplingParams p{.temperature = temperature, .top_p = top_p, .top_k = top_k, .min_p = min_p};
            const std::vector<double> want = exact(logits, p);
            const int draws = 4000;
            std::vector<int> counts(n);
            std::vector<float> scratch;
            for (int i = 0; i < draws; ++i) {
              scratch = logits;
              const Sampled s = sample(scratch, p, uniform_at(11, n, uint32_t(i), 0));
              ASSERT_GE(s.token, 0);
              ASSERT_LT(size_t(s.token), n);
              ASSERT_GT(want[size_t(s.token)], 0) << "n " << n << " T " << temperature << " p " << top_p
                                                  << " k " << top_k << " m " << min_p << " token " << s.token;
              ASSERT_NEAR(s.logprob, std::log(want[size_t(s.token)]), 2e-6);
              ++counts[size_t(s.token)];
            }
            double chi2 = 0, df = -1, rest_want = 0, rest_seen = 0;
            for (size_t i = 0; i < n; ++i) {
              if (want[i] * draws >= 5) {
                chi2 += std::pow(counts[i] - want[i] * draws, 2) / (want[i] * draws);
                ++df;
              } else {
                rest_want += want[i] * draws;
                rest_seen += counts[i];
              }
            }
            if (rest_want >= 5) {
              chi2 += std::pow(rest_seen - rest_want, 2) / rest_want;
              ++df;
            }
            if (df < 1) continue;
            EXPECT_LT(chi2, chi2_limit(df)) << "n " << n << " T " << temperature << " p " << top_p << " k "
                                            << top_k << " m " << min_p << " df " << df;
          }
  }
}

// Every quantile of the cumulative distribution in the order of ids lands on the token it should.
TEST(Sample, IsTheInverseOfTheCumulativeDistribution) {
  for (const Case& c : {Case{1, 1, 0, 0}, Case{0.7, 0.95, 0, 0}, Case{1, 1, 40, 0},
                        Case{1.3, 0.99, 3000, 0.001}, Case{1, 1, 0, 0.01}}) {
    const size_t n = 5003;
    const std::vector<float> logits = random_logits(n, 5, 3);
    const SamplingParams p{
        .temperature = c.temperature, .top_p = c.top_p, .top_k = c.top_k, .min_p = c.min_p};
    const std::vector<double> want = exact(logits, p);
    double before = 0;
    for (size_t i = 0; i < n; ++i) {
      if (want[i] > 1e-5) {
        std::vector<float> scratch = logits;
        EXPECT_EQ(size_t(sample(scratch, p, before + want[i] / 2).token), i);
      }
      before += want[i];
    }
  }
}

TEST(Sample, LargeVocabularyAgreesWithTheDefinition) {
  const size_t n = 150001;
  for (float spread : {0.0f, 1.0f, 4.0f}) {
    const std::vector<float> logits = random_logits(n, 9, spread);
    for (const Case& c : {Case{1, 1, 0, 0}, Case{1, 0.9, 0, 0}, Case{0.8, 1, 50, 0}, Case{1, 0.5, 20000, 0},
                          Case{1, 1, 0, 0.1}, Case{1, 0.999999, 100, 0.02}}) {
      const SamplingParams p{
          .temperature = c.temperature, .top_p = c.top_p, .top_k = c.top_k, .min_p = c.min_p};
      const std::vector<double> want = exact(logits, p);
      for (uint32_t i = 0; i < 20; ++i) {
        std::vector<float> scratch = logits;
        const Sampled s = sample(scratch, p, uniform_at(1, 1, i, 0));
        ASSERT_GT(want[size_t(s.token)], 0)
            << "spread " << spread << " top_p " << c.top_p << " top_k " << c.top_k;
        // where thousands of near-equal tokens meet the cut, float sums may move it by a few of them
        EXPECT_NEAR(s.logprob, std::log(want[size_t(s.token)]), c.top_p < 1 ? 2e-4 : 2e-6);
      }
    }
  }
}

TEST(Sample, ExtremesOfTheUniformStayInTheSupport) {
  const std::vector<float> logits = {-kInf, 0, kNan, 1, -200, -kInf};
  for (const Case& c : {Case{1, 1, 0, 0}, Case{1, 0.99, 0, 0}, Case{1, 1, 3, 0}, Case{1, 1, 0, 1e-9}})
    for (double u : {1e-17, 0.5, 1 - 1e-16}) {
      std::vector<float> scratch = logits;
      const SamplingParams p{
          .temperature = c.temperature, .top_p = c.top_p, .top_k = c.top_k, .min_p = c.min_p};
      const int32_t token = sample(scratch, p, u).token;
      EXPECT_TRUE(token == 1 || token == 3) << token;
    }
}

TEST(Sample, GreedyTakesTheLowestIdOnATieAndReportsTheFullDistribution) {
  std::vector<float> logits = {0, 3, -1, 3, 3, 2};
  const SamplingParams p{.temperature = 0, .top_p = 0.1, .top_k = 1};
  const SamplingParams one{.temperature = 1};
  const double want = std::log(exact(logits, one)[1]);
  const Sampled s = sample(logits, p, 0.99);
  EXPECT_EQ(s.token, 1);
  EXPECT_NEAR(s.logprob, want, 1e-6);
}

TEST(Sample, TiesWithTheKthStay) {
  std::set<int32_t> seen;
  for (uint32_t i = 0; i < 200; ++i) {
    std::vector<float> logits = {1, 2, 1, 0, 1};
    seen.insert(sample(logits, {.top_k = 2}, uniform_at(1, 1, i, 0)).token);
  }
  EXPECT_EQ(seen, (std::set<int32_t>{0, 1, 2, 4}));
}

TEST(Sample, TopPCutsATieAtTheLowestIds) {
  std::set<int32_t> seen;
  for (uint32_t i = 0; i < 200; ++i) {
    std::vector<float> logits(8, 0.5f);
    seen.insert(sample(logits, {.top_p = 0.375}, uniform_at(1, 1, i, 0)).token);
  }
  EXPECT_EQ(seen, (std::set<int32_t>{0, 1, 2}));
}

TEST(Sample, NanAndInfinities) {
  std::vector<float> some = {kNan, -kInf, 2, kNan};
  const Sampled s = sample(some, {}, 0.3);
  EXPECT_EQ(s.token, 2);
  EXPECT_NEAR(s.logprob, 0, 1e-6);
  std::vector<float> plus = {0, kInf, 1, kInf};
  const Sampled t = sample(plus, {}, 0.9);
  EXPECT_EQ(t.token, 3);
  EXPECT_NEAR(t.logprob, std::log(0.5), 1e-6);
  std::vector<float> none = {kNan, kNan, -kInf};
  EXPECT_THROW(sample(none, {}, 0.5), Error);
}

TEST(Sample, LogProbsOfALongFlatVocabularyStayAccurate) {
  std::vector<float> logits(128256, -3.25f);
  EXPECT_NEAR(sample(logits, {}, 0.77).logprob, -std::log(128256.0), 2e-6);
}

// Not a benchmark: catches a full sort or a scalar exp creeping in (a sort of 150k takes 10 ms and more).
TEST(Sample, LargeVocabularyIsFast) {
  const std::vector<float> logits = random_logits(151936, 3, 3);
  for (const Case& c : {Case{1, 1, 0, 0}, Case{1, 0.95, 0, 0}, Case{1, 1, 50, 0}, Case{1, 0.95, 50, 0}}) {
    const SamplingParams p{
        .temperature = c.temperature, .top_p = c.top_p, .top_k = c.top_k, .min_p = c.min_p};
    double best = 1;
    for (uint32_t i = 0; i < 20; ++i) {
      std::vector<float> scratch = logits;
      const auto began = std::chrono::steady_clock::now();
      sample(scratch, p, uniform_at(1, 2, i, 0));
      best = std::min(best, seconds_since(began));
    }
    ::testing::Test::RecordProperty("microseconds", int(best * 1e6));
    std::printf("top_p %.2f top_k %d: %.0f us\n", c.top_p, c.top_k, best * 1e6);
#if defined(NDEBUG) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    EXPECT_LT(best, 5e-3);
#endif
  }
}

}  // namespace
}  // namespace cohort
