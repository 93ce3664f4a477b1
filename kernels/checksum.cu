#include <cuda_runtime_api.h>

#include "kernels/checksum.h"
#include "kernels/checksum_mix.h"

namespace cohort::cuda {

[[noreturn]] void checksum_failed(const char* what,
                                  const char* why);  // checksum_reference.cc: nvcc stumbles over fmt

namespace {

constexpr int kThreads = 256,
              kBlocks = 264;  // two a multiprocessor of an H100: beside decoding, not in its place

// Every thread reads 16 bytes at a time; the words behind the last 16 belong to the last thread of all.
__global__ void __launch_bounds__(kThreads)
    checksum_kernel(const unsigned char* data, size_t bytes, uint64_t* sum) {
  const size_t pairs = bytes / 16, all = size_t(gridDim.x) * kThreads,
               me = size_t(blockIdx.x) * kThreads + threadIdx.x;
  uint64_t mine = 0;
  for (size_t i = me; i < pairs; i += all) {
    const ulonglong2 two = reinterpret_cast<const ulonglong2*>(data)[i];
    mine += checksum_mix(two.x, 2 * i) + checksum_mix(two.y, 2 * i + 1);
  }
  if (me == all - 1)
    for (size_t place = 2 * pairs; place * 8 < bytes; ++place) {
      uint64_t word = 0;
      for (size_t b = place * 8; b < bytes && b < place * 8 + 8; ++b)
        word |= uint64_t(data[b]) << (b - place * 8) * 8;
      mine += checksum_mix(word, place);
    }
  for (int step = 16; step > 0; step /= 2) mine += __shfl_down_sync(~0u, mine, step);
  if (threadIdx.x % 32 == 0) atomicAdd(reinterpret_cast<unsigned long long*>(sum), mine);
}

void check(cudaError_t code, const char* what) {
  if (code != cudaSuccess) checksum_failed(what, cudaGetErrorString(code));
}

}  // namespace

void checksum(const void* data, size_t bytes, uint64_t* sum, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  check(cudaMemsetAsync(sum, 0, sizeof *sum, on), "clearing");
  if (bytes == 0) return;
  checksum_kernel<<<kBlocks, kThreads, 0, on>>>(static_cast<const unsigned char*>(data), bytes, sum);
  check(cudaGetLastError(), "launching");
}

}  // namespace cohort::cuda
