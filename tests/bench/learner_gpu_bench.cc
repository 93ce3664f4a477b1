// Training speed of the GPU learner: an update of some micro-batches of 4k-token sequences, random weights and tokens.
//   learner_gpu_bench [--model 0.5b|1.5b] [--length 4096] [--tokens 16384] [--micro-batches 4] [--updates 5]
//                     [--recompute none|layer]
// Under mpirun with several ranks, a GPU each, every rank has its own --tokens and --micro-batches; the figures are of all of
// them, the MFU against all GPUs.
// MFU counts 6 P a token plus causal attention (6 · layers · heads · head_dim · length), no recomputation, against the
// H100's 989 TFLOP/s of dense bf16. tests/bench/learner_peer.py is transformers' training step on the same shapes.
#include <cuda_runtime_api.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstring>
#include <random>

#include "learner/gpu/runtime.h"
#include "learner/model/random_init.h"
#include "learner/updater.h"
#include "transport/base/error.h"
#include "transport/base/measure.h"

namespace cohort {
namespace {

using Clock = std::chrono::steady_clock;
ModelConfig shape(const std::string& name) {
  ModelConfig c;
  c.model_type = "qwen2", c.vocab_size = 151936, c.max_position_embeddings = 32768, c.rope_theta = 1e6;
  c.tie_word_embeddings = true, c.qkv_bias = true, c.dtype = DType::bf16, c.eos_token_ids = {151643};
  if (name == "0.5b")
    c.hidden_size = 896, c.intermediate_size = 4864, c.num_layers = 24, c.num_heads = 14, c.num_kv_heads = 2,
    c.head_dim = 64;
  else if (name == "1.5b")
    c.hidden_size = 1536, c.intermediate_size = 8960, c.num_layers = 28, c.num_heads = 12, c.num_kv_heads = 2,
    c.head_dim = 128;
  else
    fail_usage("--model {}: use 0.5b or 1.5b", name);
  return c;
}

// One block of normal draws over and over: as random to the GPU's multipliers, in a hundredth of the time.
WeightSet made_up_weights(const ModelConfig& config) {
  WeightSet w;
  w.manifest.tensors = config.tensors(DType::f32);
  lay_out(w.manifest);
  w.data.resize(w.manifest.total_bytes);
  std::vector<float> block((size_t{4} << 20) + 7);
  fill_normal(block.data(), block.size(), config.initializer_range, 1, 1);
  auto* values = reinterpret_cast<float*>(w.data.data());
  const size_t count = w.data.size() / 4;
  for (size_t at = 0; at < count; at += block.size())
    std::copy_n(block.begin(), std::min(block.size(), count - at), values + at);
  for (const TensorSpec& t : w.manifest.tensors)
    if (t.name.ends_with("norm.weight")) std::fill_n(values + t.offset / 4, t.bytes / 4, 1.0f);
  return w;
}

int bench(int argc, char** argv) {
  CLI::App app("Training speed of the GPU learner", "learner_gpu_bench");
  std::string model = "0.5b", recompute = "none";
  int64_t length = 4096, tokens = 16384, micro = 4, updates = 5;
  app.add_option("--model", model);
  app.add_option("--length", length);
  app.add_option("--tokens", tokens, "of one micro-batch");
  app.add_option("--micro-batches", micro, "of one update");
  app.add_option("--updates", updates);
  app.add_option("--recompute", recompute);
  CLI11_PARSE(app, argc, argv);

  const ModelConfig config = shape(model);
  const MpiSession mpi;
  Collectives ranks = mpi.world();
  const auto size = static_cast<double>(ranks.size());
  Policy policy(config, "cuda", "bfloat16", true, recompute);
  const gpu::Memory before = gpu::memory();
  const WeightSet weights = made_up_weights(config);
  policy.load(weights);
  OptimizerOptions options;
  const auto updater = make_updater(options, policy, ranks, 1000);
  updater->start(weights);

  std::mt19937 random(1 + static_cast<unsigned>(ranks.rank()));
  std::vector<PackedBatch> packs(static_cast<size_t>(micro));
  for (PackedBatch& pack : packs)
    for (int64_t at = 0; at < tokens; at += length) {
      std::vector<int32_t> ids(static_cast<size_t>(length));
      for (int32_t& id : ids) id = static_cast<int32_t>(random() % 150000);
      pack.add(std::span(ids).first(1), std::span(ids).subspan(1));
    }
  const double targets = static_cast<double>(packs[0].rows.size()) * static_cast<double>(micro) * size;
  double loss = 0, forward_backward_s = 0, update_s = 0;
  const auto update = [&] {
    ranks.barrier();
    const auto began = Clock::now();
    policy.zero_gradients();
    loss = 0;
    for (const PackedBatch& pack : packs)
      policy.forward_backward(
          pack, 1, false,
          [&](const TokenScores& scores, std::span<float> grad, std::span<float>) {
            for (float x : scores.logprobs) loss -= static_cast<double>(x) / targets;
            std::fill(grad.begin(), grad.end(), static_cast<float>(-1 / targets));
          },
          &pack == &packs.back() ? [&](size_t from) { updater->complete(from); } : Policy::Complete());
    cudaDeviceSynchronize();
    forward_backward_s = seconds_since(began);
    const auto second = Clock::now();
    updater->step();
    cudaDeviceSynchronize();
    update_s = seconds_since(second);
    return seconds_since(began);
  };
  policy.take_peak_bytes();
  update();
  const double first_loss = loss;
  std::vector<double> times, passes, steps;
  for (int64_t i = 0; i < updates; ++i) {
    times.push_back(update());
    passes.push_back(forward_backward_s), steps.push_back(update_s);
  }
  for (auto* v : {&times, &passes, &steps}) std::sort(v->begin(), v->end());
  const double median = times[times.size() / 2], per_update = static_cast<double>(tokens * micro) * size;
  const double flops =
      6.0 * static_cast<double>(config.num_parameters()) +
      6.0 * static_cast<double>(config.num_layers * config.num_heads * config.head_dim * length);
  const double tokens_s = per_update / median, peak = static_cast<double>(policy.take_peak_bytes());
  const FlatArrays arrays = policy.arrays();
  const double flat = static_cast<double>(arrays.elements + arrays.padding);
  const double activations =
      static_cast<double>(policy.activation_bytes(tokens, static_cast<int64_t>(packs[0].rows.size())));
  const gpu::Memory after = gpu::memory();
  constexpr double kGiB = 1 << 30;
  if (!ranks.is_root()) return 0;
  fmt::print(
      "cohort {} {:.0f} rank(s) recompute={} {}x{} tokens: {:.0f} tokens/s (update {:.1f} ms, {:.1f} to "
      "{:.1f}), {:.1f} "
      "TFLOP/s, MFU {:.3f}; "
      "passes {:.1f} ms, AdamW {:.1f} ms; loss {:.3f} -> {:.3f}\n",
      model, size, recompute, micro, tokens, tokens_s, 1e3 * median, 1e3 * times.front(), 1e3 * times.back(),
      flops * tokens_s / 1e12, flops * tokens_s / 989e12 / size, 1e3 * passes[passes.size() / 2],
      1e3 * steps[steps.size() / 2], first_loss, loss);
  fmt::print(
      "  memory: weights {:.2f} + gradients {:.2f} + master and moments {:.2f} + activations {:.2f} = {:.2f} "
      "GiB expected; "
      "peak of tensors {:.2f} + optimizer {:.2f} = {:.2f} GiB; taken from the GPU {:.2f} GiB\n",
      2 * flat / kGiB, 4 * flat / kGiB, 12 * flat / size / kGiB, activations / kGiB,
      ((6 + 12 / size) * flat + activations) / kGiB, peak / kGiB, 12 * flat / size / kGiB,
      (peak + 12 * flat / size) / kGiB, (static_cast<double>(before.total - after.free)) / kGiB);
  return 0;
}

}  // namespace
}  // namespace cohort

int main(int argc, char** argv) {
  return cohort::run_main("learner_gpu_bench", [&] { return cohort::bench(argc, argv); });
}
