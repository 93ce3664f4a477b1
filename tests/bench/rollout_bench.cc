// Decoding speed of the GPU rollout engine on random weights, beside the memory-bandwidth limit.
//   usage: rollout_bench [--model 0.5b|1.5b] [--batch N[,N…]] [--prompt N] [--new N] [--runs N] [--hopper-rows N] [--invariant] [--no-graphs]
//                        [--no-early] [--sync] [--top-p P] [--profile] [--choices]
//
// All sequences have different prompts and end by length. Two figures: tokens/s of the whole run, prefill included, and of
// decoding alone (median time of the steps in which all sequences run). The limit: every weight and every sequence's KV read
// once a step, at the bandwidth of a device-to-device copy measured here. --profile: one decode step between
// cudaProfilerStart and Stop, for ncu --profile-from-start off. --choices: which kernels the products take, on stderr.
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
  double top_p = 1;
  bool graphs = true, early = true, sync = false, profile = false, invariant = false;
};

// Hides that the runner overlaps: what the CPU's work costs when nothing hides it.
class Synchronous : public ModelRunner {
 public:
  explicit Synchronous(ModelRunner& r) : r_(r) {}
  const ModelConfig& config() const override { return r_.config(); }
  int32_t max_slots() const override { return r_.max_slots(); }
  int32_t max_context() const override { return r_.max_context(); }
  void step(std::span<const SequenceStep> s, std::span<Sampled> out) override { r_.step(s, out); }
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
};

void bench(const Flags& f, const ModelConfig& c, const std::shared_ptr<const WeightSet>& weights_set,
           double bandwidth) {
  RunnerOptions options;
  options.device = "cuda", options.dtype = "bfloat16";
  options.max_slots = f.batch, options.max_context = f.prompt + f.tokens, options.max_step_tokens = 8192;
  options.cuda_graphs = f.graphs, options.early_launch = f.early, options.hopper_gemm_rows = f.hopper_rows,
  options.batch_invariant = f.invariant;
  const auto cuda_runner = make_cuda_runner(c, weights_set, options);
  Synchronous synchronous(*cuda_runner);
  ModelRunner& runner = f.sync ? static_cast<ModelRunner&>(synchronous) : *cuda_runner;
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
      for (int32_t t = 0; t < f.prompt; ++t) r.prompt_ids.push_back(int32_t(rng() % uint32_t(c.vocab_size)));
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
      cohort::bench(flags, config, weights, bandwidth);
    }
    return 0;
  });
}
