// What attention kernels of whole tiles share: 64 rows a warpgroup, scores and sums in its registers as the products leave them
// (hopper.cuh), softmax made as tiles of keys pass.
#pragma once

#include "kernels/hopper.cuh"

namespace cohort::cuda {

// The first tile's place in a kernel's dynamic shared memory, which has 1,024 bytes more for it.
__device__ __forceinline__ unsigned char* first_tile(unsigned char* raw) {
  return raw + ((1024 - (shared_address(raw) & 1023)) & 1023);
}
// Where 16 bytes of a row lie in kRows rows that are a tile of 64 columns after the other.
template <int kRows>
__device__ __forceinline__ int in_tiles(int row, int chunk) {
  return chunk / 8 * kRows * 128 + row * 128 + ((chunk % 8) ^ (row & 7)) * 16;
}
// Of the 128 threads of one warpgroup of several.
__device__ __forceinline__ void group_barrier(int group) {
  asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory");
}
// What threads did to shared memory comes before what the copy engine or a product does to it.
__device__ __forceinline__ void before_copy_engine_or_products() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
// A product may still be writing d before the wait that stands before this: nothing is read from d any earlier.
template <int kCount>
__device__ __forceinline__ void settled(float (&d)[kCount]) {
#pragma unroll
  for (int j = 0; j < kCount; ++j) asm volatile("" : "+f"(d[j])::"memory");
}

// s (64 x kColumns) = a bᵀ over kDim; a: 64 of kRows rows, b: kColumns rows, both in tiles of 64 columns.
template <int kDim, int kRows, int kColumns>
__device__ __forceinline__ void multiply_rows(float (&s)[kColumns / 2], uint32_t a, uint32_t b) {
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k)
    Multiply<kColumns>::run(s, tile_descriptor(a + k / 4 * kRows * 128) + k % 4 * 2,
                            tile_descriptor(b + k / 4 * kColumns * 128) + k % 4 * 2, k > 0);
}
// d (64 x kDim) += w b over kColumns rows of b, w as pack_sums() leaves it.
template <int kDim, int kColumns>
__device__ __forceinline__ void multiply_columns(float (&d)[kDim / 2], const uint32_t (&w)[kColumns / 16][4],
                                                 uint32_t b) {
#pragma unroll
  for (int k = 0; k < kColumns / 16; ++k)
    MultiplyTransposed<kDim>::run(d, w[k], column_descriptor(b + k * 16 * 128, kColumns * 128));
}
// Sums as the first factor of another product.
template <int kColumns>
__device__ __forceinline__ void pack_sums(const float (&s)[kColumns / 2], uint32_t (&w)[kColumns / 16][4]) {
#pragma unroll
  for (int k = 0; k < kColumns / 16; ++k)
#pragma unroll
    for (int i = 0; i < 4; ++i) w[k][i] = pack(s[8 * k + 2 * i], s[8 * k + 2 * i + 1]);
}

// The softmax of a thread's two rows while tiles of keys pass. `scale`: of the scores, times log2 e.
struct RunningSoftmax {
  float top[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};  // total: of this thread's keys, until finish()
  float shrink[2];  // what sums of the tiles before have to be multiplied with

  // scores -> 2^(scale (score - top)). Of a row's first tile at least one score is finite.
  template <int kKeys>
  __device__ __forceinline__ void add(float (&scores)[kKeys / 2], float scale) {
    float best[2] = {top[0], top[1]};
#pragma unroll
    for (int j = 0; j < kKeys / 2; ++j) best[j >> 1 & 1] = fmaxf(best[j >> 1 & 1], scores[j]);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      best[r] = fmaxf(best[r], __shfl_xor_sync(0xffffffffu, best[r], 1));
      best[r] = fmaxf(best[r], __shfl_xor_sync(0xffffffffu, best[r], 2));
      shrink[r] = power_of_2((top[r] - best[r]) * scale);
      total[r] *= shrink[r], top[r] = best[r], best[r] *= scale;
    }
#pragma unroll
    for (int j = 0; j < kKeys / 2; ++j) scores[j] = power_of_2(scores[j] * scale - best[j >> 1 & 1]);
#pragma unroll
    for (int j = 0; j < kKeys / 2; j += 2) total[j >> 1 & 1] += scores[j] + scores[j + 1];
  }
  __device__ __forceinline__ void finish() {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      total[r] += __shfl_xor_sync(0xffffffffu, total[r], 1);
      total[r] += __shfl_xor_sync(0xffffffffu, total[r], 2);
    }
  }
};

// The first `rows` of a warpgroup's 64 rows of sums, over their totals, to memory in whole rows: to(r) is where the r-th goes. They go
// by way of `place`, the first row's of its tiles of kRows rows, of which the warpgroup needs nothing more.
template <int kDim, int kRows, typename To>
__device__ __forceinline__ void store_rows(const float (&out)[kDim / 2], const float (&total)[2],
                                           unsigned char* place, int rows, const To& to) {
  const int lane = threadIdx.x % 32, first = threadIdx.x / 32 % 4 * 16;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float inverse = 1 / total[r];
#pragma unroll
    for (int j = 0; j < kDim / 8; ++j)
      *reinterpret_cast<uint32_t*>(place + in_tiles<kRows>(first + lane / 4 + 8 * r, j) + lane % 4 * 4) =
          pack(out[4 * j + 2 * r] * inverse, out[4 * j + 2 * r + 1] * inverse);
  }
  __syncwarp();
#pragma unroll
  for (int c = lane; c < 16 * kDim / 8; c += 32) {
    const int r = first + c / (kDim / 8), chunk = c % (kDim / 8);
    if (r < rows)
      *reinterpret_cast<uint4*>(to(r) + chunk * 8) =
          *reinterpret_cast<const uint4*>(place + in_tiles<kRows>(r, chunk));
  }
}

}  // namespace cohort::cuda
