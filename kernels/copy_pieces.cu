#include "kernels/copy_pieces.h"

#include "kernels/cuda_check.h"

namespace cohort::cuda {
namespace {

constexpr int kThreads = 256, kEach = kCopyPiece / 16 / kThreads;

// A block a piece; each thread has all its loads in flight before the first store. Neither side is read again soon.
__global__ void __launch_bounds__(kThreads)
    copy_kernel(const CopyPiece* pieces, const unsigned char* from, unsigned char* to) {
  const CopyPiece p = pieces[blockIdx.x];
  const auto* source = reinterpret_cast<const uint4*>(from + p.from);
  auto* target = reinterpret_cast<uint4*>(to + p.to);
  const int words = p.bytes / 16;
  uint4 values[kEach];
#pragma unroll
  for (int k = 0; k < kEach; ++k)
    if (const int i = k * kThreads + int(threadIdx.x); i < words) values[k] = __ldcs(source + i);
#pragma unroll
  for (int k = 0; k < kEach; ++k)
    if (const int i = k * kThreads + int(threadIdx.x); i < words) __stcs(target + i, values[k]);
}

}  // namespace

void copy_pieces(const CopyPiece* pieces, int64_t count, const void* from, void* to, void* stream) {
  if (count == 0) return;
  copy_kernel<<<unsigned(count), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      pieces, static_cast<const unsigned char*>(from), static_cast<unsigned char*>(to));
  CUDA_CHECK(cudaGetLastError());
}

}  // namespace cohort::cuda
