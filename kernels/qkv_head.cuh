// One head of one row out of the QKV product, by one warp: bias, norm and rotation in fp32.
#pragma once

#include "kernels/device.cuh"
#include "kernels/rows.h"

namespace cohort::cuda {

__device__ __forceinline__ float qkv_at(const QkvSource& s, int64_t row, int column) {
  if (s.whole) return __bfloat162float(s.whole[row * s.width + column]);
  float sum = 0;
  const float* p = s.partial + row * s.width + column;
#pragma unroll 8
  for (int i = 0; i < s.splits; ++i) sum += p[i * s.split_stride];
  return s.bias ? sum + __bfloat162float(s.bias[column]) : sum;
}

// Calls put(i, value) for every i < head_dim of head `head` (query heads, key heads, value heads in a row). All 32 lanes
// call it. kPairs = pairs a lane: head_dim <= 64 * kPairs.
template <int kPairs, class Put>
__device__ __forceinline__ void read_head(const QkvSource& s, const RopeParams& rope, int64_t row, int position, int head,
                                          int heads, int kv_heads, int head_dim, Put put) {
  const int lane = threadIdx.x % 32, half = head_dim / 2;
  float a[kPairs], b[kPairs];
#pragma unroll
  for (int k = 0; k < kPairs; ++k) {
    const int i = lane + 32 * k;
    a[k] = b[k] = 0;
    if (i < half) {
      a[k] = qkv_at(s, row, head * head_dim + i);
      b[k] = qkv_at(s, row, head * head_dim + half + i);
    }
  }
  const bool is_value = head >= heads + kv_heads;
  const bf16* norm = head < heads ? rope.q_norm : is_value ? nullptr : rope.k_norm;
  if (norm) {
    float sum = 0;
#pragma unroll
    for (int k = 0; k < kPairs; ++k) sum += a[k] * a[k] + b[k] * b[k];
    const float scale = rsqrtf(warp_sum(sum) / float(head_dim) + rope.eps);
#pragma unroll
    for (int k = 0; k < kPairs; ++k) {
      const int i = lane + 32 * k;
      if (i < half) a[k] *= scale * __bfloat162float(norm[i]), b[k] *= scale * __bfloat162float(norm[half + i]);
    }
  }
#pragma unroll
  for (int k = 0; k < kPairs; ++k) {
    const int i = lane + 32 * k;
    if (i >= half) break;
    if (is_value) {
      put(i, a[k]), put(half + i, b[k]);
    } else {
      const float2 turn = rope.cos_sin[int64_t(position) * half + i];
      put(i, a[k] * turn.x - b[k] * turn.y);
      put(half + i, b[k] * turn.x + a[k] * turn.y);
    }
  }
}

}  // namespace cohort::cuda
