// cos and sin of every position, computed once. Includes Torch.
#pragma once

#include <torch/torch.h>

#include <mutex>
#include <utility>

#include "learner/folder/model_config.h"

namespace cohort {

class RopeTable {
 public:
  RopeTable(const ModelConfig& config, torch::Device device) : config_(config), device_(device) {}
  // cos_TE2 and sin_TE2 in float32 of positions_T (int64, on the table's device). Any thread.
  std::pair<torch::Tensor, torch::Tensor> at(const torch::Tensor& positions_T);

 private:
  std::pair<torch::Tensor, torch::Tensor> compute(const torch::Tensor& positions,
                                                  int64_t sequence_length) const;
  ModelConfig config_;
  torch::Device device_;
  std::mutex mutex_;
  torch::Tensor cos_, sin_;  // of positions 0 .. size-1
};

}  // namespace cohort
