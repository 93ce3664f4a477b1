// One head of one row out of the QKV product, by one warp: bias, norm and rotation in fp32.
#pragma once

#include "kernels/device.cuh"
#include "kernels/rows.h"

namespace cohort::cuda {

// A lane has the pairs (i, i + head_dim / 2) for i = lane, lane + 32, …: kPairs of them, so head_dim <= 64 * kPairs.
template <int kPairs>
struct HeadPairs {
  float a[kPairs], b[kPairs];
  bf16 bias_a[kPairs], bias_b[kPairs];

  // The head's values as the product gave them. Heads in a row: queries, keys, values. Nothing waits for the loads here.
  __device__ __forceinline__ void load(const QkvSource& s, int64_t row, int head, int head_dim) {
    const int lane = threadIdx.x % 32, half = head_dim / 2;
    const float* from = s.rows + row * s.width + head * head_dim;
    const bf16* bias = s.bias + head * head_dim;
#pragma unroll
    for (int k = 0; k < kPairs; ++k) {
      const int i = lane + 32 * k;
      a[k] = b[k] = 0, bias_a[k] = bias_b[k] = __float2bfloat16_rn(0);
      if (i < half) a[k] = from[i], b[k] = from[half + i];
      if (i < half && s.bias) bias_a[k] = bias[i], bias_b[k] = bias[half + i];
    }
  }
  __device__ __forceinline__ void add_bias() {
#pragma unroll
    for (int k = 0; k < kPairs; ++k) a[k] += __bfloat162float(bias_a[k]), b[k] += __bfloat162float(bias_b[k]);
  }
  // All 32 lanes call it.
  __device__ __forceinline__ void normalise(const bf16* norm, float eps, int head_dim) {
    const int lane = threadIdx.x % 32, half = head_dim / 2;
    float sum = 0;
#pragma unroll
    for (int k = 0; k < kPairs; ++k) sum += a[k] * a[k] + b[k] * b[k];
    const float scale = rsqrtf(warp_sum(sum) / float(head_dim) + eps);
#pragma unroll
    for (int k = 0; k < kPairs; ++k) {
      const int i = lane + 32 * k;
      if (i < half)
        a[k] *= scale * __bfloat162float(norm[i]), b[k] *= scale * __bfloat162float(norm[half + i]);
    }
  }
  // turns[k]: cosine and sine of pair lane + 32 k.
  __device__ __forceinline__ void rotate(const float2 (&turns)[kPairs]) {
#pragma unroll
    for (int k = 0; k < kPairs; ++k) {
      const float x = a[k] * turns[k].x - b[k] * turns[k].y;
      b[k] = b[k] * turns[k].x + a[k] * turns[k].y;
      a[k] = x;
    }
  }
  // put(i, value) for every i < head_dim.
  template <class Put>
  __device__ __forceinline__ void store(int head_dim, Put put) const {
    const int lane = threadIdx.x % 32, half = head_dim / 2;
#pragma unroll
    for (int k = 0; k < kPairs; ++k)
      if (lane + 32 * k < half) put(lane + 32 * k, a[k]), put(half + lane + 32 * k, b[k]);
  }
};

template <int kPairs>
__device__ __forceinline__ void load_turns(const RopeParams& rope, int position, int head_dim,
                                           float2 (&turns)[kPairs]) {
#pragma unroll
  for (int k = 0; k < kPairs; ++k) {
    const int i = int(threadIdx.x % 32) + 32 * k;
    turns[k] = i < head_dim / 2 ? rope.cos_sin[int64_t(position) * (head_dim / 2) + i] : float2{1, 0};
  }
}

}  // namespace cohort::cuda
