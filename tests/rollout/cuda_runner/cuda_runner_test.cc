// CudaRunner against TorchRunner in float32 on the CPU: the same small models, the same tokens.
#include <cuda_runtime_api.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <map>
#include <random>
#include <thread>

#include "learner/model/decoder.h"
#include "rollout/engine.h"
#include "rollout/model_runner.h"
#include "tests/kernels/gpu.h"
#include "tests/learner/folder/temp_folder.h"
#include "tests/learner/model/changed_weights.h"
#include "transport/base/error.h"
#include "transport/base/log.h"

namespace cohort {
namespace {

ModelConfig small(const std::string& type, int64_t head_dim = 64) {
  ModelConfig c;
  c.model_type = type;
  c.vocab_size = 515, c.hidden_size = 256, c.intermediate_size = 344, c.num_layers = 3;
  c.num_heads = 6, c.num_kv_heads = 2, c.head_dim = head_dim, c.max_position_embeddings = 2048;
  c.initializer_range =
      0.04;  // logits about as spread as a trained model's: bf16 leaves a mean |d| of some thousandths
  c.qkv_bias = type == "qwen2", c.qk_norm = type == "qwen3";
  if (type == "llama with biases")
    c.model_type = "llama", c.qkv_bias = c.o_bias = c.mlp_bias = true, c.intermediate_size = 352;
  c.tie_word_embeddings = c.model_type != "llama";
  return c;
}
// Rounded to bf16, so that both sides have the same weights.
std::shared_ptr<const WeightSet> weights_of(const ModelConfig& c, uint64_t seed, Version version = 0,
                                            DType dtype = DType::bf16) {
  Decoder d(c, torch::kCPU, torch::kFloat);
  d.init_random(seed);
  WeightSet rounded = d.snapshot(version, DType::bf16);
  test::fill_biases(rounded);
  if (dtype == DType::bf16) return std::make_shared<WeightSet>(std::move(rounded));
  d.load(rounded);
  return std::make_shared<WeightSet>(d.snapshot(version, DType::f32));
}
RunnerOptions cuda_options(int32_t slots = 24, int32_t context = 1200) {
  RunnerOptions o;
  o.max_slots = slots, o.max_context = context, o.device = "cuda", o.dtype = "bfloat16";
  return o;
}
std::unique_ptr<ModelRunner> reference_of(const ModelConfig& c, std::shared_ptr<const WeightSet> weights) {
  return make_torch_runner(c, std::move(weights), {.max_slots = 4, .max_context = 1200, .threads = 4});
}
std::vector<int32_t> random_tokens(std::mt19937& rng, size_t n, int32_t vocab = 515) {
  std::vector<int32_t> out(n);
  for (int32_t& t : out) t = int32_t(rng() % uint32_t(vocab));
  return out;
}

std::map<std::pair<GroupId, uint32_t>, Completion> sample_all(ModelRunner& runner,
                                                              const std::vector<EngineRequest>& requests,
                                                              EngineOptions options = {},
                                                              uint64_t* preemptions = nullptr) {
  Engine engine(runner, nullptr, options);
  std::map<std::pair<GroupId, uint32_t>, Completion> all;
  for (const EngineRequest& r : requests) engine.add(r);
  for (int i = 0; i < 1000000 && !engine.idle(); ++i)
    for (Completion& c : engine.step()) all.emplace(std::pair(c.group, c.index), std::move(c));
  EXPECT_TRUE(engine.idle());
  if (preemptions) *preemptions = engine.preemptions();
  return all;
}
EngineRequest request(std::mt19937& rng, GroupId group, uint32_t n, size_t prompt, SamplingParams p) {
  EngineRequest r;
  r.group = group, r.sampling = p;
  for (uint32_t i = 0; i < n; ++i) r.indices.push_back(i);
  r.prompt_ids = random_tokens(rng, prompt);
  return r;
}

// Groups 1 to `groups`, each with a prompt of its own of `shortest` tokens or up to `more` - 1 more.
std::vector<EngineRequest> requests_for(std::mt19937& rng, GroupId groups, uint32_t n, size_t shortest,
                                        size_t more, const SamplingParams& p) {
  std::vector<EngineRequest> all;
  for (GroupId g = 1; g <= groups; ++g) all.push_back(request(rng, g, n, shortest + rng() % more, p));
  return all;
}

struct Mismatch {
  double absolute = 0, kl = 0;
  size_t tokens = 0;
  double mean() const { return absolute / double(tokens); }
  double divergence() const { return kl / double(tokens); }
};
// Of the log-probs that came with the samples against the reference's of the same tokens.
Mismatch mismatch(ModelRunner& reference, const std::map<std::pair<GroupId, uint32_t>, Completion>& all) {
  Mismatch m;
  for (const auto& [key, c] : all) {
    std::vector<int32_t> ids = c.prompt_ids;
    ids.insert(ids.end(), c.token_ids.begin(), c.token_ids.end());
    const std::vector<float> want = reference.score(ids);
    for (size_t i = 0; i < c.token_ids.size(); ++i) {
      const double d = double(want[c.prompt_ids.size() - 1 + i]) - c.logprobs[i];
      EXPECT_LT(std::abs(d), 0.3) << "group " << key.first << " token " << i;
      m.absolute += std::abs(d), m.kl += std::exp(d) - 1 - d, ++m.tokens;
    }
  }
  return m;
}

TEST(CudaRunner, LogProbsAreTheReferences) {
  NEEDS_GPU();
  for (const char* type : {"llama", "llama with biases", "qwen2", "qwen3"})
    for (int64_t head_dim : {32, 64, 128}) {
      const ModelConfig c = small(type, head_dim);
      const auto weights = weights_of(c, 3);
      auto runner = make_cuda_runner(c, weights, cuda_options());
      auto reference = reference_of(c, weights);
      std::mt19937 rng(4);
      SamplingParams p;
      p.max_tokens = 60, p.seed = 7;
      std::vector<EngineRequest> requests = requests_for(rng, 6, 4, 1, 90, p);
      p.max_tokens = 20;
      requests.push_back(request(rng, 9, 1, 1100, p));  // over the attention's splits
      EngineOptions options;
      options.max_num_batched_tokens = 150;  // prompts come in chunks, mixed with decoding
      const auto all = sample_all(*runner, requests, options);
      ASSERT_EQ(all.size(), 25u);
      const Mismatch m = mismatch(*reference, all);
      std::printf("%s head_dim %d: mean |d| %.5f, KL %.2e on %zu tokens\n", type, int(head_dim), m.mean(),
                  m.divergence(), m.tokens);
      EXPECT_LT(m.mean(), 0.01) << type;
      EXPECT_LT(m.divergence(), 1e-3) << type;
      // score() takes the other path, all at once
      std::vector<int32_t> ids = random_tokens(rng, 700);
      const auto got = runner->score(ids), want = reference->score(ids);
      ASSERT_EQ(got.size(), want.size());
      double sum = 0;
      for (size_t i = 0; i < got.size(); ++i) sum += std::abs(got[i] - want[i]);
      EXPECT_LT(sum / double(got.size()), 0.01);
    }
}

// Whether prompts are computed by small products or by cuBLAS's.
TEST(CudaRunner, TheResidualStreamIsNotRounded) {
  NEEDS_GPU();
  ModelConfig c = small("llama");
  c.num_layers = 24;
  auto weights = std::make_shared<WeightSet>(*weights_of(c, 19));
  test::enlarge_embeddings(*weights);
  auto reference = reference_of(c, weights);
  std::mt19937 rng(20);
  SamplingParams p;
  p.max_tokens = 60, p.seed = 7;
  const std::vector<EngineRequest> requests = requests_for(rng, 4, 4, 1, 90, p);
  for (const int rows : {512, 0}) {
    RunnerOptions o = cuda_options();
    o.hopper_gemm_rows = rows;
    auto runner = make_cuda_runner(c, weights, o);
    const Mismatch m = mismatch(*reference, sample_all(*runner, requests));
    std::printf("small products up to %d rows: mean |d| %.5f\n", rows, m.mean());
    EXPECT_LT(m.mean(), 0.003) << rows;
  }
}

TEST(CudaRunner, GreedyIsTheReferencesUpToTies) {
  NEEDS_GPU();
  for (const char* type : {"llama", "qwen2", "qwen3"}) {
    const ModelConfig c = small(type);
    const auto weights = weights_of(c, 5);
    auto runner = make_cuda_runner(c, weights, cuda_options());
    auto reference = reference_of(c, weights);
    std::mt19937 rng(6);
    SamplingParams greedy;
    greedy.temperature = 0, greedy.max_tokens = 50;
    const std::vector<EngineRequest> requests = requests_for(rng, 16, 1, 3, 40, greedy);
    size_t same = 0, tokens = 0;
    for (const auto& [key, got] : sample_all(*runner, requests)) {
      Engine engine(*reference, nullptr);
      engine.add(requests[key.first - 1]);
      std::vector<Completion> want;
      while (want.empty()) want = engine.step();
      size_t i = 0;
      while (i < got.token_ids.size() && got.token_ids[i] == want[0].token_ids[i]) ++i;
      same += i, tokens += got.token_ids.size();
      if (i == got.token_ids.size()) continue;
      // Where they part, the reference must hold our token for as likely as its own, to what bf16 can tell.
      std::vector<int32_t> ids = got.prompt_ids;
      ids.insert(ids.end(), got.token_ids.begin(), got.token_ids.begin() + int64_t(i) + 1);
      EXPECT_NEAR(reference->score(ids).back(), want[0].logprobs[i], 0.06)
          << type << " group " << key.first << " token " << i;
    }
    std::printf("%s: %zu of %zu greedy tokens before the first tie\n", type, same, tokens);
    EXPECT_GT(same, tokens / 2);
  }
}

// Graphs or not, overlapping launches or not, small or cuBLAS products: the same model.
TEST(CudaRunner, EveryWayOfRunningIsTheSameModel) {
  NEEDS_GPU();
  const ModelConfig c = small("qwen2");
  const auto weights = weights_of(c, 8);
  auto reference = reference_of(c, weights);
  std::mt19937 rng(9);
  SamplingParams p;
  p.max_tokens = 40, p.seed = 3;
  std::vector<EngineRequest> requests;
  for (GroupId g = 1; g <= 5; ++g) requests.push_back(request(rng, g, 18, 20 + g, p));
  for (int way = 0; way < 5; ++way) {
    RunnerOptions o = cuda_options(way == 4 ? 10 : 90);
    o.cuda_graphs = way != 1, o.early_launch = way != 2;
    if (way == 3) o.hopper_gemm_rows = 0;
    if (way == 0) o.batch_invariant = true;
    auto runner = make_cuda_runner(c, weights, o);
    const Mismatch m = mismatch(*reference, sample_all(*runner, requests));
    EXPECT_LT(m.mean(), 0.01) << way;
    EXPECT_EQ(m.tokens, 5u * 18 * 40);
  }
}

TEST(CudaRunner, ASampleDoesNotDependOnItsBatch) {
  NEEDS_GPU();
  const ModelConfig c = small("qwen3");
  RunnerOptions o = cuda_options(64);
  o.batch_invariant = true;
  auto runner = make_cuda_runner(c, weights_of(c, 10), o);
  std::mt19937 rng(11);
  SamplingParams p;
  p.max_tokens = 50, p.seed = 4;
  const std::vector<EngineRequest> requests = requests_for(rng, 16, 4, 1, 30, p);
  const auto together = sample_all(*runner, requests);
  for (size_t i : {0, 7, 15}) {
    const auto alone = sample_all(*runner, {requests[i]});
    for (const auto& [key, want] : alone) {
      EXPECT_EQ(together.at(key).token_ids, want.token_ids);
      EXPECT_EQ(together.at(key).logprobs, want.logprobs);
    }
  }
}

TEST(CudaRunner, TruncatedAndRepeatableSampling) {
  NEEDS_GPU();
  const ModelConfig c = small("llama");
  auto runner = make_cuda_runner(c, weights_of(c, 12), cuda_options());
  std::mt19937 rng(13);
  SamplingParams p;
  p.max_tokens = 30, p.top_p = 0.8, p.top_k = 40, p.min_p = 0.01, p.temperature = 0.9;
  const std::vector<EngineRequest> requests = {request(rng, 1, 8, 20, p),
                                               request(rng, 2, 8, 5, {.max_tokens = 30})};
  const auto a = sample_all(*runner, requests), b = sample_all(*runner, requests);
  for (const auto& [key, c1] : a) {
    EXPECT_EQ(c1.token_ids, b.at(key).token_ids);
    EXPECT_EQ(c1.logprobs, b.at(key).logprobs);
    for (float l : c1.logprobs) EXPECT_LE(l, 1e-4f);
  }
}

TEST(CudaRunner, ACacheThatIsTooSmallLosesNothing) {
  NEEDS_GPU();
  const ModelConfig c = small("qwen2");
  const auto weights = weights_of(c, 14);
  auto reference = reference_of(c, weights);
  RunnerOptions o = cuda_options(24, 512);
  const double page = double(c.num_layers * 2 * c.num_kv_heads * 16 * c.head_dim * 2);
  o.kv_memory_gib = page * 70 / double(1 << 30);  // 24 sequences of 130 tokens would need 216
  auto runner = make_cuda_runner(c, weights, o);
  std::mt19937 rng(15);
  SamplingParams p;
  p.max_tokens = 100;
  const std::vector<EngineRequest> requests = requests_for(rng, 10, 4, 5, 60, p);
  uint64_t preemptions = 0;
  const auto all = sample_all(*runner, requests, {}, &preemptions);
  EXPECT_EQ(all.size(), 40u);
  EXPECT_GT(preemptions, 0u);
  const Mismatch m = mismatch(*reference, all);
  EXPECT_LT(m.mean(), 0.01);
  EXPECT_LT(m.divergence(), 1e-3);
}

// Ten sequences on their way to 32k tokens, in a cache that holds a third of them: all end, and what was given up and computed
// again by prompt chunks has the log-probs that it had.
TEST(CudaRunner, LongGenerationsOutgrowTheCache) {
  NEEDS_GPU();
  constexpr int32_t kContext = 32768;
  ModelConfig c = small("qwen2");
  c.max_position_embeddings = kContext;
  const auto weights = weights_of(c, 17);
  RunnerOptions o = cuda_options(10, kContext);
  const double page = double(c.num_layers * 2 * c.num_kv_heads * 16 * c.head_dim * 2);
  o.kv_memory_gib = page * (3.3 * kContext / 16) / double(1 << 30);
  auto runner = make_cuda_runner(c, weights, o);
  std::mt19937 rng(18);
  SamplingParams p;
  p.ignore_eos = true;
  std::vector<EngineRequest> requests;
  for (GroupId g = 1; g <= 5; ++g) {
    p.max_tokens = kContext - int32_t(1000 * g);
    requests.push_back(request(rng, g, 2, 1000, p));
  }
  uint64_t preemptions = 0;
  const auto all = sample_all(*runner, requests, {}, &preemptions);
  ASSERT_EQ(all.size(), 10u);
  EXPECT_GT(preemptions, 0u);
  auto reference = make_torch_runner(c, weights, {.max_slots = 1, .max_context = kContext, .threads = 16});
  std::map<std::pair<GroupId, uint32_t>, Completion> some;
  for (const auto& [key, completion] : all) {
    EXPECT_EQ(completion.token_ids.size(), size_t(kContext) - 1000 * key.first);
    if (key == std::pair(GroupId{5}, 1u)) some.emplace(key, completion);  // the last to start is given up
  }
  const Mismatch m = mismatch(*reference, some);
  std::printf("%d sequences given up, mean |d| %.5f, KL %.2e on %zu tokens\n", int(preemptions), m.mean(),
              m.divergence(), m.tokens);
  EXPECT_LT(m.mean(), 0.01);
  EXPECT_LT(m.divergence(), 1e-3);
}

// A step counts its context's splits by powers of two: 4 where the longest context that there can be has 3.
TEST(CudaRunner, ThereIsRoomForTheSplitsOfTheLongestContext) {
  NEEDS_GPU();
  ModelConfig c = small("qwen2");
  c.max_position_embeddings = 2400;
  const auto weights = weights_of(c, 17);
  auto runner = make_cuda_runner(c, weights, cuda_options(24, 2300));
  std::mt19937 rng(18);
  SamplingParams p;
  p.max_tokens = 60, p.ignore_eos = true;
  std::vector<EngineRequest> requests;
  for (GroupId g = 1; g <= 3; ++g) requests.push_back(request(rng, g, 8, 2200, p));
  const auto all = sample_all(*runner, requests);
  ASSERT_EQ(all.size(), 24u);
  auto reference = make_torch_runner(c, weights, {.max_slots = 4, .max_context = 2300, .threads = 4});
  EXPECT_LT(mismatch(*reference, all).mean(), 0.01);
}

TEST(CudaRunner, WeightsAreSwappedBetweenSteps) {
  NEEDS_GPU();
  const ModelConfig c = small("qwen3");
  auto runner = make_cuda_runner(c, nullptr, cuda_options());
  SamplingParams p;
  const std::vector<int32_t> one = {5};
  SequenceStep s{0, one, true, &p, 1, 0, 0};
  Sampled out;
  EXPECT_THROW(runner->step({&s, 1}, {&out, 1}), Error);
  EXPECT_FALSE(runner->swap_weights());
  std::mt19937 rng(16);
  const std::vector<int32_t> ids = random_tokens(rng, 50);
  for (Version v : {1u, 2u, 3u}) {
    const auto weights =
        weights_of(c, v, v, v == 2 ? DType::f32 : DType::bf16);  // what a learner in float32 sends
    std::thread([&] { runner->stage_weights(weights); }).join();
    ASSERT_TRUE(runner->swap_weights());
    EXPECT_FALSE(runner->swap_weights());
    EXPECT_EQ(runner->version(), v);
    const auto got = runner->score(ids), want = reference_of(c, weights)->score(ids);
    double sum = 0;
    for (size_t i = 0; i < got.size(); ++i) sum += std::abs(got[i] - want[i]);
    EXPECT_LT(sum / double(got.size()), 0.01) << v;
  }
}

// The graphs of one buffer of weights are not used with the other, and what is being staged is not seen by a step.
TEST(CudaRunner, GraphsReadTheWeightsThatWereSwappedIn) {
  NEEDS_GPU();
  const ModelConfig c = small("llama");
  auto runner = make_cuda_runner(c, weights_of(c, 1, 1), cuda_options());
  std::mt19937 rng(19);
  SamplingParams p;
  p.max_tokens = 60, p.ignore_eos = true;
  const std::vector<EngineRequest> requests = {request(rng, 1, 8, 20, p), request(rng, 2, 8, 30, p)};
  for (Version v = 1; v <= 5; ++v) {
    std::thread next([&] { runner->stage_weights(weights_of(c, v + 1, v + 1)); });
    const auto all =
        sample_all(*runner, requests);  // the same batches, so the same graphs, two versions later
    next.join();
    EXPECT_LT(mismatch(*reference_of(c, weights_of(c, v, v)), all).mean(), 0.01) << v;
    ASSERT_TRUE(runner->swap_weights());
  }
}

// Choosing takes longer than the last few steps of a run: fewer rows take the choices of more until they have had many steps.
TEST(CudaRunner, ChoicesAreMadeOnceTheyPay) {
  NEEDS_GPU();
  const ModelConfig c = small("qwen2");
  const auto weights = weights_of(c, 20);
  auto reference = reference_of(c, weights);
  const TempFolder folder;
  log::init("test", folder / "log");
  const auto chosen = [&](int rows) {
    log::flush();
    return read_file(folder / "log").find(fmt::format(" {} rows, QKV", rows)) != std::string::npos;
  };
  auto runner = make_cuda_runner(c, weights, cuda_options());
  std::mt19937 rng(21);
  const auto run = [&](GroupId group, uint32_t n, int32_t tokens) {
    SamplingParams p;
    p.max_tokens = tokens, p.ignore_eos = true;
    const Mismatch m = mismatch(*reference, sample_all(*runner, {request(rng, group, n, 20, p)}));
    EXPECT_EQ(m.tokens, n * size_t(tokens));
    EXPECT_LT(m.mean(), 0.01) << "group " << group;
  };
  run(1, 16, 10);
  EXPECT_TRUE(chosen(16));
  run(2, 4, 200);
  EXPECT_FALSE(chosen(4));
  run(3, 4, 200);  // the change is in the middle
  EXPECT_TRUE(chosen(4));
  log::init("test");
}

std::string refusal(const ModelConfig& c, const RunnerOptions& o) {
  try {
    make_cuda_runner(c, nullptr, o);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(CudaRunner, BadStatesGiveOneLine) {
  const ModelConfig c = small("llama");
  RunnerOptions o = cuda_options();
  o.device = "cuda:x";
  EXPECT_THAT(refusal(c, o), testing::HasSubstr("use \"cpu\", \"cuda\" or \"cuda:N\""));
  o = cuda_options();
  if (!cuda::have_gpu()) {
    EXPECT_THAT(refusal(c, o), testing::HasSubstr("no GPU on this machine"));
    GTEST_SKIP() << "no GPU for the rest";
  }
  o.device = "cuda:7";
  EXPECT_THAT(refusal(c, o), testing::HasSubstr("this machine has "));
  o = cuda_options();
  o.dtype = "float32";
  EXPECT_THAT(refusal(c, o), testing::HasSubstr("computes in bfloat16"));
  o = cuda_options();
  o.kv_memory_gib = 0.001;  // 43 pages of 24 KiB, two sequences of 1200 tokens are 150
  EXPECT_THAT(refusal(c, o),
              testing::HasSubstr("kv_memory_gib = 0.001: the KV cache of two sequences of 1200 "
                                 "tokens needs 0.0034 GiB"));
  ModelConfig odd = small("llama", 80);
  EXPECT_THAT(refusal(odd, cuda_options()), testing::HasSubstr("head_dim 32, 64 or 128"));
  ModelConfig large = small("llama");
  large.hidden_size = 16384, large.intermediate_size = 65536, large.num_layers = 100;
  EXPECT_THAT(refusal(large, cuda_options()),
              testing::AllOf(testing::HasSubstr("not enough GPU memory"), testing::HasSubstr("GiB")));
}

}  // namespace
}  // namespace cohort
