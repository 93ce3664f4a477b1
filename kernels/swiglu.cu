#include "kernels/device.cuh"
#include "kernels/swiglu.h"

namespace cohort::cuda {
namespace {

__global__ void swiglu_kernel(const uint4* gate_up, int64_t vectors, uint4* h) {
  dependency_wait();
  dependents_launch();
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < vectors;
       i += int64_t(gridDim.x) * blockDim.x) {
    const uint4 g = gate_up[2 * i], u = gate_up[2 * i + 1];
    const bf16 *gs = reinterpret_cast<const bf16*>(&g), *us = reinterpret_cast<const bf16*>(&u);
    uint4 out;
    bf16* o = reinterpret_cast<bf16*>(&out);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const float x = __bfloat162float(gs[j]);
      o[j] = __float2bfloat16_rn(x / (1.0f + __expf(-x)) * __bfloat162float(us[j]));
    }
    h[i] = out;
  }
}

}  // namespace

void swiglu(const bf16* gate_up, int rows, int width, bf16* h, cudaStream_t stream, bool early) {
  const int64_t vectors = int64_t(rows) * width / 8;
  const int blocks = int((vectors + 255) / 256 < 2048 ? (vectors + 255) / 256 : 2048);
  launch(swiglu_kernel, blocks, 256, 0, stream, early, reinterpret_cast<const uint4*>(gate_up), vectors,
         reinterpret_cast<uint4*>(h));
}

}  // namespace cohort::cuda
