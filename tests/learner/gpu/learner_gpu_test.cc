// The GPU learner against the CPU learner: the same scores, gradients, GRPO steps and checkpoints; recomputation, bf16 and
// memory on top. No Torch here.
#include <cuda_runtime_api.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "learner/gpu/runtime.h"
#include "learner/gpu/shards_gpu.h"
#include "learner/sharded_adamw.h"
#include "learner/training_state.h"
#include "tests/learner/model/changed_weights.h"
#include "tests/learner/mpirun.h"
#include "tests/learner/tiny.h"
#include "transport/base/error.h"

namespace cohort {
namespace {

using namespace cohort::testing;
namespace fs = std::filesystem;

#define NEEDS_GPU()                                \
  if (!gpu::available()) GTEST_SKIP() << "no GPU"; \
  gpu::open_device("cuda", "the test's device")

struct Shape {
  const char* name;
  ModelConfig config;
};
// Each of the three architectures, with what makes it different, at sizes that nothing divides nicely, at ones that LibTorch's
// flash kernels take and, last, at those of our own attention.
std::vector<Shape> shapes() {
  ModelConfig llama = tiny_config();
  ModelConfig odd = tiny_config();
  odd.hidden_size = 18, odd.intermediate_size = 27, odd.num_heads = 3, odd.num_kv_heads = 3, odd.head_dim = 6;
  odd.tie_word_embeddings = false, odd.qkv_bias = odd.o_bias = odd.mlp_bias = true;
  ModelConfig qwen2 = tiny_config();
  qwen2.model_type = "qwen2", qwen2.qkv_bias = true, qwen2.vocab_size = 1000, qwen2.hidden_size = 64;
  qwen2.intermediate_size = 160, qwen2.num_heads = 4, qwen2.num_kv_heads = 2, qwen2.head_dim = 16;
  qwen2.initializer_range = 0.1, qwen2.max_position_embeddings = 2048;
  ModelConfig qwen3 = qwen2;
  qwen3.model_type = "qwen3", qwen3.qkv_bias = false, qwen3.qk_norm = true, qwen3.head_dim = 32;
  qwen3.tie_word_embeddings = false;
  ModelConfig heads_of_64 = qwen3;
  heads_of_64.num_heads = 6, heads_of_64.head_dim = 64;
  ModelConfig heads_of_128 = qwen2;
  heads_of_128.num_kv_heads = 1, heads_of_128.head_dim = 128;
  return {{"llama", llama}, {"odd llama with biases", odd},      {"qwen2", qwen2},
          {"qwen3", qwen3}, {"qwen3, heads of 64", heads_of_64}, {"qwen2, heads of 128", heads_of_128}};
}

PackedBatch made_up_pack(const ModelConfig& c, int sequences, int longest, unsigned seed) {
  std::mt19937 random(seed);
  PackedBatch pack;
  for (int s = 0; s < sequences; ++s) {
    std::vector<int32_t> prompt(1 + random() % static_cast<unsigned>(longest / 2)),
        completion(1 + random() % static_cast<unsigned>(longest / 2));
    for (auto* ids : {&prompt, &completion})
      for (int32_t& id : *ids) id = static_cast<int32_t>(random() % static_cast<unsigned>(c.vocab_size));
    pack.add(prompt, completion);
  }
  return pack;
}

std::vector<float> gradients(Policy& policy) {
  const FlatArrays a = policy.arrays();
  std::vector<float> out(a.elements);
  if (a.on_gpu)
    gpu::check(cudaMemcpy(out.data(), a.gradients, out.size() * 4, cudaMemcpyDeviceToHost),
               "reading gradients");
  else
    std::copy_n(a.gradients, a.elements, out.begin());
  return out;
}

double relative_error(std::span<const float> a, std::span<const float> b) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    norm += std::pow(static_cast<double>(b[i]), 2);
  }
  return std::isfinite(difference) ? std::sqrt(difference / std::max(norm, 1e-30)) : INFINITY;
}
double mean_difference(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (size_t i = 0; i < b.size(); ++i)
    sum += std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
  return sum / static_cast<double>(b.size());
}

