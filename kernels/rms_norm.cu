#include "kernels/device.cuh"
#include "kernels/rms_norm.h"

namespace cohort::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kVectors = 8;  // of 8 elements, a thread: 16384 in all

// One block a row, which it holds in registers between the two passes.
template <int kMost>
__global__ void __launch_bounds__(kThreads) rms_norm_kernel(RmsNormParams p) {
  __shared__ float sums[kThreads / 32];
  const int vectors = p.hidden / 8, row = blockIdx.x;
  const int64_t at = int64_t(row) * p.hidden;
  uint4 weights[kMost];
#pragma unroll
  for (int v = 0; v < kMost; ++v) {
    const int i = v * kThreads + threadIdx.x;
    if (i < vectors) weights[v] = reinterpret_cast<const uint4*>(p.weight)[i];
  }
  dependency_wait();
  dependents_launch();
  float values[kMost][8];
  float sum = 0;
#pragma unroll
  for (int v = 0; v < kMost; ++v) {
    const int i = v * kThreads + threadIdx.x;
    if (i >= vectors) break;
    uint4 raw = reinterpret_cast<const uint4*>(p.x + at)[i];
    const bf16* e = reinterpret_cast<const bf16*>(&raw);
#pragma unroll
    for (int j = 0; j < 8; ++j) values[v][j] = __bfloat162float(e[j]);
    float added[8] = {};
    if (p.partial) {
#pragma unroll 4
      for (int s = 0; s < p.splits; ++s) {
        const float4* part = reinterpret_cast<const float4*>(p.partial + (int64_t(s) * p.rows + row) * p.hidden) + 2 * i;
        const float4 a = part[0], b = part[1];
        added[0] += a.x, added[1] += a.y, added[2] += a.z, added[3] += a.w;
        added[4] += b.x, added[5] += b.y, added[6] += b.z, added[7] += b.w;
      }
    }
    if (p.delta) {
      const uint4 d = reinterpret_cast<const uint4*>(p.delta + at)[i];
      const bf16* q = reinterpret_cast<const bf16*>(&d);
#pragma unroll
      for (int j = 0; j < 8; ++j) added[j] += __bfloat162float(q[j]);
    }
    if (p.bias) {
      const uint4 d = reinterpret_cast<const uint4*>(p.bias)[i];
      const bf16* q = reinterpret_cast<const bf16*>(&d);
#pragma unroll
      for (int j = 0; j < 8; ++j) added[j] += __bfloat162float(q[j]);
    }
    if (p.partial || p.delta || p.bias) {
      uint4 out;
      bf16* o = reinterpret_cast<bf16*>(&out);
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        o[j] = __float2bfloat16_rn(values[v][j] + added[j]);
        values[v][j] = __bfloat162float(o[j]);
      }
      reinterpret_cast<uint4*>(p.x + at)[i] = out;
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) sum += values[v][j] * values[v][j];
  }
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
  __syncthreads();
  float total = 0;
#pragma unroll
  for (float s : sums) total += s;
  const float scale = rsqrtf(total / float(p.hidden) + p.eps);
#pragma unroll
  for (int v = 0; v < kMost; ++v) {
    const int i = v * kThreads + threadIdx.x;
    if (i >= vectors) break;
    const bf16* w = reinterpret_cast<const bf16*>(&weights[v]);
    uint4 out;
    bf16* o = reinterpret_cast<bf16*>(&out);
#pragma unroll
    for (int j = 0; j < 8; ++j)
      o[j] = __float2bfloat16_rn(__bfloat162float(__float2bfloat16_rn(values[v][j] * scale)) * __bfloat162float(w[j]));
    reinterpret_cast<uint4*>(p.y + at)[i] = out;
  }
}

}  // namespace

void rms_norm(const RmsNormParams& p, cudaStream_t stream, bool early) {
  const int vectors = (p.hidden / 8 + kThreads - 1) / kThreads;
  auto kernel = vectors <= 1   ? rms_norm_kernel<1>
                : vectors <= 2 ? rms_norm_kernel<2>
                : vectors <= 4 ? rms_norm_kernel<4>
                               : rms_norm_kernel<kVectors>;
  launch(kernel, p.rows, kThreads, 0, stream, early, p);
}

}  // namespace cohort::cuda
