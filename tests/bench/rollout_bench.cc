// Decoding speed of the GPU rollout engine on random weights, beside the memory-bandwidth limit.
//   usage: rollout_bench [--model 135m|0.5b|1.5b] [--batch N[,N…]] [--prompt N] [--new N] [--runs N] [--hopper-rows N] [--invariant] [--no-graphs]
//                        [--no-early] [--sync] [--top-p P] [--profile] [--groups G] [--ahead N] [--one-by-one] [--choices]
//
// All sequences have different prompts and end by length. Two figures: tokens/s of the whole run, prefill included, and of
// decoding alone (median time of the steps in which all sequences run). The limit: every weight and every sequence's KV read
// once a step, at the bandwidth of a device-to-device copy measured here. --profile: one decode step between
// cudaProfilerStart and Stop, for ncu --profile-from-start off. --choices: which kernels the products take, on stderr.
//
// --groups G: what reinforcement learning asks for instead. Groups of G completions share a prompt, each completion ends by a
// stop token (one token in 125 is one) or at --new tokens, and new groups come as places become free, --ahead sequences ahead
// of them (a quarter of the batch, as cohort-rollout asks for; an eighth with --one-by-one). Tokens/s while there are always more. --one-by-one: without
// prompts computed together.
#include <cuda_profiler_api.h>
#include <cuda_runtime_api.h>
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <random>
#include <sstream>

#include "kernels/cuda_check.h"
#include "rollout/engine.h"
#include "tests/bench/qwen_shapes.h"
#include "transport/base/log.h"

namespace cohort {
namespace {

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double copy_bandwidth() {
  constexpr size_t kBytes = size_t{2} << 30;
  void *a = nullptr, *b = nullptr;
  CUDA_CHECK(cudaMalloc(&a, kBytes));
  CUDA_CHECK(cudaMalloc(&b, kBytes));
  CUDA_CHECK(cudaMemset(a, 1, kBytes));
  cudaEvent_t begin, end;
  CUDA_CHECK(cudaEventCreate(&begin));
  CUDA_CHECK(cudaEventCreate(&end));
  std::vector<float> ms;
  for (int i = 0; i < 10; ++i) {
    CUDA_CHECK(cudaEventRecord(begin));
    CUDA_CHECK(cudaMemcpyAsync(b, a, kBytes, cudaMemcpyDeviceToDevice));
    CUDA_CHECK(cudaEventRecord(end));
    CUDA_CHECK(cudaEventSynchronize(end));
    CUDA_CHECK(cudaEventElapsedTime(&ms.emplace_back(), begin, end));
  }
  std::sort(ms.begin(), ms.end());
  cudaFree(a), cudaFree(b);
  return 2.0 * double(kBytes) / (double(ms[5]) * 1e-3);
}

struct Flags {
  std::string model = "0.5b";
  std::vector<int32_t> batches = {64};
  int32_t batch = 64, prompt = 128, tokens = 256, runs = 2, hopper_rows = -1;
  int32_t groups = 0, ahead = -1;
  double top_p = 1;
  bool graphs = true, early = true, sync = false, profile = false, invariant = false, one_by_one = false;
};

// The runner, with the time spent in it. --sync hides that it overlaps: what the CPU's work costs when nothing hides it;
// --one-by-one hides its slots for prompts.
class Watched : public ModelRunner {
 public:
  Watched(ModelRunner& r, const Flags& f) : r_(r), overlaps_(!f.sync), together_(!f.one_by_one) {}
  double begin_s = 0, wait_s = 0;

  const ModelConfig& config() const override { return r_.config(); }
  int32_t max_slots() const override { return r_.max_slots(); }
  int32_t max_context() const override { return r_.max_context(); }
  int32_t prompt_slots() const override { return together_ ? r_.prompt_slots() : 0; }
  bool overlaps() const override { return overlaps_; }
  void begin_step(std::span<const SequenceStep> s) override {
    const double began = seconds();
    r_.begin_step(s);
    begin_s += seconds() - began;
  }
  void end_step(std::span<Sampled> out) override {
    const double began = seconds();
    r_.end_step(out);
    wait_s += seconds() - began;
  }
  void step(std::span<const SequenceStep> s, std::span<Sampled> out) override {
    begin_step(s);
    end_step(out);
  }
  std::vector<float> score(std::span<const int32_t> t) override { return r_.score(t); }
  void reset_slot(int32_t slot) override { r_.reset_slot(slot); }
  bool reserve(int32_t slot, int32_t n) override { return r_.reserve(slot, n); }
  bool copy_slot(int32_t from, int32_t to) override { return r_.copy_slot(from, to); }
  int32_t slot_length(int32_t slot) const override { return r_.slot_length(slot); }
  void stage_weights(std::shared_ptr<const WeightSet> w) override { r_.stage_weights(std::move(w)); }
  bool swap_weights() override { return r_.swap_weights(); }
  Version version() const override { return r_.version(); }