struct Result {
  TokenScores scores;
  std::vector<float> grads;
  std::vector<size_t> completed;
};
// Forward and backward of a loss whose derivatives are made up.
Result run(Policy& policy, const PackedBatch& pack, double temperature, bool entropy) {
  Result r;
  policy.zero_gradients();
  r.scores = policy.forward_backward(
      pack, temperature, entropy,
      [](const TokenScores& scores, std::span<float> g, std::span<float> h) {
        const double n = static_cast<double>(scores.logprobs.size());
        for (size_t i = 0; i < g.size(); ++i)
          g[i] = static_cast<float>(std::sin(static_cast<double>(i) * 1.7 + 0.4) / n);
        for (size_t i = 0; i < h.size(); ++i)
          h[i] = static_cast<float>(std::cos(static_cast<double>(i) * 0.9) / n);
      },
      [&](size_t from) { r.completed.push_back(from); });
  r.grads = gradients(policy);
  return r;
}

TEST(GpuLearner, Float32EqualsTheCpu) {
  NEEDS_GPU();
  for (const Shape& s : shapes())
    for (bool entropy : {false, true}) {
      SCOPED_TRACE(s.name);
      Policy cpu(s.config, "cpu", "float32", true), gpu(s.config, "cuda", "float32", true),
          again(s.config, "cuda", "float32", true, "layer");
      cpu.init_random(3);
      WeightSet weights = cpu.snapshot(0, DType::f32);
      test::fill_biases(weights);
      for (Policy* p : {&cpu, &gpu, &again}) p->load(weights);
      const PackedBatch pack = made_up_pack(s.config, 7, 40, 5);
      const Result expected = run(cpu, pack, 0.8, entropy), got = run(gpu, pack, 0.8, entropy),
                   recomputed = run(again, pack, 0.8, entropy);
      EXPECT_LT(relative_error(got.scores.logprobs, expected.scores.logprobs), 1e-5);
      EXPECT_LT(relative_error(got.scores.entropy, expected.scores.entropy), 1e-5);
      EXPECT_LT(relative_error(got.grads, expected.grads), 1e-4);
      EXPECT_EQ(recomputed.grads, got.grads);
      EXPECT_LT(relative_error(gpu.score(pack, 0.8).logprobs, expected.scores.logprobs), 1e-5);
      EXPECT_EQ(got.completed.back(), 0u);
      EXPECT_TRUE(std::is_sorted(got.completed.rbegin(), got.completed.rend()));
      EXPECT_EQ(got.completed.size(), static_cast<size_t>(s.config.num_layers) + 2);
    }
}

TEST(GpuLearner, DynamicRopeBeyondTheModelsLength) {
  NEEDS_GPU();
  ModelConfig c = tiny_config();
  c.rope.type = "dynamic", c.rope.factor = 2, c.max_position_embeddings = 16;
  Policy cpu(c, "cpu", "float32", true), gpu(c, "cuda", "float32", true);
  for (Policy* p : {&cpu, &gpu}) p->init_random(3);
  for (int longest : {12, 60}) {
    const PackedBatch pack = made_up_pack(c, 5, longest, 2);
    EXPECT_LT(relative_error(run(gpu, pack, 1, false).grads, run(cpu, pack, 1, false).grads), 1e-4);
  }
}

