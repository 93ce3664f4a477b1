// TorchRunner on a GPU against itself on the CPU, and against the GPU learner's log-probs. No Torch here.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "learner/gpu/runtime.h"
#include "learner/policy.h"
#include "rollout/model_runner.h"

namespace cohort {
namespace {

ModelConfig small() {
  ModelConfig c;
  c.model_type = "qwen2";
  c.vocab_size = 200, c.hidden_size = 64, c.intermediate_size = 88, c.num_layers = 2;
  c.num_heads = 4, c.num_kv_heads = 2, c.head_dim = 16, c.max_position_embeddings = 256;
  c.initializer_range = 0.15, c.qkv_bias = true, c.tie_word_embeddings = true;
  return c;
}

// Two sequences that share a prompt, greedy.
std::vector<Sampled> sample(ModelRunner& runner) {
  const std::vector<int32_t> prompt{3, 1, 4, 1, 5, 9, 2, 6};
  SamplingParams greedy;
  greedy.temperature = 0;
  std::vector<Sampled> all;
  std::vector<int32_t> feed[2];
  runner.reset_slot(0);
  std::vector<Sampled> out(1);
  const SequenceStep first{0, prompt, true, &greedy, 1, 0, 0};
  runner.step(std::span(&first, 1), out);
  runner.copy_slot(0, 1);
  feed[0] = {out[0].token}, feed[1] = {out[0].token + 1};
  all.push_back(out[0]);
  for (uint32_t t = 1; t < 30; ++t) {
    const SequenceStep steps[]{{0, feed[0], true, &greedy, 1, 0, t}, {1, feed[1], true, &greedy, 1, 1, t}};
    std::vector<Sampled> two(2);
    runner.step(steps, two);
    for (size_t i = 0; i < 2; ++i) feed[i] = {two[i].token}, all.push_back(two[i]);
  }
  return all;
}

TEST(TorchRunnerGpu, EqualsTheCpu) {
  if (!gpu::available()) GTEST_SKIP() << "no GPU";
  gpu::open_device("cuda", "the test's device");
  const auto weights = std::make_shared<const WeightSet>(random_weights(small(), 3));
  const auto on = [&](const char* device, const char* dtype) {
    return make_torch_runner(small(), weights,
                             {.max_slots = 2, .max_context = 64, .device = device, .dtype = dtype});
  };
  const auto cpu = on("cpu", "float32"), gpu = on("cuda", "float32"), bf16 = on("cuda:0", "bfloat16");
  const auto a = sample(*cpu), b = sample(*gpu);
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].token, b[i].token) << i;
    EXPECT_NEAR(a[i].logprob, b[i].logprob, 1e-4) << i;
  }
  std::vector<int32_t> tokens;
  std::mt19937 random(1);
  for (int i = 0; i < 200; ++i) tokens.push_back(int32_t(random() % 200));
  const auto exact = cpu->score(tokens), same = gpu->score(tokens), near = bf16->score(tokens);
  Policy learner(small(), "cuda", "bfloat16", false);
  learner.load(*weights);
  PackedBatch pack;
  pack.add(std::span(tokens).first(1), std::span(tokens).subspan(1));
  const auto learnt = learner.score(pack, 1).logprobs;
  double difference = 0, to_learner = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    EXPECT_NEAR(same[i], exact[i], 1e-4);
    difference += std::abs(near[i] - exact[i]) / double(exact.size());
    to_learner += std::abs(near[i] - learnt[i]) / double(exact.size());
  }
  std::printf("  bf16: mean |d logprob| %.5f to float32, %.5f to the learner\n", difference, to_learner);
  EXPECT_LT(difference, 0.03);
  EXPECT_LT(to_learner, 0.03);
}

}  // namespace
}  // namespace cohort
