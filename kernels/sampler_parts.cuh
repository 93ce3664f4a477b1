// What the two sampling kernels share.
#pragma once

#include "kernels/device.cuh"
#include "kernels/sampler.h"

namespace cohort::cuda {

constexpr float kMinusInf = -INFINITY;

__device__ __forceinline__ float settled(float l) {
  return l > kMinusInf ? l : kMinusInf;
}  // NaN counts as -inf
// (l - top) / temperature of l <= top; with an infinite top only its like remain.
__device__ __forceinline__ float scaled(float l, float top, float inverse_temperature) {
  if (!(l > kMinusInf)) return kMinusInf;
  return l == top ? 0.0f : (l - top) * inverse_temperature;
}

__device__ inline void deliver(const SamplerParams& p, int row_index, const Row& row, int32_t token,
                               float logprob) {
  if (!row.sample) return;
  SampledToken* results = p.results + (p.turn ? ((*p.turn - 1) & 1) * p.capacity : 0);
  results[row_index] = {token, logprob};
  if (p.last_token && row.forced < 0) p.last_token[row.slot] = token < 0 ? 0 : token;
}

// Sums over the block in a fixed order; the result in every thread.
template <class T>
__device__ __forceinline__ T warp_total(T v) {
#pragma unroll
  for (int o = 16; o > 0; o >>= 1) v += __shfl_xor_sync(0xffffffffu, v, o);
  return v;
}
template <class T, int kBlock>
__device__ __forceinline__ T block_sum(T v, T* scratch) {
  const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
  v = warp_total(v);
  __syncthreads();
  if (lane == 0) scratch[warp] = v;
  __syncthreads();
  return warp_total(lane < kBlock / 32 ? scratch[lane] : T(0));
}
// What the threads before this one hold, and by `total` what all hold.
template <class T>
__device__ __forceinline__ T warp_prefix(T v) {  // with this one's
#pragma unroll
  for (int o = 1; o < 32; o <<= 1) {
    const T below = __shfl_up_sync(0xffffffffu, v, o);
    if (int(threadIdx.x % 32) >= o) v += below;
  }
  return v;
}
template <class T, int kBlock>
__device__ __forceinline__ T block_prefix(T v, T* scratch, T& total) {
  const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
  const T sum = warp_prefix(v);
  __syncthreads();
  if (lane == 31) scratch[warp] = sum;
  __syncthreads();
  const T warps = warp_prefix(lane < kBlock / 32 ? scratch[lane] : T(0));
  total = __shfl_sync(0xffffffffu, warps, 31);
  const T before = __shfl_sync(0xffffffffu, warps, (warp + 31) % 32);
  return (warp > 0 ? before : T(0)) + (sum - v);
}

// The second kernel, for rows whose sampling truncates.
void truncate_rows(const SamplerParams& p, int pieces, cudaStream_t stream, bool early);

}  // namespace cohort::cuda