// bf16 keeps 8 bits: the gradient of a few layers is good to a percent or two.
TEST(GpuLearner, Bfloat16IsNearAndRepeatsWithRecomputation) {
  NEEDS_GPU();
  for (const Shape& s : shapes()) {
    SCOPED_TRACE(s.name);
    Policy cpu(s.config, "cpu", "float32", true), gpu(s.config, "cuda", "bfloat16", true),
        again(s.config, "cuda", "bfloat16", true, "layer");
    gpu.init_random(3);
    WeightSet weights = gpu.snapshot(0, DType::bf16);
    test::fill_biases(weights);
    for (Policy* p : {&cpu, &gpu, &again}) p->load(weights);  // the same rounded weights
    const PackedBatch pack = made_up_pack(s.config, 9, 300, 5);
    const Result expected = run(cpu, pack, 1, true), got = run(gpu, pack, 1, true),
                 recomputed = run(again, pack, 1, true);
    EXPECT_LT(mean_difference(got.scores.logprobs, expected.scores.logprobs), 0.03);
    EXPECT_LT(relative_error(got.grads, expected.grads), 0.04);
    if (s.config.head_dim >= 64) {
      EXPECT_EQ(recomputed.grads, got.grads);
      EXPECT_EQ(run(gpu, pack, 1, true).grads, got.grads);
    } else {  // LibTorch's flash kernels, whose atomic sums differ in their last bits
      EXPECT_LT(relative_error(recomputed.grads, got.grads), 1e-3);
    }
    RecordProperty(std::string("gradient_error_") + s.name,
                   std::to_string(relative_error(got.grads, expected.grads)));
    std::printf("  %-24s mean |d logprob| %.5f, gradient error %.4f\n", s.name,
                mean_difference(got.scores.logprobs, expected.scores.logprobs),
                relative_error(got.grads, expected.grads));
  }
}

TEST(GpuLearner, TheResidualStreamIsNotRounded) {
  NEEDS_GPU();
  for (const bool head_norms : {false, true}) {
    ModelConfig c = shapes()[head_norms ? 3 : 2].config;
    c.num_layers = 24, c.tie_word_embeddings = false;
    Policy gpu(c, "cuda", "bfloat16", false), cpu(c, "cpu", "float32", false);
    gpu.init_random(3);
    WeightSet weights = gpu.snapshot(0, DType::bf16);
    test::enlarge_embeddings(weights);
    gpu.load(weights), cpu.load(weights);
    const PackedBatch pack = made_up_pack(c, 9, 300, 5);
    const double difference = mean_difference(gpu.score(pack, 1).logprobs, cpu.score(pack, 1).logprobs);
    std::printf("  %s: mean |d logprob| %.5f\n", c.model_type.c_str(), difference);
    EXPECT_LT(difference, 0.003) << c.model_type;
  }
}

TEST(GpuLearner, EmptyBatchesAndBatchesWithNothingToPredict) {
  NEEDS_GPU();
  Policy gpu(tiny_config(), "cuda", "bfloat16", true);
  gpu.init_random(1);
  EXPECT_TRUE(gpu.score(PackedBatch(), 1).logprobs.empty());
  PackedBatch pack;
  pack.add(std::vector<int32_t>{1, 2, 3}, std::vector<int32_t>{});
  const Result r = run(gpu, pack, 1, false);
  EXPECT_TRUE(r.scores.logprobs.empty());
  for (float g : r.grads) ASSERT_EQ(g, 0);
}

TEST(GpuLearner, WeightsComeBackAsTheyWere) {
  NEEDS_GPU();
  for (const Shape& s : shapes()) {
    const WeightSet weights = random_weights(s.config, 5);
    Policy f32(s.config, "cuda", "float32", false), bf16(s.config, "cuda", "bfloat16", false),
        cpu(s.config, "cpu", "float32", false);
    for (Policy* p : {&f32, &bf16, &cpu}) p->load(weights);
    EXPECT_EQ(f32.snapshot(1, DType::f32).data, weights.data);
    const WeightSet wire = bf16.snapshot(7, DType::bf16), expected = cpu.snapshot(7, DType::bf16);
    EXPECT_EQ(wire.data, expected.data);
    EXPECT_EQ(wire.manifest.checksum, weight_checksum(wire.data));
    EXPECT_EQ(wire.manifest.total_bytes, expected.manifest.total_bytes);
  }
}

