// Device helpers: asynchronous copies, matrix fragments, reductions, and programmatic dependent launch.
//
// Programmatic dependent launch, the rule that all kernels here keep: before dependency_wait() a kernel touches only
// what no kernel of this step writes (weights, KV of earlier steps); right after it, dependents_launch(). So
// at most two kernels overlap, and one that runs early can only read what is final.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda_check.h"
#include "kernels/rows.h"

namespace cohort::cuda {

using bf16 = __nv_bfloat16;

__device__ __forceinline__ void dependency_wait() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}
__device__ __forceinline__ void dependents_launch() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}
// 16 bytes from global to shared memory; zeros where !valid.
__device__ __forceinline__ void copy_16(uint32_t to, const void* from, bool valid = true) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(valid ? 16 : 0)
               : "memory");
}
__device__ __forceinline__ void copy_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int kPending>
__device__ __forceinline__ void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

__device__ __forceinline__ void load_matrix_4(uint32_t address, uint32_t (&r)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
__device__ __forceinline__ void load_matrix_4_transposed(uint32_t address, uint32_t (&r)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
// c (16 x 8, fp32) += a (16 x 16, row) * b (16 x 8, column)
__device__ __forceinline__ void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ uint32_t pack(float low, float high) {
  __nv_bfloat162 v = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<uint32_t*>(&v);
}

__device__ __forceinline__ void widen(uint2 raw, float (&v)[4]) {
  const bf16* e = reinterpret_cast<const bf16*>(&raw);
#pragma unroll
  for (int j = 0; j < 4; ++j) v[j] = __bfloat162float(e[j]);
}

__device__ __forceinline__ void widen(const uint4& raw, float (&v)[8]) {
  const bf16* e = reinterpret_cast<const bf16*>(&raw);
#pragma unroll
  for (int j = 0; j < 8; ++j) v[j] = __bfloat162float(e[j]);
}
__device__ __forceinline__ uint4 narrow(const float (&v)[8]) {
  return {pack(v[0], v[1]), pack(v[2], v[3]), pack(v[4], v[5]), pack(v[6], v[7])};
}
// Of fp32, aligned to 16 bytes.
__device__ __forceinline__ void load_8(const float* from, float (&v)[8]) {
  const float4 a = reinterpret_cast<const float4*>(from)[0], b = reinterpret_cast<const float4*>(from)[1];
  v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w, v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
}
__device__ __forceinline__ void store_8(float* to, const float (&v)[8]) {
  reinterpret_cast<float4*>(to)[0] = {v[0], v[1], v[2], v[3]};
  reinterpret_cast<float4*>(to)[1] = {v[4], v[5], v[6], v[7]};
}

// Byte offset of a 16-byte chunk in a tile whose rows are kChunks chunks wide, so that the eight rows of an ldmatrix lie
// in different banks.
template <int kChunks>
__device__ __forceinline__ int swizzled(int row, int chunk) {
  if constexpr (kChunks >= 8)
    return (row * kChunks + (chunk ^ (row & 7))) * 16;
  else if constexpr (kChunks == 4)
    return (row * 4 + (chunk ^ ((row >> 1) & 3))) * 16;
  else
    return (row * kChunks + chunk) * 16;
}

__device__ __forceinline__ float power_of_2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ __forceinline__ float warp_sum(float v) {
#pragma unroll
  for (int o = 16; o > 0; o >>= 1) v += __shfl_xor_sync(0xffffffffu, v, o);
  return v;
}
__device__ __forceinline__ float warp_max(float v) {
#pragma unroll
  for (int o = 16; o > 0; o >>= 1) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, o));
  return v;
}

// 1 / rms of a row. The parts' order is fixed; all loads of a usual width are under way at once.
__device__ __forceinline__ float row_scale(const RowScale& s, int row) {
  if (!s.squares) return 1;
  float sum = 0;
  for (int first = 0; first < s.parts; first += 32) {
    float part[32];
#pragma unroll
    for (int i = 0; i < 32; ++i)
      part[i] = first + i < s.parts ? __ldcg(s.squares + int64_t(first + i) * s.rows + row) : 0.0f;
#pragma unroll
    for (int i = 0; i < 32; ++i) sum += part[i];
  }
  return rsqrtf(sum / float(s.width) + s.eps);
}

// Lets blocks of a kernel have so much shared memory, once.
template <auto kKernel>
void allow_shared_memory(int bytes) {
  static const bool done = [&] {
    CUDA_CHECK(cudaFuncSetAttribute(kKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
    return true;
  }();
  (void)done;
}

// Launches with checks. early: may begin while the kernel before it still runs (see the rule above). cluster: blocks along z.
template <class... P, class... A>
void launch_cluster(void (*kernel)(P...), dim3 grid, int cluster, dim3 block, size_t shared,
                    cudaStream_t stream, bool early, A... arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = grid, config.blockDim = block, config.dynamicSmemBytes = shared, config.stream = stream;
  cudaLaunchAttribute attributes[2] = {};
  const auto next = [&]() -> cudaLaunchAttribute& { return attributes[config.numAttrs++]; };
  config.attrs = attributes;
  if (early) {
    cudaLaunchAttribute& a = next();
    a.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    a.val.programmaticStreamSerializationAllowed = 1;
  }
  if (cluster > 1) {
    cudaLaunchAttribute& a = next();
    a.id = cudaLaunchAttributeClusterDimension;
    a.val.clusterDim = {1, 1, unsigned(cluster)};
  }
  CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, P(arguments)...));
  CUDA_CHECK(cudaGetLastError());
}
template <class... P, class... A>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, cudaStream_t stream, bool early,
            A... arguments) {
  launch_cluster(kernel, grid, 1, block, shared, stream, early, arguments...);
}

}  // namespace cohort::cuda
