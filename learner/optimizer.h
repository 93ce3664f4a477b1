// AdamW on the flat parameter tensor: one pass over memory, no Torch.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "learner/options.h"
#include "transport/weights.h"

namespace cohort {

// Where the schedule is at update `update` (0-based): linear warm-up to learning_rate, then constant, or down
// to min_lr_ratio of it at `total_updates`. The first update of a warm-up already moves: (update + 1) /
// warmup_steps.
double learning_rate_at(const OptimizerOptions& options, int64_t update, int64_t total_updates);

// Euclidean norm in double, in a fixed order.
double global_norm(std::span<const float> values);

class AdamW {
 public:
  // `tensors`: the parameters' layout (fp32, offsets in bytes of the flat buffer). Weight decay is decoupled
  // and is applied to tensors of two or more dimensions only: neither to norm weights nor to biases.
  AdamW(const OptimizerOptions& options, const std::vector<TensorSpec>& tensors, int64_t total_updates);

  struct Step {
    double grad_norm = 0;  // before clipping
    double learning_rate = 0;
    bool skipped = false;  // the gradient was not finite: nothing was changed
  };
  // Clips the gradient to max_grad_norm (by scaling on the fly; `gradients` stay as they are) and updates.
  Step step(std::span<float> parameters, std::span<const float> gradients);

  // State for checkpoints: both moments in the flat layout, and how many updates they have seen.
  std::span<float> first_moment() { return first_; }
  std::span<float> second_moment() { return second_; }
  int64_t updates() const { return updates_; }
  void set_updates(int64_t updates) { updates_ = updates; }

 private:
  struct Part {
    size_t offset, count;  // in elements
    bool decay;
  };
  OptimizerOptions options_;
  int64_t total_updates_;
  int64_t updates_ = 0;
  std::vector<Part> parts_;
  std::vector<float> first_, second_;
};

}  // namespace cohort
