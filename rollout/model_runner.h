// The narrow interface between scheduler and compute. TorchRunner (any device, the reference) and CudaRunner
// (own kernels, no Torch) implement it. One thread calls a runner; only stage_weights() may come from
// another.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
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
  bool continue_last =
      false;  // instead of `tokens`: the token that was sampled last in this slot, known or not
};

class ModelRunner {
 public:
  virtual ~ModelRunner() = default;
  virtual const ModelConfig& config() const = 0;
  virtual int32_t max_slots() const = 0;
  virtual int32_t max_context() const = 0;  // tokens a slot can hold, prompt and completion
  // Slots beyond max_slots() (their numbers go on), in which prompts wait that are computed ahead; no step samples more than
  // max_slots() sequences. A runner whose steps are faster without prompt chunks has some, so that prompts can be computed
  // several at a time.
  virtual int32_t prompt_slots() const { return 0; }

  // One forward pass over all of `steps`; out[i] is set where steps[i].sample. Blocks until done.
  virtual void step(std::span<const SequenceStep> steps, std::span<Sampled> out) = 0;

  // A runner on a device lets the next step be planned, and queued, while one computes: begin_step() returns at
  // once, end_step() waits for the oldest step begun (`out` as long as its steps). At most two are begun and not
  // ended. Whatever is called between two begin_step() takes effect between them. Runners that do not overlap
  // have step() only.
  virtual bool overlaps() const { return false; }
  virtual void begin_step(std::span<const SequenceStep>) {
    throw std::logic_error("begin_step: this runner does not overlap");
  }
  virtual void end_step(std::span<Sampled>) {
    throw std::logic_error("end_step: this runner does not overlap");
  }
  // Log-probs (temperature 1) of tokens[1..] given what precedes them, one forward, no slot used.
  virtual std::vector<float> score(std::span<const int32_t> tokens) = 0;

  // Length 0; what it held of the cache is free.
  virtual void reset_slot(int32_t slot) = 0;
  // Room in the cache for `tokens` more tokens in the slot; a step needs it first. False, and nothing changed, when
  // the cache has none left; it always has room for one slot of max_context when the others are empty.
  virtual bool reserve(int32_t /*slot*/, int32_t /*tokens*/) { return true; }
  // `to` (empty) continues from the same tokens (a group's shared prompt). False as above.
  virtual bool copy_slot(int32_t from, int32_t to) = 0;
  virtual int32_t slot_length(int32_t slot) const = 0;

  // stage_weights: any thread, returns when the second buffer is filled. swap_weights: the stepping thread,
  // between two steps; false when nothing is staged. Slots keep their KV.
  virtual void stage_weights(std::shared_ptr<const WeightSet> weights) = 0;
  virtual bool swap_weights() = 0;
  // A runner on a GPU names it (DeviceShare::device) and can copy weights that another process has there, checksum and
  // all. stage_share: as stage_weights; false, and nothing staged, when they cannot be had this way (why is logged).
  virtual std::string share_device() const { return ""; }
  virtual bool stage_share(const WeightManifest&, const DeviceShare&) { return false; }
  // Such a runner can also be sent weights by a broadcast: open_stage gives the second buffer to write to, in which nothing is
  // staged from then on (null: weights of this type or model do not go there), close_stage compares the checksum and stages
  // what it holds by then. Both by the thread that stages; start() and poll() of the broadcaster's lie between them.
  // broadcaster: for memory of its GPU; throws Error when NCCL is missing. Null: none.
  virtual std::unique_ptr<Broadcaster> broadcaster() const { return nullptr; }
  virtual void* open_stage(const WeightManifest&) { return nullptr; }
  virtual bool close_stage(const WeightManifest&, uint64_t /*checksum*/) { return false; }
  virtual Version version() const = 0;
};

struct RunnerOptions {
  int32_t max_slots = 64;
  int32_t max_context = 2048;
  int32_t threads = 1;         // compute threads (CPU)
  std::string device = "cpu";  // "cpu", "cuda:0"
  std::string dtype = "float32";
  int32_t max_step_tokens = 2048;  // prompt tokens a step, beside one token of every slot (CUDA)
  double kv_memory_gib =
      0;  // of the KV cache (CUDA); 0: what max_slots * max_context needs, at most what is free
  bool cuda_graphs = true;   // off: kernels are launched one by one, for profiling
  bool early_launch = true;  // programmatic dependent launch between kernels
  int32_t hopper_gemm_rows =
      -1;  // steps up to here use kernels/hopper_gemm.h, others cuBLASLt; -1: as measured to be best
  bool batch_invariant = false;  // a sample's bits do not depend on what shares its batch; slower
};

// Weights from a model folder, or (weights == nullptr and no safetensors there) to be staged before the first
// step.
std::unique_ptr<ModelRunner> make_torch_runner(const ModelConfig& config,
                                               std::shared_ptr<const WeightSet> weights,
                                               const RunnerOptions& options);
// options.device "cuda" or "cuda:N", dtype bfloat16. Only in builds with COHORT_CUDA. Throws Error: no GPU, a GPU this
// build has no code for, not enough memory (with what it needs), a model shape the kernels do not have.
std::unique_ptr<ModelRunner> make_cuda_runner(const ModelConfig& config,
                                              std::shared_ptr<const WeightSet> weights,
                                              const RunnerOptions& options);

}  // namespace cohort
