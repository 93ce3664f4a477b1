// Published weights in GPU memory that another process may map: a few buffers in turns, each with its checksum. No Torch.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "transport/weights.h"

namespace cohort::gpu {

class WeightShare {
 public:
  // On the current GPU, which it is bound to.
  explicit WeightShare(size_t bytes);
  ~WeightShare();
  WeightShare(const WeightShare&) = delete;
  WeightShare& operator=(const WeightShare&) = delete;

  // Fills in data-less `set`: `fill` is given a buffer, zeros at first, that no reader has, and launches on the default stream
  // what writes it; then share, read and lease are set. False, and nothing set, while all buffers are being read.
  bool publish(WeightSet& set, const std::function<void(void*)>& fill);

 private:
  struct Buffer;
  static constexpr size_t kMost = 3;  // the newest, one that a slow reader holds, and the next
  size_t bytes_;
  int device_ = 0;
  std::string name_;
  std::vector<std::shared_ptr<Buffer>> buffers_;
};

}  // namespace cohort::gpu
