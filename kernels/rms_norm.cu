#include "kernels/device.cuh"
#include "kernels/rms_norm.h"

namespace cohort::cuda {
namespace {

constexpr int kMostThreads = 1024;

// One block a row, which it holds in registers between the two passes: four elements a thread at a time, kMost times.
template <int kMost>
__global__ void __launch_bounds__(kMostThreads) rms_norm_kernel(RmsNormParams p) {
  __shared__ float sums[kMostThreads / 32];
  const int vectors = p.hidden / 4, row = blockIdx.x;
  const int64_t at = int64_t(row) * p.hidden;
  uint2 weights[kMost];
#pragma unroll
  for (int v = 0; v < kMost; ++v) {
    const int i = v * blockDim.x + threadIdx.x;
    if (i < vectors) weights[v] = reinterpret_cast<const uint2*>(p.weight)[i];
  }
  dependency_wait();
  dependents_launch();
  float values[kMost][4];
  float sum = 0;
#pragma unroll
  for (int v = 0; v < kMost; ++v) {
    const int i = v * blockDim.x + threadIdx.x;
    if (i >= vectors) break;
    const uint2 raw = reinterpret_cast<const uint2*>(p.x + at)[i];
    widen(raw, values[v]);
    if (p.delta) {
      float added[4];
      widen(reinterpret_cast<const uint2*>(p.delta + at)[i], added);
      uint2 out;
      bf16* o = reinterpret_cast<bf16*>(&out);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        o[j] = __float2bfloat16_rn(values[v][j] + added[j]);
        values[v][j] = __bfloat162float(o[j]);
      }
      reinterpret_cast<uint2*>(p.x + at)[i] = out;
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) sum += values[v][j] * values[v][j];
  }
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
  __syncthreads();
  float total = 0;
  for (int w = 0; w < int(blockDim.x) / 32; ++w) total += sums[w];
  const float scale = rsqrtf(total / float(p.hidden) + p.eps);
#pragma unroll
  for (int v = 0; v < kMost; ++v) {
    const int i = v * blockDim.x + threadIdx.x;
    if (i >= vectors) break;
    float w[4];
    widen(weights[v], w);
    uint2 out;
    bf16* o = reinterpret_cast<bf16*>(&out);
#pragma unroll
    for (int j = 0; j < 4; ++j)
      o[j] = __float2bfloat16_rn(__bfloat162float(__float2bfloat16_rn(values[v][j] * scale)) * w[j]);
    reinterpret_cast<uint2*>(p.y + at)[i] = out;
  }
}

}  // namespace

void rms_norm(const RmsNormParams& p, cudaStream_t stream, bool early) {
  const int vectors = p.hidden / 4,
            threads = vectors >= kMostThreads ? kMostThreads : (vectors + 31) / 32 * 32;
  auto kernel = vectors <= kMostThreads       ? rms_norm_kernel<1>
                : vectors <= 2 * kMostThreads ? rms_norm_kernel<2>
                                              : rms_norm_kernel<4>;
  launch(kernel, p.rows, threads, 0, stream, early, p);
}

}  // namespace cohort::cuda