// The same run on CPU and GPU in float32: metrics and parameters after three steps of four updates.
struct Side {
  Side(const std::string& device, const std::string& dtype,
       const OptimizerOptions& o = tiny_optimizer_options(),
       const GrpoStepOptions& step = tiny_step_options())
      : policy(tiny_config(), device, dtype, true) {
    const WeightSet weights = random_weights(tiny_config(), 1);
    policy.load(weights);
    updater = make_updater(o, policy, ranks, 100);
    updater->start(weights);
    grpo.emplace(step, policy, nullptr, *updater, ranks);
  }
  Collectives ranks;
  Policy policy;
  std::unique_ptr<Updater> updater;
  std::optional<GrpoStep> grpo;
};
std::vector<float> parameters(Side& side) {
  const auto sections = side.updater->collect();
  std::vector<float> out(sections[0].bytes.size() / 4);
  std::memcpy(out.data(), sections[0].bytes.data(), out.size() * 4);
  side.updater->release();
  return out;
}
std::vector<float> to_floats(const WeightSet& weights) {
  std::vector<float> out(weights.data.size() / 4);
  std::memcpy(out.data(), weights.data.data(), out.size() * 4);
  return out;
}
double value(const std::vector<Metric>& metrics, const std::string& name) {
  for (const Metric& m : metrics)
    if (m.name == name) return m.value;
  ADD_FAILURE() << "no metric " << name;
  return NAN;
}

TEST(GpuLearner, GrpoStepsEqualTheCpus) {
  NEEDS_GPU();
  GrpoStepOptions o = tiny_step_options();
  o.grpo.entropy_coef = 0.01;
  Side cpu("cpu", "float32", tiny_optimizer_options(), o),
      gpu("cuda", "float32", tiny_optimizer_options(), o);
  Policy behaviour(tiny_config(), "cpu", "float32", false);
  behaviour.init_random(1);
  for (uint32_t k = 0; k < 3; ++k) {
    const Batch batch = made_up_batch(behaviour, k, 7 + k);
    const auto a = cpu.grpo->train(batch), b = gpu.grpo->train(batch);
    for (const char* name :
         {"loss", "entropy", "grad_norm", "mismatch_kl", "clip_ratio", "approx_kl", "learning_rate"})
      EXPECT_NEAR(value(b, name), value(a, name), 1e-4 * std::max(0.1, std::abs(value(a, name))))
          << name << ", step " << k;
  }
  const auto a = parameters(cpu), b = parameters(gpu);
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i)
    worst = std::max(worst, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  EXPECT_LT(worst, 1e-5);
  EXPECT_GT(relative_error(a, std::vector<float>(a.size(), 0)), 0);
}

TEST(GpuLearner, ARunsCheckpointGoesFromCpuToGpuAndBack) {
  NEEDS_GPU();
  const std::string dir = fs::temp_directory_path() / ("cohort-gpu-state-" + std::to_string(getpid()));
  fs::remove_all(dir);
  Policy behaviour(tiny_config(), "cpu", "float32", false);
  behaviour.init_random(1);
  const auto train = [&](Side& side, uint32_t from, uint32_t to) {
    for (uint32_t k = from; k < to; ++k) side.grpo->train(made_up_batch(behaviour, k, 20 + k));
  };
  Side whole("cpu", "float32");
  train(whole, 0, 6);
  uint32_t at = 0;
  for (const char* device : {"cpu", "cuda", "cpu"}) {
    Side side(device, "float32");
    TrainingState state(dir, 2, {{"run_id", "r"}}, side.policy, *side.updater, side.ranks);
    if (at > 0) {
      ASSERT_EQ(state.restore()->next_step, at);
    }
    train(side, at, at + 2);
    state.save(at += 2);
    if (at == 6) {
      EXPECT_LT(relative_error(parameters(side), parameters(whole)), 1e-5);
    }
  }
  // bf16 keeps its exact master weights through a checkpoint
  Side rounded("cuda", "bfloat16");
  train(rounded, 0, 2);
  TrainingState(dir, 2, {{"run_id", "bf16"}}, rounded.policy, *rounded.updater, rounded.ranks).save(2);
  Side later("cuda", "bfloat16");
  TrainingState(dir, 2, {{"run_id", "bf16"}}, later.policy, *later.updater, later.ranks).restore();
  EXPECT_EQ(parameters(later), parameters(rounded));
  const WeightSet exact = exact_weights(*later.updater, tiny_config(), 4);
  EXPECT_EQ(to_floats(exact), parameters(rounded));
  EXPECT_NE(exact.data, later.policy.snapshot(4, DType::f32).data) << "what is exported is not rounded";
  EXPECT_EQ(later.policy.snapshot(0, DType::bf16).data, rounded.policy.snapshot(0, DType::bf16).data);
  fs::remove_all(dir);
}

