#include "kernels/device.cuh"
#include "kernels/rms_norm.h"

namespace cohort::cuda {
namespace {

constexpr int kThreads = 256;

// kRowThreads threads have a row, eight elements at a time, kEach times, and hold it in registers between the two passes.
template <int kRowThreads, int kEach>
__global__ void __launch_bounds__(kThreads, kEach > 4 ? 1 : 2) rms_norm_kernel(RmsNormParams p) {
  __shared__ float sums[kThreads / 32];
  const int vectors = p.hidden / 8, part = threadIdx.x % kRowThreads,
            row = blockIdx.x * (kThreads / kRowThreads) + threadIdx.x / kRowThreads;
  const bool inside = row < p.rows;
  const int64_t at = int64_t(row) * vectors;
  uint4 weights[kEach];
#pragma unroll
  for (int v = 0; v < kEach; ++v)
    if (v * kRowThreads + part < vectors)
      weights[v] = reinterpret_cast<const uint4*>(p.weight)[v * kRowThreads + part];
  dependency_wait();
  dependents_launch();
  uint4* x = reinterpret_cast<uint4*>(p.x) + at;
  uint4 values[kEach], added[kEach];
  const auto mine = [&](int v) { return inside && v * kRowThreads + part < vectors; };
#pragma unroll
  for (int v = 0; v < kEach; ++v) values[v] = mine(v) ? x[v * kRowThreads + part] : uint4{0, 0, 0, 0};
  if (p.delta) {
    const uint4* delta = reinterpret_cast<const uint4*>(p.delta) + at;
#pragma unroll
    for (int v = 0; v < kEach; ++v) added[v] = mine(v) ? delta[v * kRowThreads + part] : uint4{0, 0, 0, 0};
#pragma unroll
    for (int v = 0; v < kEach; ++v) {
      bf16* to = reinterpret_cast<bf16*>(&values[v]);
      const bf16* a = reinterpret_cast<const bf16*>(&added[v]);
#pragma unroll
      for (int j = 0; j < 8; ++j)
        to[j] = __float2bfloat16_rn(__bfloat162float(to[j]) + __bfloat162float(a[j]));
      if (mine(v)) x[v * kRowThreads + part] = values[v];
    }
  }
  float sum = 0;
#pragma unroll
  for (int v = 0; v < kEach; ++v)
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const float e = __bfloat162float(reinterpret_cast<const bf16*>(&values[v])[j]);
      sum += e * e;
    }
  sum = warp_sum(sum);
  if constexpr (kRowThreads > 32) {
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
    __syncthreads();
    const int first = int(threadIdx.x) / kRowThreads * (kRowThreads / 32);
    sum = 0;
#pragma unroll
    for (int w = 0; w < kRowThreads / 32; ++w) sum += sums[first + w];
  }
  const float scale = rsqrtf(sum / float(p.hidden) + p.eps);
#pragma unroll
  for (int v = 0; v < kEach; ++v) {
    if (!mine(v)) continue;
    bf16* to = reinterpret_cast<bf16*>(&values[v]);
    const bf16* w = reinterpret_cast<const bf16*>(&weights[v]);
#pragma unroll
    for (int j = 0; j < 8; ++j)
      to[j] = __float2bfloat16_rn(__bfloat162float(__float2bfloat16_rn(__bfloat162float(to[j]) * scale)) *
                                  __bfloat162float(w[j]));
    reinterpret_cast<uint4*>(p.y)[at + v * kRowThreads + part] = values[v];
  }
}

template <int kRowThreads, int kEach>
void run(const RmsNormParams& p, cudaStream_t stream, bool early) {
  constexpr int kRows = kThreads / kRowThreads;
  launch(rms_norm_kernel<kRowThreads, kEach>, unsigned((p.rows + kRows - 1) / kRows), kThreads, 0, stream,
         early, p);
}

}  // namespace

void rms_norm(const RmsNormParams& p, cudaStream_t stream, bool early) {
  if (p.hidden <= 1024) return run<32, 4>(p, stream, early);
  if (p.hidden <= 2048) return run<64, 4>(p, stream, early);
  if (p.hidden <= 4096) return run<128, 4>(p, stream, early);
  if (p.hidden <= 8192) return run<256, 4>(p, stream, early);
  run<256, 8>(p, stream, early);
}

}  // namespace cohort::cuda
