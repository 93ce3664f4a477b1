// Weights that another process has on the same GPU: maps its buffer (CUDA IPC), copies it and compares the checksum.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "transport/weights.h"

namespace cohort::cuda {

// DeviceShare::device of GPU `device`: this host's boot id and the GPU's UUID.
std::string share_device(int device);

// One thread at a time, with its GPU current.
class ShareReader {
 public:
  ShareReader() = default;
  ~ShareReader();
  ShareReader(const ShareReader&) = delete;
  ShareReader& operator=(const ShareReader&) = delete;
  // Copies `bytes` of the share to `to` on `stream` and waits for it. False, with a line in the log, when the buffer cannot be
  // mapped or its checksum is another one. A mapping is kept for the next copy, as its owner uses few buffers in turns.
  bool copy(const DeviceShare& share, void* to, size_t bytes, cudaStream_t stream);
  // Has this memory that checksum? Waits for `stream`. False with a line in the log.
  bool holds(const void* data, size_t bytes, uint64_t sum, cudaStream_t stream);

 private:
  void* map(const std::string& handle);
  static constexpr size_t kMostMapped = 4;
  std::vector<std::pair<std::string, void*>> mapped_;  // the oldest first
  uint64_t* sum_ = nullptr;                            // on the GPU
};

}  // namespace cohort::cuda