TEST(GpuLearner, SamplerAndLearnerAgreeWithoutLearningRate) {
  NEEDS_GPU();
  OptimizerOptions still;
  still.learning_rate = 0;
  Side bf16("cuda", "bfloat16", still);
  Policy exact(tiny_config(), "cpu", "float32", false);
  exact.load(bf16.policy.snapshot(0, DType::bf16));
  for (const Policy* sampler :
       {static_cast<const Policy*>(&bf16.policy), static_cast<const Policy*>(&exact)}) {
    Batch batch = made_up_batch(*sampler, 0, 5);
    for (Sample& s : batch.samples) {
      PackedBatch alone;
      alone.add(s.prompt_ids, s.token_ids);
      s.logprobs = sampler->score(alone, 1).logprobs;
      s.versions = {{0, static_cast<uint32_t>(s.token_ids.size())}};
    }
    const auto m = bf16.grpo->train(batch);
    EXPECT_LT(value(m, "mismatch_kl"), 1e-3);
    EXPECT_NEAR(value(m, "ratio"), 1, 0.02);
  }
}

TEST(GpuLearner, RewardedTokensBecomeLikelierInBfloat16) {
  NEEDS_GPU();
  OptimizerOptions o = tiny_optimizer_options();
  o.learning_rate = 3e-3;
  GrpoStepOptions step = tiny_step_options();
  step.grpo = {};
  Side side("cuda", "bfloat16", o, step);
  PackedBatch probe;
  probe.add(std::vector<int32_t>{3, 4}, std::vector<int32_t>{7});
  const float before = side.policy.score(probe, 1).logprobs[0];
  for (uint32_t k = 0; k < 20; ++k) {
    Batch batch;
    batch.step = k;
    batch.groups.push_back({1, {}});
    for (uint32_t i = 0; i < 8; ++i) {
      PackedBatch pack;
      const std::vector<int32_t> prompt{3, 4}, completion{static_cast<int32_t>(i + 5)};
      pack.add(prompt, completion);
      batch.samples.push_back({1,
                               i,
                               prompt,
                               completion,
                               side.policy.score(pack, 1).logprobs,
                               {{k, 1}},
                               i == 2 ? 1.0 : 0.0,
                               false});
      batch.groups[0].rewards.push_back(batch.samples.back().reward);
    }
    side.grpo->train(batch);
  }
  EXPECT_GT(side.policy.score(probe, 1).logprobs[0], before + 0.5f);
}

