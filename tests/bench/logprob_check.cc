// The log-probs that come with CudaRunner's samples against the same tokens' from TorchRunner in float32 and from the GPU
// learner in bfloat16, all on one GPU.
//   usage: logprob_check [--tokens 100000] [--spread S]…       spread: the logits' standard deviation, 0.6
//          logprob_check --model FOLDER --data PROMPTS.jsonl [--tokens 100000]
// Random weights of the Qwen2.5-0.5B shape rounded to bf16, random prompts and 400 tokens each; or a real model's, at
// temperature 1 after the file's prompts, to its end of text or 256 tokens.
// Ends with 1 where the mean |difference| is above 0.01 or the divergence above 0.001.
//
// A difference d = log p_other - log p_sampler of a token that the sampler drew; exp(d) - 1 - d is, in the mean, the
// divergence of the sampler from the other. A fresh model has a spread of 0.6 and is nearly indifferent between 152k tokens;
// the final norm is scaled for larger ones. bf16 is off by a share of the logits, so differences grow with the spread.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "learner/model/random_init.h"
#include "learner/policy.h"
#include "rollout/engine.h"
#include "rollout/prompt.h"
#include "transport/base/error.h"

namespace cohort {
namespace {

constexpr int32_t kPrompt = 64, kNew = 400, kBatch = 128;

ModelConfig shape() {
  ModelConfig c;
  c.model_type = "qwen2", c.vocab_size = 151936, c.max_position_embeddings = 32768, c.rope_theta = 1e6;
  c.tie_word_embeddings = true, c.qkv_bias = true;
  c.hidden_size = 896, c.intermediate_size = 4864, c.num_layers = 24, c.num_heads = 14, c.num_kv_heads = 2,
  c.head_dim = 64;
  return c;
}

// One block of normal draws over and over, in bf16; the final norm makes the logits as spread as wanted.
std::shared_ptr<const WeightSet> weights_of(const ModelConfig& config, double spread) {
  std::vector<float> block((size_t{4} << 20) + 7);
  fill_normal(block.data(), block.size(), config.initializer_range, 1, 1);
  auto set = std::make_shared<WeightSet>();
  set->manifest.tensors = config.tensors(DType::bf16);
  lay_out(set->manifest);
  set->data.resize(set->manifest.total_bytes);
  const auto norm = float(spread / (config.initializer_range * std::sqrt(double(config.hidden_size))));
  const std::vector<float> last(size_t(config.hidden_size), norm), ones(size_t(config.hidden_size), 1.0f);
  for (const TensorSpec& t : set->manifest.tensors) {
    std::byte* to = set->data.data() + t.offset;
    const bool is_norm = t.name.ends_with("norm.weight");
    const std::vector<float>& from = t.name == "model.norm.weight" ? last : is_norm ? ones : block;
    for (uint64_t at = 0; at < t.bytes / 2; at += from.size())
      convert_elements(reinterpret_cast<const std::byte*>(from.data()), DType::f32, to + 2 * at, DType::bf16,
                       std::min<uint64_t>(from.size(), t.bytes / 2 - at));
  }
  return set;
}

struct Difference {
  double absolute = 0, largest = 0, divergence = 0;
  size_t tokens = 0;
  void add(double other, double sampler) {
    const double d = other - sampler;
    absolute += std::abs(d), largest = std::max(largest, std::abs(d)), divergence += std::exp(d) - 1 - d,
                             ++tokens;
  }
  bool print(const char* what, const std::string& label) const {
    const double mean = absolute / double(tokens), kl = divergence / double(tokens);
    fmt::print("| {} | {} | {} | {:.5f} | {:.3f} | {:.2e} |\n", label, what, tokens, mean, largest, kl);
    return mean <= 0.01 && kl <= 1e-3;
  }
};

struct Case {
  std::string label;
  ModelConfig config;
  std::shared_ptr<const WeightSet> weights;
  std::vector<std::vector<int32_t>> prompts;  // taken again from the first when they are used up
  SamplingParams sampling;
};

Case random_case(double spread) {
  Case c{fmt::format("{:.1f}", spread), shape(), {}, {}, {}};
  c.weights = weights_of(c.config, spread);
  std::mt19937 rng(2);
  for (int32_t i = 0; i < 1000; ++i) {
    std::vector<int32_t>& prompt = c.prompts.emplace_back();
    for (int32_t t = 0; t < kPrompt; ++t) prompt.push_back(int32_t(rng() % uint32_t(c.config.vocab_size)));
  }
  c.sampling.max_tokens = kNew, c.sampling.ignore_eos = true, c.sampling.seed = 3;
  return c;
}

Case real_case(const std::string& folder, const std::string& data) {
  Case c{folder.substr(folder.rfind('/') + 1), ModelConfig::read(folder), {}, {}, {}};
  c.weights = std::make_shared<WeightSet>(read_weights(folder, c.config, DType::bf16));
  const PromptEncoder encoder = PromptEncoder::read(folder);
  std::ifstream file(data);
  for (std::string line; std::getline(file, line) && c.prompts.size() < 1000;)
    c.prompts.push_back(encoder.encode(nlohmann::ordered_json::parse(line)));
  if (c.prompts.empty()) fail("{}: no prompts in it", data);
  c.sampling.max_tokens = 256, c.sampling.seed = 3;
  return c;
}

int32_t context_of(const Case& c) {
  size_t longest = 0;
  for (const auto& prompt : c.prompts) longest = std::max(longest, prompt.size());
  return int32_t(longest) + c.sampling.max_tokens;
}

// Whole completions, at least so many tokens of them.
std::vector<Completion> sample(const Case& c, int64_t tokens) {
  RunnerOptions o;
  o.device = "cuda", o.dtype = "bfloat16", o.max_slots = kBatch, o.max_context = context_of(c),
  o.max_step_tokens = 4096;
  const auto runner = make_cuda_runner(c.config, c.weights, o);
  Engine engine(*runner, nullptr, {});
  std::vector<Completion> all;
  for (GroupId next = 1; tokens > 0;) {
    while (engine.running() + engine.waiting() < kBatch) {
      engine.add({next, {0}, c.prompts[size_t(next - 1) % c.prompts.size()], c.sampling});
      ++next;
    }
    for (Completion& done : engine.step()) {
      tokens -= int64_t(done.token_ids.size());
      all.push_back(std::move(done));
    }
  }
  return all;
}

bool within_bounds(const Case& it, int64_t tokens) {
  const ModelConfig& config = it.config;
  const auto& weights = it.weights;
  const std::vector<Completion> all = sample(it, tokens);
  double entropy = 0;
  std::vector<std::vector<float>> exact;
  {
    const auto reference = make_torch_runner(
        config, weights,
        {.max_slots = 1, .max_context = context_of(it), .device = "cuda", .dtype = "float32"});
    for (const Completion& c : all) {
      std::vector<int32_t> ids = c.prompt_ids;
      ids.insert(ids.end(), c.token_ids.begin(), c.token_ids.end());
      const std::vector<float> scores = reference->score(ids);
      exact.emplace_back(scores.end() - int64_t(c.token_ids.size()), scores.end());
    }
  }
  Policy learner(config, "cuda", "bfloat16", false);
  learner.load(*weights);
  Difference runner_exact, runner_learner, learner_exact;
  for (size_t first = 0; first < all.size(); first += 16) {
    PackedBatch pack;
    const size_t end = std::min(first + 16, all.size());
    for (size_t i = first; i < end; ++i) pack.add(all[i].prompt_ids, all[i].token_ids);
    const TokenScores scores = learner.score(pack, 1);
    size_t at = 0;
    for (size_t i = first; i < end; ++i)
      for (size_t t = 0; t < all[i].logprobs.size(); ++t, ++at) {
        runner_exact.add(exact[i][t], all[i].logprobs[t]);
        runner_learner.add(scores.logprobs[at], all[i].logprobs[t]);
        learner_exact.add(exact[i][t], scores.logprobs[at]);
        entropy -= all[i].logprobs[t];
      }
  }
  bool good = runner_exact.print("CudaRunner, TorchRunner in float32", it.label);
  good &= runner_learner.print("CudaRunner, learner in bf16", it.label);
  learner_exact.print("learner in bf16, TorchRunner in float32", it.label);
  fmt::print("mean log-prob of {}: {:.2f}; {} completions\n", it.label,
             -entropy / double(runner_exact.tokens), all.size());
  std::fflush(stdout);
  return good;
}

}  // namespace
}  // namespace cohort

int main(int argc, char** argv) {
  return cohort::run_main("logprob_check", [&] {
    int64_t tokens = 100000;
    std::vector<double> spreads;
    std::string model, data;
    for (int i = 1; i < argc; ++i) {
      const std::string name = argv[i];
      if (i + 1 == argc) cohort::fail_usage("{} needs a value", name);
      if (name == "--tokens")
        tokens = std::stoll(argv[++i]);
      else if (name == "--spread")
        spreads.push_back(std::stod(argv[++i]));
      else if (name == "--model")
        model = argv[++i];
      else if (name == "--data")
        data = argv[++i];
      else
        cohort::fail_usage("unknown argument {}", name);
    }
    if (model.empty() != data.empty()) cohort::fail_usage("--model and --data go together");
    if (spreads.empty() && model.empty()) spreads = {0.6};
    bool good = true;
    fmt::print(
        "| spread or model | between | tokens | mean abs. difference | largest | divergence |\n| --- | --- | "
        "--- | "
        "--- | --- | --- |\n");
    if (!model.empty()) good &= cohort::within_bounds(cohort::real_case(model, data), tokens);
    for (double spread : spreads) good &= cohort::within_bounds(cohort::random_case(spread), tokens);
    return good ? 0 : 1;
  });
}
