// Many copies inside the memory of a GPU as one launch, at the speed of memory: a cudaMemcpyAsync each costs microseconds, and
// cudaMemcpy2DAsync of runs of a few kilobytes half of the bandwidth.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace cohort::cuda {

struct CopyPiece {
  int64_t from = 0, to = 0;  // bytes from the two buffers' starts
  int32_t bytes = 0;         // all three multiples of 16; at most kCopyPiece
  int32_t unused = 0;
};
constexpr int32_t kCopyPiece = 16384;

// `count` pieces, which lie in the GPU's memory. Enqueues on `stream` (a cudaStream_t); throws Error when refused.
void copy_pieces(const CopyPiece* pieces, int64_t count, const void* from, void* to, void* stream);

}  // namespace cohort::cuda