// What the sum of memory says against what the allocator saw.
TEST(GpuLearner, MemoryIsWhatItShouldBe) {
  NEEDS_GPU();
  ModelConfig c = shapes()[2].config;
  c.hidden_size = 512, c.intermediate_size = 2048, c.num_heads = 8, c.num_kv_heads = 2, c.head_dim = 64,
  c.num_layers = 6;
  c.vocab_size = 32000, c.max_position_embeddings = 4096;
  for (const char* recompute : {"none", "layer"}) {
    Policy policy(c, "cuda", "bfloat16", true, recompute);
    const PackedBatch pack = made_up_pack(c, 24, 1200, 5);
    policy.take_peak_bytes();
    run(policy, pack, 1, false);
    const FlatArrays a = policy.arrays();
    const double fixed = static_cast<double>(a.elements + a.padding) * 6;
    const double expected = static_cast<double>(policy.activation_bytes(
        static_cast<int64_t>(pack.tokens.size()), static_cast<int64_t>(pack.rows.size())));
    const double peak = static_cast<double>(policy.take_peak_bytes()) - fixed;
    std::printf("  recompute %-6s %zu tokens: expected %.1f MiB, peak %.1f MiB\n", recompute,
                pack.tokens.size(), expected / 1048576, peak / 1048576);
    EXPECT_LT(peak, 1.15 * expected);
    EXPECT_GT(peak, 0.7 * expected);
  }
}

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(GpuLearner, BadStatesAreOneLine) {
  NEEDS_GPU();
  using ::testing::HasSubstr;
  const ModelConfig c = tiny_config();
  EXPECT_THAT(error_of([&] { Policy(c, "cuda:99", "bfloat16", true); }), HasSubstr("GPU(s), counted from 0"));
  EXPECT_THAT(error_of([&] { Policy(c, "gpu", "bfloat16", true); }),
              HasSubstr("use \"cpu\", \"cuda\" or \"cuda:N\""));
  EXPECT_THAT(error_of([&] { Policy(c, "cuda", "float16", true); }), HasSubstr("learner.dtype"));
  EXPECT_THAT(error_of([&] { Policy(c, "cuda", "bfloat16", true, "block"); }),
              HasSubstr("learner.recompute"));
  ModelConfig huge = c;
  huge.hidden_size = 16384, huge.intermediate_size = 65536, huge.num_layers = 100, huge.num_heads = 128,
  huge.num_kv_heads = 128, huge.head_dim = 128;
  EXPECT_THAT(error_of([&] { Policy(huge, "cuda", "bfloat16", true); }),
              ::testing::MatchesRegex(".*needs [0-9.]+ GiB, GPU [0-9]+ has .* free of .*"));
  ModelConfig wide = shapes()[2].config;
  wide.num_layers = 24, wide.intermediate_size = 8192;
  Policy policy(wide, "cuda", "bfloat16", true);
  PackedBatch pack;
  for (int i = 0; i < 30000; ++i) pack.add(std::vector<int32_t>(60, 1), std::vector<int32_t>(60, 2));
  const std::string error = error_of([&] { run(policy, pack, 1, false); });
  EXPECT_THAT(error, HasSubstr("a micro-batch of 3600000 tokens needs"));
  EXPECT_THAT(error, HasSubstr("lower micro_batch_tokens"));
}

// NCCL's side of the sharded optimizer with one rank and small buckets: streams, events and slices, on any GPU machine.
TEST(GpuLearner, ExchangesOverNcclGiveTheSameUpdate) {
  NEEDS_GPU();
  for (const char* dtype : {"float32", "bfloat16"}) {
    Side plain("cuda", dtype), exchanged("cuda", dtype);
    exchanged.grpo.reset();
    exchanged.updater = make_sharded_adamw(tiny_optimizer_options(), exchanged.policy.arrays(),
                                           tiny_config().tensors(DType::f32), 100, exchanged.ranks,
                                           make_nccl_shards(exchanged.ranks), /*bucket_elements=*/700);
    exchanged.updater->start(random_weights(tiny_config(), 1));
    exchanged.grpo.emplace(tiny_step_options(), exchanged.policy, nullptr, *exchanged.updater,
                           exchanged.ranks);
    Policy behaviour(tiny_config(), "cpu", "float32", false);
    behaviour.init_random(1);
    for (uint32_t k = 0; k < 3; ++k) {
      const Batch batch = made_up_batch(behaviour, k, 7 + k);
      plain.grpo->train(batch);
      exchanged.grpo->train(batch);
    }
    EXPECT_LT(relative_error(parameters(exchanged), parameters(plain)), 1e-6) << dtype;
    EXPECT_LT(relative_error(to_floats(exchanged.policy.snapshot(0, DType::f32)),
                             to_floats(plain.policy.snapshot(0, DType::f32))),
              1e-3);
  }
}

