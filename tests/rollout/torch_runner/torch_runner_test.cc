#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "learner/model/decoder.h"
#include "rollout/model_runner.h"
#include "tests/learner/model/small_config.h"
#include "transport/base/error.h"

namespace cohort {
namespace {

using nlohmann::json;

const bool one_thread = (torch::set_num_threads(1), true);

ModelConfig small(const std::string& type = "llama") {
  return test::small_config(type, {.vocab = 61,
                                   .hidden = 64,
                                   .intermediate = 88,
                                   .head_dim = 16,
                                   .positions = 256,
                                   .initializer_range = 0.15});
}
std::shared_ptr<const WeightSet> weights_of(const ModelConfig& c, uint64_t seed, Version version = 0) {
  Decoder d(c, torch::kCPU, torch::kFloat);
  d.init_random(seed);
  return std::make_shared<WeightSet>(d.snapshot(version, DType::f32));
}
std::unique_ptr<ModelRunner> runner_of(const ModelConfig& c, int32_t slots = 48, int32_t context = 200,
                                       const std::string& dtype = "float32") {
  return make_torch_runner(c, weights_of(c, 3), {.max_slots = slots, .max_context = context, .dtype = dtype});
}

struct Job {
  GroupId group = 1;
  uint32_t index = 0;
  std::vector<int32_t> prompt;
  size_t count = 40;  // tokens to sample
  size_t start = 0;   // step at which it joins
};
std::vector<int32_t> random_tokens(std::mt19937& rng, size_t n, int32_t vocab = 61) {
  std::vector<int32_t> out(n);
  for (int32_t& t : out) t = int32_t(rng() % uint32_t(vocab));
  return out;
}

// Samples all jobs together, each in its own slot, joining and leaving as they come.
std::vector<std::vector<Sampled>> sample_all(ModelRunner& runner, const std::vector<Job>& jobs,
                                             const SamplingParams& params) {
  std::vector<std::vector<Sampled>> done(jobs.size());
  for (size_t i = 0; i < jobs.size(); ++i) runner.reset_slot(int32_t(i));
  for (size_t t = 0;; ++t) {
    std::vector<SequenceStep> steps;
    std::vector<size_t> who;
    std::vector<std::vector<int32_t>> feed(jobs.size());
    bool left = false;
    for (size_t i = 0; i < jobs.size(); ++i) {
      if (done[i].size() == jobs[i].count) continue;
      left = true;
      if (t < jobs[i].start) continue;
      feed[i] = done[i].empty() ? jobs[i].prompt : std::vector<int32_t>{done[i].back().token};
      steps.push_back(
          {int32_t(i), feed[i], true, &params, jobs[i].group, jobs[i].index, uint32_t(done[i].size())});
      who.push_back(i);
    }
    if (!left) return done;
    std::vector<Sampled> out(steps.size());
    runner.step(steps, out);
    for (size_t k = 0; k < who.size(); ++k) done[who[k]].push_back(out[k]);
  }
}

void expect_equal_bits(const std::vector<Sampled>& a, const std::vector<Sampled>& b,
                       const std::string& what) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i].token, b[i].token) << what << " token " << i;
    ASSERT_EQ(a[i].logprob, b[i].logprob) << what << " log-prob " << i;
  }
}

TEST(TorchRunner, ASampleDoesNotDependOnItsNeighbours) {
  for (const char* type : {"llama", "qwen2", "qwen3"}) {
    const ModelConfig c = small(type);
    auto runner = runner_of(c);
    std::mt19937 rng(1);
    std::vector<Job> jobs;
    for (uint32_t i = 0; i < 37; ++i)
      jobs.push_back({i / 4, i % 4, random_tokens(rng, 1 + rng() % 50), 10 + rng() % 40, rng() % 12});
    SamplingParams params;
    params.seed = 9;
    auto together = sample_all(*runner, jobs, params);
    for (size_t i : {0, 7, 17, 36}) {
      auto alone = sample_all(*runner, {jobs[i]}, params);
      expect_equal_bits(alone[0], together[i], std::string(type) + " alone " + std::to_string(i));
    }
    std::vector<Job> few(jobs.begin() + 5, jobs.begin() + 14);
    auto nine = sample_all(*runner, few, params);
    for (size_t i = 0; i < few.size(); ++i) expect_equal_bits(nine[i], together[i + 5], "in a batch of 9");
  }
}