 private:
  ModelRunner& r_;
  bool overlaps_, together_;
};

std::unique_ptr<ModelRunner> runner_of(const Flags& f, const ModelConfig& c,
                                       const std::shared_ptr<const WeightSet>& weights) {
  RunnerOptions options;
  options.device = "cuda", options.dtype = "bfloat16";
  options.max_slots = f.batch, options.max_context = f.prompt + f.tokens, options.max_step_tokens = 8192;
  options.cuda_graphs = f.graphs, options.early_launch = f.early, options.hopper_gemm_rows = f.hopper_rows,
  options.batch_invariant = f.invariant;
  return make_cuda_runner(c, weights, options);
}

std::vector<int32_t> random_prompt(const Flags& f, const ModelConfig& c, std::mt19937& rng) {
  std::vector<int32_t> ids;
  for (int32_t t = 0; t < f.prompt; ++t) ids.push_back(int32_t(rng() % uint32_t(c.vocab_size)));
  return ids;
}

struct StreamFigures {
  double tokens_s = 0, step_ms = 0, begin_ms = 0, wait_ms = 0, prompts = 0, sequences = 0, length = 0;
};

// Eleven batches of groups; the first three are left out.
StreamFigures stream(const Flags& f, Watched& runner, uint64_t seed) {
  EngineOptions engine_options;
  engine_options.max_num_batched_tokens = 8192;
  Engine engine(runner, nullptr, engine_options);
  std::mt19937 rng(static_cast<unsigned>(seed));
  const auto a_batch = GroupId(std::max(1, f.batch / f.groups));
  const auto held =
      size_t(f.batch + (f.ahead >= 0 ? f.ahead : std::max(f.groups, f.batch / (f.one_by_one ? 8 : 4))));
  EngineRequest r;
  r.sampling.max_tokens = f.tokens, r.sampling.ignore_eos = true, r.sampling.seed = seed,
  r.sampling.top_p = f.top_p;
  for (int32_t id = 0; id < runner.config().vocab_size; id += 125) r.sampling.stop_token_ids.push_back(id);
  double began = 0, steps = 0, with_prompt = 0, completions = 0;
  uint64_t sampled = 0;
  GroupId next = 1;
  while (next <= 11 * a_batch) {
    for (; engine.running() + engine.waiting() < held; ++next) {
      r.group = next, r.prompt_ids = random_prompt(f, runner.config(), rng), r.indices.clear();
      for (int32_t i = 0; i < f.groups; ++i) r.indices.push_back(uint32_t(i));
      engine.add(r);
    }
    if (began == 0 && next > 3 * a_batch)
      began = seconds(), sampled = engine.tokens_sampled(), runner.begin_s = runner.wait_s = 0;
    const uint64_t prefilled = engine.tokens_prefilled();
    const std::vector<Completion> done = engine.step();
    if (began > 0)
      ++steps, with_prompt += engine.tokens_prefilled() > prefilled, completions += double(done.size());
  }
  const double took = seconds() - began, tokens = double(engine.tokens_sampled() - sampled);
  engine.give_back(true);
  while (!engine.step().empty()) {
  }  // the pass ahead
  return {tokens / took,       1e3 * took / steps, 1e3 * runner.begin_s / steps, 1e3 * runner.wait_s / steps,
          with_prompt / steps, tokens / steps,     tokens / completions};
}

void bench_stream(const Flags& f, const ModelConfig& c, const std::shared_ptr<const WeightSet>& weights) {
  const auto cuda_runner = runner_of(f, c, weights);
  Watched runner(*cuda_runner, f);
  std::vector<StreamFigures> all;
  for (int run = 0; run <= f.runs; ++run) {
    const StreamFigures one = stream(f, runner, uint64_t(run) + 1);
    if (run > 0) all.push_back(one);  // the first captures graphs and measures products
  }
  std::ranges::sort(all, {}, &StreamFigures::tokens_s);
  const StreamFigures& m = all[all.size() / 2];
  fmt::print(
      "{{\"model\": \"{}\", \"batch\": {}, \"group\": {}, \"prompt\": {}, \"together\": {}, \"tokens_s\": "
      "{:.0f}, "
      "\"spread\": [{:.0f}, {:.0f}], \"step_ms\": {:.3f}, \"begin_ms\": {:.3f}, \"wait_ms\": {:.3f}, "
      "\"steps_with_prompts\": {:.3f}, \"sequences_a_step\": {:.1f}, \"length\": {:.1f}, \"ahead\": {}}}\n",
      f.model, f.batch, f.groups, f.prompt, !f.one_by_one, m.tokens_s, all.front().tokens_s,
      all.back().tokens_s, m.step_ms, m.begin_ms, m.wait_ms, m.prompts, m.sequences, m.length, f.ahead);
}

void bench(const Flags& f, const ModelConfig& c, const std::shared_ptr<const WeightSet>& weights_set,
           double bandwidth) {
  const auto cuda_runner = runner_of(f, c, weights_set);
  Watched runner(*cuda_runner, f);
  EngineOptions engine_options;
  engine_options.max_num_batched_tokens = 8192;
  std::mt19937 rng(1);
  std::vector<double> whole, decode;
  double preparation = 0;
  for (int run = 0; run <= f.runs; ++run) {  // the first captures graphs and measures products
    Engine engine(runner, nullptr, engine_options);
    for (int32_t i = 0; i < f.batch; ++i) {
      EngineRequest r;
      r.group = GroupId(i + 1), r.indices = {0};
      r.prompt_ids = random_prompt(f, c, rng);
      r.sampling.max_tokens = f.tokens, r.sampling.ignore_eos = true, r.sampling.seed = uint64_t(run),
      r.sampling.top_p = f.top_p;
      engine.add(std::move(r));
    }
    std::vector<double> steps;
    const double began = seconds();
    double last = began;
    while (!engine.idle()) {
      const bool full = engine.running() == size_t(f.batch);
      if (f.profile && run == 1 && steps.size() == size_t(f.tokens / 2)) CUDA_CHECK(cudaProfilerStart());
      engine.step();
      if (f.profile && run == 1 && steps.size() == size_t(f.tokens / 2)) {
        CUDA_CHECK(cudaDeviceSynchronize());
        CUDA_CHECK(cudaProfilerStop());
      }
      const double now = seconds();
      if (full && engine.running() == size_t(f.batch)) steps.push_back(now - last);
      last = now;
    }
    const double total = seconds() - began;
    if (run == 0) {
      preparation = total;
      continue;
    }
    // all but the ends, where the pass ahead is not there yet
    double sum = 0;
    const size_t skip = 4;
    for (size_t i = skip; i + skip < steps.size(); ++i) sum += steps[i];
    decode.push_back(double(steps.size() - 2 * skip) * f.batch / sum);
    whole.push_back(double(f.batch) * f.tokens / total);
  }
  std::sort(whole.begin(), whole.end()), std::sort(decode.begin(), decode.end());
  const double weights = 2.0 * double(c.num_parameters());
  const double kv =
      2.0 * double(c.num_layers * c.num_kv_heads * c.head_dim) * 2 * (f.prompt + f.tokens / 2.0) * f.batch;
  const double limit = f.batch / ((weights + kv) / bandwidth);
  const double middle = decode[decode.size() / 2];
  fmt::print(
      "{{\"model\": \"{}\", \"batch\": {}, \"prompt\": {}, \"new\": {}, \"decode_tokens_s\": {:.0f}, "
      "\"step_ms\": {:.4f}, "
      "\"whole_tokens_s\": {:.0f}, \"spread\": [{:.0f}, {:.0f}], \"copy_TB_s\": {:.3f}, \"limit_tokens_s\": "
      "{:.0f}, "
      "\"fraction\": {:.3f}, \"first_run_s\": {:.2f}, \"graphs\": {}, \"early\": {}, \"overlap\": {}, "
      "\"hopper_rows\": {}, \"invariant\": {}, \"top_p\": {}}}\n",
      f.model, f.batch, f.prompt, f.tokens, middle, 1e3 * f.batch / middle, whole[whole.size() / 2],
      decode.front(), decode.back(), bandwidth / 1e12, limit, middle / limit, preparation, f.graphs, f.early,
      !f.sync, f.hopper_rows, f.invariant, f.top_p);
}

Flags flags_of(int argc, char** argv) {
  Flags f;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    std::string number;
    const auto value = [&] {
      if (++i == argc) fail_usage("{} needs a value", name);
      return std::string(argv[i]);
    };
    if (name == "--model")
      f.model = value();
    else if (name == "--batch") {
      f.batches.clear();
      for (std::stringstream list(value()); std::getline(list, number, ',');)
        f.batches.push_back(std::stoi(number));
    } else if (name == "--prompt")
      f.prompt = std::stoi(value());
    else if (name == "--new")
      f.tokens = std::stoi(value());
    else if (name == "--runs")
      f.runs = std::stoi(value());
    else if (name == "--hopper-rows")
      f.hopper_rows = std::stoi(value());
    else if (name == "--top-p")
      f.top_p = std::stod(value());
    else if (name == "--groups")
      f.groups = std::stoi(value());
    else if (name == "--ahead")
      f.ahead = std::stoi(value());
    else if (name == "--one-by-one")
      f.one_by_one = true;
    else if (name == "--no-graphs")
      f.graphs = false;
    else if (name == "--no-early")
      f.early = false;
    else if (name == "--sync")
      f.sync = true;
    else if (name == "--profile")
      f.profile = true;
    else if (name == "--choices")
      log::init("rollout_bench", "", log::Level::debug);
    else if (name == "--invariant")
      f.invariant = true;
    else
      fail_usage("unknown argument {}", name);
  }
  return f;
}

}  // namespace
}  // namespace cohort

int main(int argc, char** argv) {
  return cohort::run_main("rollout_bench", [&] {
    cohort::Flags flags = cohort::flags_of(argc, argv);
    const cohort::ModelConfig config = cohort::qwen_shape(flags.model);
    const double bandwidth = cohort::copy_bandwidth();  // before anything else is on the GPU
    const auto weights = cohort::random_bf16_weights(config);
    for (int32_t batch : flags.batches) {
      flags.batch = batch;
      if (flags.groups > 0)
        cohort::bench_stream(flags, config, weights);
      else
        cohort::bench(flags, config, weights, bandwidth);
    }
    return 0;
  });
}
