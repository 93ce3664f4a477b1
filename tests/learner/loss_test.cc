// The loss, the advantages and AdamW against golden values (tests/golden/make_loss_golden.py) and finite
// differences.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "learner/grpo_loss.h"
#include "learner/optimizer.h"

namespace cohort {
namespace {

using nlohmann::json;

const json& golden() {
  static const json instance = [] {
    std::ifstream file(COHORT_SOURCE_DIR "/tests/golden/loss.json");
    return json::parse(file);
  }();
  return instance;
}

// The golden file's options are the run file's: they take the same way in.
GrpoOptions options_of(const json& object) {
  std::string toml;
  for (const auto& [key, value] : object.items()) toml += key + " = " + value.dump() + "\n";
  GrpoOptions options;
  read_options(TomlTable::parse(toml, "golden"), options);
  return options;
}

struct Data {
  std::vector<int64_t> cu;
  std::vector<double> advantages, logprobs, old, behav, ref, entropy;
  double scale;
  LossInputs<double> inputs(const GrpoOptions& o) const {
    LossInputs<double> in{cu, advantages, logprobs, old, behav, {}, entropy};
    if (o.kl_loss_coef > 0) in.ref_logprobs = ref;
    return in;
  }
  LossCounts counts() const {
    return {static_cast<double>(logprobs.size()), static_cast<double>(advantages.size())};
  }
};

Data golden_data() {
  const json& g = golden();
  return {g["cu_tokens"], g["advantages"], g["logprobs"], g["old"],
          g["behav"],     g["ref"],        g["entropy"],  g["loss_scale"]};
}

TEST(GrpoLoss, EqualsTrlAndVerl) {
  const Data d = golden_data();
  ASSERT_GE(golden()["cases"].size(), 20u);
  for (const json& c : golden()["cases"]) {
    SCOPED_TRACE(c["source"].get<std::string>() + ": " + c["name"].get<std::string>());
    const GrpoOptions o = options_of(c["options"]);
    std::vector<double> grad(d.logprobs.size()), grad_entropy(o.entropy_coef != 0 ? grad.size() : 0);
    const LossSums sums = grpo_loss<double>(o, d.scale, d.inputs(o), d.counts(), grad, grad_entropy);
    EXPECT_NEAR(sums.loss, c["loss"].get<double>(), 1e-12);
    const double tolerance = c["source"] == "trl" ? 1e-12 : 1e-7;  // verl's are finite differences
    for (size_t i = 0; i < grad.size(); ++i)
      EXPECT_NEAR(grad[i], c["grad_logprobs"][i].get<double>(), tolerance) << i;
    if (c.contains("grad_entropy")) {
      for (size_t i = 0; i < grad.size(); ++i)
        EXPECT_NEAR(grad_entropy[i], c["grad_entropy"][i].get<double>(), 1e-14);
    }
    const auto metric = [&](const char* name, double value) {
      if (c["metrics"].contains(name)) {
        EXPECT_NEAR(value / sums.tokens, c["metrics"][name].get<double>(), 1e-6) << name;
      }
    };
    metric("kl", sums.kl);
    metric("entropy", sums.entropy);
    metric("clip_low", sums.clip_low);
    metric("clip_high", sums.clip_high);
    metric("clip", sums.clip_low + sums.clip_high);
    metric("clip_dual", sums.clip_dual);
    metric("approx_kl", sums.approx_kl);
  }
}

// Random options, random data: the closed-form gradient is the derivative of the loss that comes with it.
TEST(GrpoLoss, GradientsEqualFiniteDifferences) {
  std::mt19937 random(11);
  const auto uniform = [&](double low, double high) {
    return std::uniform_real_distribution<>(low, high)(random);
  };
  const auto one_of = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  size_t compared = 0;
  for (int round = 0; round < 300; ++round) {
    GrpoOptions o;
    o.loss_agg_mode = static_cast<LossAggMode>(one_of(4));
    o.importance_sampling_level = static_cast<ImportanceLevel>(one_of(2));
    o.kl_estimator = static_cast<KlEstimator>(one_of(3));
    o.kl_loss_coef = one_of(2) * 0.2;
    o.entropy_coef = one_of(2) * 0.1;
    o.clip_ratio_c = one_of(2) * 1.7;
    (one_of(2) ? o.rollout_is : o.use_decoupled_loss) = one_of(2);
    o.rollout_is_threshold = 1.2;
    o.behav_imp_weight_cap = one_of(2) * 1.5;
    Data d{{0}, {}, {}, {}, {}, {}, {}, 9};
    for (int s = 0; s < 4; ++s) {
      d.advantages.push_back(uniform(-2, 2));
      for (int t = one_of(5); t >= 0; --t) {
        d.old.push_back(uniform(-3, 0));
        d.logprobs.push_back(d.old.back() + uniform(-0.8, 0.8));
        d.behav.push_back(d.old.back() + uniform(-0.8, 0.8));
        d.ref.push_back(d.old.back() + uniform(-0.8, 0.8));
        d.entropy.push_back(uniform(0, 2));
      }
      d.cu.push_back(static_cast<int64_t>(d.old.size()));
    }
    const size_t n = d.old.size();
    std::vector<double> grad(n), grad_entropy(n), unused(n), unused2(n);
    const LossCounts counts{static_cast<double>(n) * 1.5,
                            7};  // more tokens and sequences exist on other ranks
    grpo_loss<double>(o, d.scale, d.inputs(o), counts, grad, grad_entropy);
    const auto check = [&](std::vector<double>& x, size_t i, double expected) {
      const double h = 1e-6, keep = x[i];
      const auto at = [&](double value) {
        x[i] = value;
        return grpo_loss<double>(o, d.scale, d.inputs(o), counts, unused, unused2);
      };
      const LossSums up = at(keep + h), down = at(keep - h);
      x[i] = keep;
      if (up.clip_low != down.clip_low || up.clip_high != down.clip_high || up.clip_dual != down.clip_dual)
        return;
      EXPECT_NEAR((up.loss - down.loss) / (2 * h), expected, 1e-7) << "round " << round << " element " << i;
      ++compared;
    };
    for (size_t i = 0; i < n; ++i) check(d.logprobs, i, grad[i]);
    if (o.entropy_coef != 0)
      for (size_t i = 0; i < n; ++i) check(d.entropy, i, grad_entropy[i]);
  }
  EXPECT_GT(compared, 3000u);
}

TEST(GrpoLoss, PiecesAddUpToTheWhole) {
  const Data d = golden_data();
  GrpoOptions o;
  o.kl_loss_coef = 0.1;
  for (LossAggMode mode : {LossAggMode::token_mean, LossAggMode::seq_mean_token_mean,
                           LossAggMode::seq_mean_token_sum, LossAggMode::seq_mean_token_sum_norm}) {
    o.loss_agg_mode = mode;
    std::vector<double> grad(d.logprobs.size()), none;
    LossSums whole = grpo_loss<double>(o, d.scale, d.inputs(o), d.counts(), grad, none), pieces;
    for (size_t s = 0; s + 1 < d.cu.size(); ++s) {
      LossInputs<double> in = d.inputs(o);
      in.cu_tokens = std::span(d.cu).subspan(s, 2);
      in.advantages = std::span(d.advantages).subspan(s, 1);
      std::vector<double> piece(grad.size());
      pieces.add(grpo_loss<double>(o, d.scale, in, d.counts(), piece, none));
      for (int64_t t = d.cu[s]; t < d.cu[s + 1]; ++t) EXPECT_DOUBLE_EQ(piece[t], grad[t]);
    }
    for (size_t i = 0; i < LossSums::kFields; ++i)
      EXPECT_NEAR(pieces.values()[i], whole.values()[i], 1e-12) << i;
  }
}

TEST(GrpoLoss, FarApartPoliciesStayFinite) {
  GrpoOptions o;
  o.rollout_is = true;
  o.kl_loss_coef = 1;
  const std::vector<int64_t> cu{0, 2};
  const std::vector<double> advantage{1}, logprobs{-90, 0}, old{0, -90}, behav{-200, 0}, ref{0, -200};
  std::vector<double> grad(2), none;
  const LossInputs<double> in{cu, advantage, logprobs, old, behav, ref, {}};
  const LossSums sums = grpo_loss<double>(o, 1, in, {2, 1}, grad, none);
  EXPECT_TRUE(std::isfinite(sums.loss));
  for (double g : grad) EXPECT_TRUE(std::isfinite(g));
}

TEST(GrpoLoss, RefusesOptionsWithoutMeaning) {
  const auto message = [](const char* toml) {
    try {
      GrpoOptions o;
      read_options(TomlTable::parse(toml, "run.toml"), o);
      check_grpo_options(o);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("accepted");
  };
  EXPECT_THAT(message("rollout_is = true\nuse_decoupled_loss = true"), testing::HasSubstr("choose one"));
  EXPECT_THAT(message("clip_ratio_c = 1.1"), testing::HasSubstr("clip_ratio_c"));
  EXPECT_THAT(message("clip_ratio_c = 0.5"), testing::HasSubstr("0 or more than 1"));
  EXPECT_THAT(message("loss_agg_mode = \"token_mean\""), testing::HasSubstr("token-mean"));
  EXPECT_THAT(message("clip_ration_low = 0.1"), testing::HasSubstr("clip_ratio_low"));
  EXPECT_EQ(message("clip_ratio_c = 3.0"), "accepted");
}

TEST(Advantages, EqualTrl) {
  for (const json& c : golden()["advantage_cases"]) {
    const ScaleRewards scale = value_named<ScaleRewards>(c["scale"].get<std::string>()).value();
    std::vector<GroupRewards> groups;
    for (const json& g : c["rewards"]) {
      groups.push_back({groups.size() + 1, {}});
      for (const json& r : g) groups.back().rewards.push_back(r.is_null() ? std::nan("") : r.get<double>());
    }
    const auto a = advantages(scale, groups);
    for (size_t g = 0; g < groups.size(); ++g)
      for (size_t i = 0; i < a[g].size(); ++i)
        EXPECT_NEAR(a[g][i], c["advantages"][g][i].get<double>(), 1e-7) << c["scale"] << g << i;
  }
}

TEST(Mismatch, ByLag) {
  MismatchSums m;
  m.add(0, -1.5, -1.5);
  m.add(2, -1.0, -1.25);
  ASSERT_EQ(m.kl.size(), 3u);
  EXPECT_EQ(m.kl[0], 0);
  EXPECT_NEAR(m.kl[2], std::exp(0.25) - 1.25, 1e-15);
  EXPECT_EQ(m.tokens[1], 0);
}

TEST(OverlongBuffer, GrowsToTheFactor) {
  OverlongBuffer b{true, 20, 0.5};
  EXPECT_EQ(b.penalty(80, 100), 0);
  EXPECT_DOUBLE_EQ(b.penalty(90, 100), -0.25);
  EXPECT_DOUBLE_EQ(b.penalty(100, 100), -0.5);
}

// A matrix and a norm weight with a gap between them, as in the flat layout.
std::vector<TensorSpec> two_tensors() {
  return {{"matrix", DType::f32, {5, 4}, 0, 80}, {"norm", DType::f32, {7}, 128, 28}};
}

std::vector<float> flat_of(const json& pair) {
  std::vector<float> flat(39, 0);
  for (size_t i = 0; i < 20; ++i) flat[i] = pair[0][i];
  for (size_t i = 0; i < 7; ++i) flat[32 + i] = pair[1][i];
  return flat;
}

TEST(AdamW, EqualsTorch) {
  for (const json& c : golden()["adamw"]) {
    OptimizerOptions o;
    o.learning_rate = 0.03, o.adam_beta2 = 0.95;
    o.weight_decay = c["weight_decay"], o.max_grad_norm = c["max_grad_norm"];
    AdamW optimizer(o, two_tensors(), 0);
    std::vector<float> parameters = flat_of(c["start"]);
    for (const json& step : c["steps"]) {
      const auto got = optimizer.step(parameters, flat_of(step["gradients"]));
      EXPECT_NEAR(got.grad_norm, step["grad_norm"].get<double>(), 1e-5 * got.grad_norm);
      const std::vector<float> expected = flat_of(step["parameters"]);
      for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(parameters[i], expected[i], 5e-7) << i;
    }
  }
}

TEST(AdamW, SkipsAGradientThatIsNotFinite) {
  AdamW optimizer({}, two_tensors(), 0);
  std::vector<float> parameters(39, 1), gradients(39, 0.5f), before = parameters;
  gradients[3] = INFINITY;
  EXPECT_TRUE(optimizer.step(parameters, gradients).skipped);
  EXPECT_EQ(parameters, before);
  EXPECT_EQ(optimizer.updates(), 0);
}

TEST(Schedule, WarmsUpAndFalls) {
  OptimizerOptions o;
  o.learning_rate = 2, o.warmup_steps = 4, o.min_lr_ratio = 0.1;
  EXPECT_DOUBLE_EQ(learning_rate_at(o, 0, 14), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate_at(o, 3, 14), 2);
  EXPECT_DOUBLE_EQ(learning_rate_at(o, 100, 14), 2);
  o.lr_scheduler = Schedule::linear;
  EXPECT_DOUBLE_EQ(learning_rate_at(o, 4, 14), 2);
  EXPECT_DOUBLE_EQ(learning_rate_at(o, 9, 14), 1.1);
  EXPECT_DOUBLE_EQ(learning_rate_at(o, 99, 14), 0.2);
  o.lr_scheduler = Schedule::cosine;
  EXPECT_NEAR(learning_rate_at(o, 9, 14), 1.1, 1e-12);
  EXPECT_NEAR(learning_rate_at(o, 14, 14), 0.2, 1e-12);
}

}  // namespace
}  // namespace cohort
