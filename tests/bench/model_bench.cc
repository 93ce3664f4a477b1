// Training and decoding speed of the quickstart's model on one thread; tests/bench/eager_model.py is the same
// model in eager PyTorch.   usage: build/tests/model_bench [SECONDS [train|decode]]
//
// Two figures each: by wall time, and by the process's CPU time, which other programs on the machine disturb
// less.
#include <fmt/core.h>
#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "learner/model/cpu/kernels.h"
#include "learner/model/decoder.h"
#include "rollout/model_runner.h"
#include "transport/base/measure.h"

namespace cohort {
namespace {

// The fastest of the repetitions that fit into `seconds`.
template <class F>
void report(const char* what, double tokens, double seconds, F once) {
  once();
  double cpu = 1e9, wall = 1e9;
  const auto started = std::chrono::steady_clock::now();
  do {
    const double c = cpu_seconds();
    const auto began = std::chrono::steady_clock::now();
    once();
    cpu = std::min(cpu, cpu_seconds() - c), wall = std::min(wall, seconds_since(began));
  } while (seconds_since(started) < seconds);
  fmt::print("{:42} {:9.0f} tokens/s  ({:.0f} by CPU time)\n", what, tokens / wall, tokens / cpu);
}

ModelConfig countdown_model() {
  ModelConfig c;
  c.model_type = "llama";
  c.vocab_size = 120, c.hidden_size = 128, c.intermediate_size = 352, c.num_layers = 3;
  c.num_heads = 4, c.num_kv_heads = 2, c.head_dim = 32, c.max_position_embeddings = 512;
  c.tie_word_embeddings = true;
  return c;
}

void train(double seconds) {
  Decoder d(countdown_model(), torch::kCPU, torch::kFloat);
  d.init_random(1);
  d.enable_gradients();
  for (int64_t sequences : {12, 51, 102}) {
    constexpr int64_t kLength = 80;
    const int64_t n = sequences * kLength;
    std::vector<int64_t> cu;
    for (int64_t i = 0; i <= sequences; ++i) cu.push_back(i * kLength);
    torch::Tensor tokens = torch::randint(120, {n}, torch::kLong),
                  positions = torch::arange(kLength).repeat({sequences});
    torch::Tensor targets = tokens.roll(-1);
    report(fmt::format("training, {} tokens a micro-batch", n).c_str(), double(n), seconds, [&] {
      auto attention = make_packed_attention(d.config(), cu);
      token_stats(d, d.forward(tokens, positions, *attention), targets, 1.0).logprobs_N.mean().backward();
      d.zero_gradients();
    });
  }
}

void decode(double seconds) {
  const ModelConfig c = countdown_model();
  Decoder d(c, torch::kCPU, torch::kFloat);
  d.init_random(1);
  auto weights = std::make_shared<WeightSet>(d.snapshot(1, DType::f32));
  for (int32_t active : {1, 16, 64, 128}) {
    auto runner = make_torch_runner(c, weights, {.max_slots = active, .max_context = 160, .threads = 1});
    SamplingParams params;
    constexpr uint32_t kNew = 100;
    report(fmt::format("decoding, {} sequences of {} new tokens", active, kNew).c_str(),
           double(active) * kNew, seconds, [&] {
             std::vector<std::vector<int32_t>> feed(size_t(active),
                                                    std::vector<int32_t>{3, 1, 6, 11, 9, 50, 51, 52});
             std::vector<SequenceStep> steps(static_cast<size_t>(active));
             std::vector<Sampled> out(static_cast<size_t>(active));
             for (int32_t i = 0; i < active; ++i) runner->reset_slot(i);
             for (uint32_t t = 0; t < kNew; ++t) {
               for (size_t i = 0; i < steps.size(); ++i)
                 steps[i] = {int32_t(i), feed[i], true, &params, 1, uint32_t(i), t};
               runner->step(steps, out);
               for (size_t i = 0; i < steps.size(); ++i) feed[i] = {out[i].token};
             }
           });
  }
}

}  // namespace
}  // namespace cohort

int main(int argc, char** argv) {
  torch::set_num_threads(1);
  const double seconds = argc > 1 ? std::atof(argv[1]) : 2;
  fmt::print("kernels: {}\n", cohort::cpu::kernels().isa);
  const std::string only = argc > 2 ? argv[2] : "";
  if (only != "decode") cohort::train(seconds);
  if (only != "train") cohort::decode(seconds);
}