TEST(TorchRunner, ChunkedPrefillAndCopiedSlotsChangeNothing) {
  const ModelConfig c = small();
  auto runner = runner_of(c);
  std::mt19937 rng(2);
  SamplingParams params;
  for (size_t length : {1, 2, 16, 17, 33, 90}) {
    const std::vector<int32_t> prompt = random_tokens(rng, length);
    auto whole = sample_all(*runner, {Job{5, 3, prompt, 30}}, params)[0];
    // the prompt in pieces into slot 7, copied to slot 2 before its last token, which is then the first step
    runner->reset_slot(7), runner->reset_slot(2);
    for (size_t at = 0; at + 1 < length;) {
      size_t n = std::min<size_t>(1 + rng() % 20, length - 1 - at);
      SequenceStep piece{.slot = 7, .tokens = std::span(prompt).subspan(at, n)};
      runner->step({&piece, 1}, {});
      at += n;
    }
    EXPECT_EQ(runner->slot_length(7), int32_t(length - 1));
    runner->copy_slot(7, 2);
    runner->reset_slot(7);
    std::vector<Sampled> got;
    std::vector<int32_t> next = {prompt.back()};
    for (uint32_t i = 0; i < 30; ++i) {
      SequenceStep s{2, next, true, &params, 5, 3, i};
      Sampled out;
      runner->step({&s, 1}, {&out, 1});
      got.push_back(out);
      next = {out.token};
    }
    expect_equal_bits(got, whole, "chunked prompt of " + std::to_string(length));
  }
}

TEST(TorchRunner, BehaviourLogProbsEqualThePackedForward) {
  for (const char* type : {"llama", "qwen2", "qwen3"}) {
    const ModelConfig c = small(type);
    auto runner = runner_of(c);
    Decoder decoder(c, torch::kCPU, torch::kFloat);
    decoder.init_random(3);
    decoder.enable_gradients();
    std::mt19937 rng(4);
    std::vector<Job> jobs;
    for (uint32_t i = 0; i < 11; ++i) jobs.push_back({2, i, random_tokens(rng, 3 + i), 20 + 7 * i});
    for (double temperature : {1.0, 0.6}) {
      SamplingParams params;
      params.temperature = temperature;
      auto sampled = sample_all(*runner, jobs, params);
      std::vector<int64_t> tokens, positions, rows, targets, cu = {0};
      std::vector<float> behaviour;
      for (size_t i = 0; i < jobs.size(); ++i) {
        std::vector<int32_t> all = jobs[i].prompt;
        for (const Sampled& s : sampled[i]) {
          rows.push_back(cu.back() + int64_t(all.size()) - 1);
          targets.push_back(s.token);
          behaviour.push_back(s.logprob);
          all.push_back(s.token);
        }
        tokens.insert(tokens.end(), all.begin(), all.end());
        for (size_t p = 0; p < all.size(); ++p) positions.push_back(int64_t(p));
        cu.push_back(int64_t(tokens.size()));
        if (temperature == 1.0) {
          std::vector<float> scored = runner->score(all);
          for (size_t p = 0; p < sampled[i].size(); ++p)
            ASSERT_NEAR(scored[jobs[i].prompt.size() - 1 + p], sampled[i][p].logprob, 2e-5);
        }
      }
      auto attention = make_packed_attention(c, cu);
      torch::Tensor hidden = decoder.forward(torch::tensor(tokens), torch::tensor(positions), *attention);
      torch::Tensor logprobs = token_stats(decoder, hidden.index_select(0, torch::tensor(rows)),
                                           torch::tensor(targets), temperature)
                                   .logprobs_N;
      EXPECT_LE((logprobs - torch::tensor(behaviour)).abs().max().item<double>(), 2e-5)
          << type << " " << temperature;
    }
  }
}

TEST(TorchRunner, GreedyIsTheArgMaxOfTheDecoder) {
  const ModelConfig c = small();
  auto runner = runner_of(c);
  Decoder decoder(c, torch::kCPU, torch::kFloat);
  decoder.init_random(3);
  SamplingParams greedy;
  greedy.temperature = 0;
  std::vector<int64_t> ids = {4, 8, 15, 16};
  auto got = sample_all(*runner, {Job{1, 0, {4, 8, 15, 16}, 25}}, greedy)[0];
  torch::NoGradGuard no_grad;
  for (const Sampled& s : got) {
    const int64_t n = int64_t(ids.size());
    auto attention = make_packed_attention(c, {0, n});
    torch::Tensor hidden = decoder.forward(torch::tensor(ids), torch::arange(n), *attention);
    torch::Tensor logp = torch::log_softmax(decoder.logits(hidden.narrow(0, n - 1, 1)), -1)[0];
    EXPECT_EQ(logp.argmax().item<int64_t>(), s.token);
    EXPECT_NEAR(logp.max().item<float>(), s.logprob, 1e-5);
    ids.push_back(s.token);
  }
}

TEST(TorchRunner, OtherDtypesTakeThePlainPath) {
  const ModelConfig c = small();
  auto wide = runner_of(c), narrow = runner_of(c, 8, 128, "bfloat16");
  std::mt19937 rng(6);
  SamplingParams greedy;
  greedy.temperature = 0;
  std::vector<Job> jobs;
  for (uint32_t i = 0; i < 4; ++i) jobs.push_back({1, i, random_tokens(rng, 5 + i), 12});
  auto got = sample_all(*narrow, jobs, greedy);
  narrow->reset_slot(5);
  narrow->copy_slot(0, 5);
  EXPECT_EQ(narrow->slot_length(5), 5 + 11);
  for (size_t i = 0; i < jobs.size(); ++i) {
    std::vector<int32_t> all = jobs[i].prompt;
    for (const Sampled& s : got[i]) all.push_back(s.token);
    auto a = wide->score(all), b = narrow->score(all);
    for (size_t t = 0; t < a.size(); ++t) EXPECT_NEAR(a[t], b[t], 0.3);
    for (size_t t = 0; t < got[i].size(); ++t)
      EXPECT_NEAR(b[jobs[i].prompt.size() - 1 + t], got[i][t].logprob, 0.1);
  }
}

