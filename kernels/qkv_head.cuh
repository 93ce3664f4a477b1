// One head of one row out of the QKV product, by one warp: bias, norm and rotation in fp32.
#pragma once

#include "kernels/device.cuh"
#include "kernels/rows.h"

namespace cohort::cuda {

// The sum of p[0], p[stride], … in this order; eight loads are under way at once.
template <class T, class Add>
__device__ __forceinline__ void sum_splits(const T* p, int splits, int64_t stride, Add add) {
  for (int first = 0; first < splits; first += 8) {
    T part[8];
#pragma unroll
    for (int i = 0; i < 8; ++i)
      if (first + i < splits) part[i] = p[(first + i) * stride];
#pragma unroll
    for (int i = 0; i < 8; ++i)
      if (first + i < splits) add(part[i]);
  }
}

__device__ __forceinline__ float qkv_at(const QkvSource& s, int64_t row, int column) {
  if (s.whole) return __bfloat162float(s.whole[row * s.width + column]);
  float sum = 0;
  sum_splits(s.partial + row * s.width + column, s.splits, s.split_stride, [&](float v) { sum += v; });
  return s.bias ? sum + __bfloat162float(s.bias[column]) : sum;
}

// A lane has the pairs (i, i + head_dim / 2) for i = lane, lane + 32, …: kPairs of them, so head_dim <= 64 * kPairs.
template <int kPairs>
struct HeadPairs {
  float a[kPairs], b[kPairs];

  // The head's values as the product gave them. Heads in a row: queries, keys, values.
  __device__ __forceinline__ void load(const QkvSource& s, int64_t row, int head, int head_dim) {
    const int lane = threadIdx.x % 32, half = head_dim / 2;
#pragma unroll
    for (int k = 0; k < kPairs; ++k) {
      const int i = lane + 32 * k;
      a[k] = b[k] = 0;
      if (i < half)
        a[k] = qkv_at(s, row, head * head_dim + i), b[k] = qkv_at(s, row, head * head_dim + half + i);
    }
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

// Several heads at once: head_of(r) is the r-th, or -1. Loads of all of them and of several splits are under way together;
// each value's sum is still in the order of the splits.
template <int kRounds, int kPairs, class HeadOf>
__device__ __forceinline__ void load_heads(const QkvSource& s, int64_t row, int head_dim,
                                           HeadPairs<kPairs> (&pairs)[kRounds], HeadOf head_of) {
  constexpr int kAtOnce = kPairs > 1 ? 2 : 4;  // splits
  const int lane = threadIdx.x % 32, half = head_dim / 2;
  int column[kRounds];
#pragma unroll
  for (int r = 0; r < kRounds; ++r) {
    const int head = head_of(r);
    column[r] = head < 0 ? -1 : head * head_dim;
  }
  if (s.whole) {
#pragma unroll
    for (int r = 0; r < kRounds; ++r)
      if (column[r] >= 0) pairs[r].load(s, row, column[r] / head_dim, head_dim);
    return;
  }
  const auto wanted = [&](int r, int k) { return column[r] >= 0 && lane + 32 * k < half; };
#pragma unroll
  for (int r = 0; r < kRounds; ++r)
#pragma unroll
    for (int k = 0; k < kPairs; ++k) pairs[r].a[k] = pairs[r].b[k] = 0;
  const float* base = s.partial + row * s.width + lane;
  for (int first = 0; first < s.splits; first += kAtOnce) {
    float a[kAtOnce][kRounds][kPairs], b[kAtOnce][kRounds][kPairs];
#pragma unroll
    for (int u = 0; u < kAtOnce; ++u)
#pragma unroll
      for (int r = 0; r < kRounds; ++r)
#pragma unroll
        for (int k = 0; k < kPairs; ++k) {
          a[u][r][k] = b[u][r][k] = 0;
          if (first + u < s.splits && wanted(r, k)) {
            const float* p = base + (first + u) * s.split_stride + column[r] + 32 * k;
            a[u][r][k] = __ldcg(p), b[u][r][k] = __ldcg(p + half);
          }
        }
#pragma unroll
    for (int u = 0; u < kAtOnce; ++u)
#pragma unroll
      for (int r = 0; r < kRounds; ++r)
#pragma unroll
        for (int k = 0; k < kPairs; ++k) pairs[r].a[k] += a[u][r][k], pairs[r].b[k] += b[u][r][k];
  }
  if (!s.bias) return;
#pragma unroll
  for (int r = 0; r < kRounds; ++r)
#pragma unroll
    for (int k = 0; k < kPairs; ++k)
      if (wanted(r, k)) {
        pairs[r].a[k] += __bfloat162float(s.bias[column[r] + lane + 32 * k]);
        pairs[r].b[k] += __bfloat162float(s.bias[column[r] + half + lane + 32 * k]);
      }
}

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
