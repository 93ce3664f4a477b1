// What the two sampling kernels share.
#pragma once

#include "kernels/device.cuh"
#include "kernels/sampler.h"

namespace cohort::cuda {

constexpr float kMinusInf = -INFINITY;

__device__ __forceinline__ float settled(float l) {
  return l > kMinusInf ? l : kMinusInf;
}  // NaN counts as -inf
// (l - top) / temperature; with an infinite top only its like remain.
__device__ __forceinline__ float scaled(float l, float top, float inverse_temperature) {
  if (isinf(top)) return l == top && top > 0 ? 0.0f : kMinusInf;
  return (settled(l) - top) * inverse_temperature;
}

__device__ inline void deliver(const SamplerParams& p, int row_index, const Row& row, int32_t token,
                               float logprob) {
  if (!row.sample) return;
  SampledToken* results = p.results + (p.turn ? ((*p.turn - 1) & 1) * p.capacity : 0);
  results[row_index] = {token, logprob};
  if (p.last_token && row.forced < 0) p.last_token[row.slot] = token < 0 ? 0 : token;
}

// Sums over the block in a fixed order; the result in every thread.
template <class T, int kBlock>
__device__ __forceinline__ T block_sum(T v, T* scratch) {
#pragma unroll
  for (int o = 16; o > 0; o >>= 1) v += __shfl_xor_sync(0xffffffffu, v, o);
  __syncthreads();
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = v;
  __syncthreads();
  T total = 0;
  for (int i = 0; i < kBlock / 32; ++i) total += scratch[i];
  return total;
}
// What the threads before this one hold, and by `total` what all hold.
template <class T, int kBlock>
__device__ __forceinline__ T block_prefix(T v, T* scratch, T& total) {
  T sum = v;
#pragma unroll
  for (int o = 1; o < 32; o <<= 1) {
    const T below = __shfl_up_sync(0xffffffffu, sum, o);
    if (int(threadIdx.x % 32) >= o) sum += below;
  }
  __syncthreads();
  if (threadIdx.x % 32 == 31) scratch[threadIdx.x / 32] = sum;
  __syncthreads();
  T before = 0;
  total = 0;
  for (int i = 0; i < kBlock / 32; ++i) {
    if (i < int(threadIdx.x / 32)) before += scratch[i];
    total += scratch[i];
  }
  return before + (sum - v);
}

// The second kernel, for rows whose sampling truncates.
void truncate_rows(const SamplerParams& p, int pieces, cudaStream_t stream, bool early);

}  // namespace cohort::cuda
