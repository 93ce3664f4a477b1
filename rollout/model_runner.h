// The narrow interface between scheduler and compute. TorchRunner (any device, the reference) and CudaRunner
// (own kernels, no Torch) implement it. One thread calls a runner; only stage_weights() may come from
// another.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "learner/folder/model_config.h"
#include "rollout/sampler.h"

namespace cohort {

// The new tokens of one sequence in one step: a whole prompt (or a chunk of it), or the one token sampled
// last.
struct SequenceStep {
  int32_t slot = 0;                 // 0 .. max_slots-1, owned by the scheduler
  std::span<const int32_t> tokens;  // appended to the slot's KV at its current length
  bool sample = false;              // sample the next token after the last of `tokens`
  const SamplingParams* sampling = nullptr;
  GroupId group = 0;  // with sampling->seed, index and position: the random number
  uint32_t index = 0;
  uint32_t position = 0;  // of the token to be sampled, counted from the completion's start
};

class ModelRunner {
 public:
  virtual ~ModelRunner() = default;
  virtual const ModelConfig& config() const = 0;
  virtual int32_t max_slots() const = 0;
  virtual int32_t max_context() const = 0;  // tokens a slot can hold, prompt and completion

  // One forward pass over all of `steps`; out[i] is set where steps[i].sample. Blocks until done.
  virtual void step(std::span<const SequenceStep> steps, std::span<Sampled> out) = 0;
  // Log-probs (temperature 1) of tokens[1..] given what precedes them, one forward, no slot used.
  virtual std::vector<float> score(std::span<const int32_t> tokens) = 0;

  virtual void reset_slot(int32_t slot) = 0;  // length 0
  virtual void copy_slot(int32_t from,
                         int32_t to) = 0;  // `to` continues from the same tokens (a group's shared prompt)
  virtual int32_t slot_length(int32_t slot) const = 0;

  // stage_weights: any thread, returns when the second buffer is filled. swap_weights: the stepping thread,
  // between two steps; false when nothing is staged. Slots keep their KV.
  virtual void stage_weights(std::shared_ptr<const WeightSet> weights) = 0;
  virtual bool swap_weights() = 0;
  virtual Version version() const = 0;
};

struct RunnerOptions {
  int32_t max_slots = 64;
  int32_t max_context = 2048;
  int32_t threads = 1;         // compute threads (CPU)
  std::string device = "cpu";  // "cpu", "cuda:0"
  std::string dtype = "float32";
};

// Weights from a model folder, or (weights == nullptr and no safetensors there) to be staged before the first
// step.
std::unique_ptr<ModelRunner> make_torch_runner(const ModelConfig& config,
                                               std::shared_ptr<const WeightSet> weights,
                                               const RunnerOptions& options);

}  // namespace cohort