TEST(TorchRunner, WeightsSwapBetweenStepsAndSlotsKeepTheirKv) {
  const ModelConfig c = small();
  auto runner = make_torch_runner(c, nullptr, {.max_slots = 4, .max_context = 64});
  SamplingParams greedy;
  greedy.temperature = 0;
  std::vector<int32_t> token = {1};
  SequenceStep s{0, token, true, &greedy, 1, 0, 0};
  Sampled out;
  EXPECT_THROW(runner->step({&s, 1}, {&out, 1}), Error);
  EXPECT_FALSE(runner->swap_weights());
  for (Version v = 1; v <= 6; ++v) {
    std::thread stager([&] { runner->stage_weights(weights_of(c, v, v)); });
    stager.join();
    EXPECT_EQ(runner->version(), v - 1);
    EXPECT_TRUE(runner->swap_weights());
    EXPECT_FALSE(runner->swap_weights());
    EXPECT_EQ(runner->version(), v);
    runner->step({&s, 1}, {&out, 1});
    EXPECT_EQ(runner->slot_length(0), int32_t(v));
    // the weights really are v's: a fresh runner scores the same
    auto fresh = make_torch_runner(c, weights_of(c, v, v), {.max_slots = 1, .max_context = 64});
    EXPECT_EQ(runner->score(std::vector<int32_t>{1, 2, 3, 4}),
              fresh->score(std::vector<int32_t>{1, 2, 3, 4}));
  }
}

TEST(TorchRunner, StagingWhileStepping) {
  const ModelConfig c = small();
  auto runner = runner_of(c, 4, 200);
  std::atomic<bool> stop{false};
  std::thread stager([&] {
    for (Version v = 1; !stop; ++v) runner->stage_weights(weights_of(c, v, v));
  });
  SamplingParams params;
  std::vector<int32_t> token = {1};
  Version last = 0;
  for (uint32_t i = 0; i < 150; ++i) {
    SequenceStep s{0, token, true, &params, 1, 0, i};
    Sampled out;
    runner->step({&s, 1}, {&out, 1});
    token = {out.token};
    runner->swap_weights();
    EXPECT_GE(runner->version(), last);
    last = runner->version();
  }
  stop = true;
  stager.join();
}

TEST(TorchRunner, RefusesWhatDoesNotFit) {
  const ModelConfig c = small();
  auto runner = runner_of(c, 2, 8);
  std::vector<int32_t> nine(9, 1), outside = {61};
  SequenceStep too_long{.slot = 0, .tokens = nine}, bad_token{.slot = 0, .tokens = outside};
  EXPECT_THROW(runner->step({&too_long, 1}, {}), Error);
  EXPECT_THROW(runner->step({&bad_token, 1}, {}), Error);
  EXPECT_THROW(runner_of(c, 2, 8, "int8"), Error);
  EXPECT_THROW(make_torch_runner(c, nullptr, {.device = "tpu"}), Error);
  EXPECT_THROW(runner->stage_weights(weights_of(small("qwen3"), 1)), Error);
}

// $COHORT_TEST_MODELS/smollm2 (tests/golden/make_smollm2.py) against tests/golden/make_smollm2_greedy.py.
TEST(SmolLM2, GreedyTextEqualsTransformers) {
  const char* models = std::getenv("COHORT_TEST_MODELS");
  const std::string folder = std::string(models ? models : "") + "/smollm2";
  if (!models || !std::filesystem::exists(folder + "/config.json"))
    GTEST_SKIP() << "no SmolLM2-135M-Instruct in $COHORT_TEST_MODELS/smollm2";
  const json golden =
      json::parse(std::ifstream(std::string(COHORT_SOURCE_DIR) + "/tests/golden/smollm2_greedy.json"));
  const ModelConfig c = ModelConfig::read(folder);
  auto runner = make_torch_runner(c, std::make_shared<WeightSet>(read_weights(folder, c, DType::f32)),
                                  {.max_slots = 32, .max_context = 256});
  SamplingParams greedy;
  greedy.temperature = 0;
  std::vector<Job> jobs;
  std::vector<std::vector<int32_t>> expected;
  for (const json& one : golden["cases"]) {
    expected.push_back(one["completion_ids"]);
    jobs.push_back({1, uint32_t(jobs.size()), one["prompt_ids"], expected.back().size()});
  }
  ASSERT_EQ(jobs.size(), 32u);
  auto got = sample_all(*runner, jobs, greedy);
  for (size_t i = 0; i < jobs.size(); ++i) {
    std::vector<int32_t> ids;
    for (const Sampled& s : got[i]) ids.push_back(s.token);
    EXPECT_EQ(ids, expected[i]) << "prompt " << i;
  }
}

}  // namespace
}  // namespace cohort
