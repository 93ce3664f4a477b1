// FlashInfer's work spaces and lists of a batch, for its planners and kernels.
#pragma once

#include <cuda_runtime_api.h>

#include <vector>

#include "kernels/cuda_check.h"
#include "tests/bench/kernels/flashinfer.h"

namespace cohort::bench {

struct PeerPlan {
  static constexpr size_t kFloats = size_t{512} << 20, kInts = size_t{16} << 20;
  explicit PeerPlan(const PeerBatch& b) {
    std::vector<int32_t> last_tokens;
    for (size_t i = 0; i < b.lengths.size(); ++i) {
      const int32_t pages = (b.lengths[i] + cuda::kPageTokens - 1) / cuda::kPageTokens;
      query_starts.push_back(query_starts.back() + b.new_tokens[i]);
      page_starts.push_back(page_starts.back() + pages);
      last_tokens.push_back(b.lengths[i] - (pages - 1) * cuda::kPageTokens);
    }
    pages = up(b.pages), last = up(last_tokens);
    device_query_starts = up(query_starts), device_page_starts = up(page_starts);
    CUDA_CHECK(cudaMalloc(&floats, kFloats));
    CUDA_CHECK(cudaMalloc(&ints, kInts));
    CUDA_CHECK(cudaMallocHost(&pinned, kInts));
  }
  ~PeerPlan() {
    for (void* p :
         {static_cast<void*>(pages), static_cast<void*>(last), static_cast<void*>(device_query_starts),
          static_cast<void*>(device_page_starts), floats, ints})
      cudaFree(p);
    cudaFreeHost(pinned);
  }
  PeerPlan(const PeerPlan&) = delete;

  static int32_t* up(const std::vector<int32_t>& v) {
    void* p = nullptr;
    CUDA_CHECK(cudaMalloc(&p, v.size() * 4));
    CUDA_CHECK(cudaMemcpy(p, v.data(), v.size() * 4, cudaMemcpyHostToDevice));
    return static_cast<int32_t*>(p);
  }
  std::vector<int32_t> query_starts = {0}, page_starts = {0};
  int32_t *pages = nullptr, *last = nullptr, *device_query_starts = nullptr, *device_page_starts = nullptr;
  void *floats = nullptr, *ints = nullptr, *pinned = nullptr;
};

}  // namespace cohort::bench
