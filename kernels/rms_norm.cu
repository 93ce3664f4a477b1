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
  float values[kEach][8] = {};
  const auto mine = [&](int v) { return inside && v * kRowThreads + part < vectors; };
  const auto x = [&](int v) { return p.x + (at + v * kRowThreads + part) * 8; };
#pragma unroll
  for (int v = 0; v < kEach; ++v)
    if (mine(v)) load_8(x(v), values[v]);
  if (p.bias)
#pragma unroll
    for (int v = 0; v < kEach; ++v) {
      if (!mine(v)) continue;
      float bias[8];
      widen(reinterpret_cast<const uint4*>(p.bias)[v * kRowThreads + part], bias);
#pragma unroll
      for (int j = 0; j < 8; ++j) values[v][j] += bias[j];
      store_8(x(v), values[v]);
    }
  float sum = 0;
#pragma unroll
  for (int v = 0; v < kEach; ++v)
#pragma unroll
    for (int j = 0; j < 8; ++j) sum += values[v][j] * values[v][j];
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
    float w[8];
    widen(weights[v], w);
#pragma unroll
    for (int j = 0; j < 8; ++j) w[j] *= values[v][j] * scale;
    reinterpret_cast<uint4*>(p.y)[at + v * kRowThreads + part] = narrow(w);
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
