// What the kernels share: 16-byte packs of either type, block sums in a fixed order, launches that are checked.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "learner/gpu/kernels.h"
#include "learner/gpu/runtime.h"

namespace cohort::gpu {

using bf16 = __nv_bfloat16;

__device__ inline float wide(float x) {
  return x;
}
__device__ inline float wide(bf16 x) {
  return __bfloat162float(x);
}
template <class T>
__device__ inline T narrow(float x);
template <>
__device__ inline float narrow<float>(float x) {
  return x;
}
template <>
__device__ inline bf16 narrow<bf16>(float x) {
  return __float2bfloat16_rn(x);
}

// N elements that are read and written as one access where 16 bytes hold them.
template <class T, int N>
struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Pack {
  T x[N];
};
template <int N, class T>
__device__ inline void load(float (&to)[N], const T* from) {
  const auto p = *reinterpret_cast<const Pack<T, N>*>(from);
#pragma unroll
  for (int i = 0; i < N; ++i) to[i] = wide(p.x[i]);
}
template <int N, class T>
__device__ inline void store(T* to, const float (&from)[N]) {
  Pack<T, N> p;
#pragma unroll
  for (int i = 0; i < N; ++i) p.x[i] = narrow<T>(from[i]);
  *reinterpret_cast<Pack<T, N>*>(to) = p;
}

__device__ inline float warp_sum(float x) {
#pragma unroll
  for (int step = 16; step > 0; step >>= 1) x += __shfl_xor_sync(0xffffffffu, x, step);
  return x;
}
// The sum on every thread. `shared`: 32 floats. blockDim.x is a multiple of 32.
__device__ inline float block_sum(float x, float* shared) {
  x = warp_sum(x);
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  return warp_sum(threadIdx.x % 32 < blockDim.x / 32 ? shared[threadIdx.x % 32] : 0.0f);
}

inline unsigned threads_for(int64_t items, unsigned most = 256) {
  const int64_t warps = (items + 31) / 32;
  return static_cast<unsigned>(warps < 1 ? 32 : warps * 32 > most ? most : warps * 32);
}
inline unsigned blocks_for(int64_t items, int64_t per_block) {
  return static_cast<unsigned>((items + per_block - 1) / per_block);
}
inline void launched(const char* kernel) {
  check(cudaGetLastError(), kernel);
}

// Calls f with the type of T's tag, and with 8 elements a pack where rows allow it, else one.
template <class F>
void with_type(Type type, F f) {
  if (type == Type::bf16)
    f(bf16{});
  else
    f(float{});
}
template <class F>
void with_pack(Type type, int64_t width, F f) {
  with_type(type, [&](auto t) {
    if (width % 8 == 0)
      f(t, std::integral_constant<int, 8>{});
    else
      f(t, std::integral_constant<int, 1>{});
  });
}

// out[column] += sum over rows of partial[row][columns], row after row: the second half of every parameter gradient.
__global__ void add_partials(int64_t rows, int64_t columns, const float* partial, float* out);
void launch_add_partials(int64_t rows, int64_t columns, const float* partial, float* out);

}  // namespace cohort::gpu