// Trains with `ranks` ranks up to step `steps`, from the state in `checkpoints` ("": none is kept) when it holds one; the
// float32 parameters.
std::vector<float> train_with(int ranks, const std::string& dir, const std::string& dtype, int steps = 3,
                              const std::string& checkpoints = "") {
  const std::string out = dir + "/parameters";
  fs::remove(out);
  std::string command = build_folder() + "/tests/learner_rank sharded " + out + " cuda " + dtype;
  if (!checkpoints.empty()) command += " " + checkpoints + " " + std::to_string(steps);
  if (gpu::device_count() < ranks) command = testing::as_hosts_on_one_gpu(command);
  std::stringstream log;
  const int code = mpirun(ranks, command, dir + "/log");
  log << std::ifstream(dir + "/log").rdbuf();
  EXPECT_EQ(code, 0) << log.str();
  if (code != 0) return {};
  std::vector<float> values(fs::file_size(out) / 4);
  std::ifstream(out, std::ios::binary)
      .read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(values.size() * 4));
  return values;
}
double worst(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.empty() || a.size() != b.size()) return INFINITY;
  double out = 0;
  for (size_t i = 0; i < a.size(); ++i) out = std::max(out, static_cast<double>(std::abs(a[i] - b[i])));
  return out;
}

TEST(GpuLearner, SeveralRanksGiveTheUpdateOfOne) {
  NEEDS_GPU();
  const std::string dir = fs::temp_directory_path() / ("cohort-gpu-ranks-" + std::to_string(getpid()));
  fs::create_directories(dir);
  for (const auto& [dtype, tolerance] :
       std::vector<std::pair<std::string, double>>{{"float32", 1e-6}, {"bfloat16", 4e-3}}) {
    const auto one = train_with(1, dir, dtype);
    for (const int ranks : {2, 3}) {
      const double difference = worst(train_with(ranks, dir, dtype), one);
      EXPECT_LE(difference, tolerance) << dtype << ", " << ranks << " ranks";
      std::printf("  %s, %d ranks: the largest difference of a parameter after 3 steps is %.2e\n",
                  dtype.c_str(), ranks, difference);
    }
  }
  fs::remove_all(dir);
}

// Two ranks, one, two: each goes on from the checkpoint of the one before. One, two, one the other way round.
TEST(GpuLearner, ACheckpointLoadsAtAnotherRankCount) {
  NEEDS_GPU();
  const std::string dir = fs::temp_directory_path() / ("cohort-gpu-rank-state-" + std::to_string(getpid()));
  fs::create_directories(dir);
  for (const auto& [dtype, tolerance] :
       std::vector<std::pair<std::string, double>>{{"float32", 1e-6}, {"bfloat16", 4e-3}}) {
    const auto whole = train_with(1, dir, dtype, 3);
    for (const int first : {1, 2}) {
      const std::string state = dir + "/" + dtype + "-" + std::to_string(first);
      train_with(first, dir, dtype, 1, state);
      const auto second = train_with(3 - first, dir, dtype, 2, state);
      const auto third = train_with(first, dir, dtype, 3, state);
      EXPECT_LE(worst(third, whole), tolerance) << dtype << ", first " << first;
      EXPECT_GT(worst(second, whole), 1e-4) << "the last step must show";
    }
  }
  fs::remove_all(dir);
}

}  // namespace
}  // namespace cohort
