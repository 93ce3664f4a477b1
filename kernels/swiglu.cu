#include "kernels/device.cuh"
#include "kernels/swiglu.h"

namespace cohort::cuda {
namespace {

// A row is shared by gridDim.y blocks. Without a scale a thread has few registers, so that a multiprocessor has many of them.
template <bool kScaled>
__global__ void __launch_bounds__(256)
    swiglu_kernel(const uint4* gate_up, RowScale row_scales, int vectors, uint4* h) {
  dependency_wait();
  dependents_launch();
  const int64_t row = blockIdx.x;
  const float scale = kScaled ? row_scale(row_scales, int(row)) : 1.0f;
  for (int i = int(blockIdx.y * blockDim.x + threadIdx.x); i < vectors; i += int(gridDim.y * blockDim.x)) {
    const uint4 g = gate_up[2 * row * vectors + i], u = gate_up[(2 * row + 1) * vectors + i];
    const bf16 *gs = reinterpret_cast<const bf16*>(&g), *us = reinterpret_cast<const bf16*>(&u);
    uint4 out;
    bf16* o = reinterpret_cast<bf16*>(&out);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const float x = __bfloat162float(gs[j]) * scale;
      o[j] = __float2bfloat16_rn(__fdividef(x, 1.0f + __expf(-x)) * (__bfloat162float(us[j]) * scale));
    }
    h[row * vectors + i] = out;
  }
}

}  // namespace

void swiglu(const bf16* gate_up, const RowScale& scale, int rows, int width, bf16* h, cudaStream_t stream,
            bool early) {
  const int vectors = width / 8, blocks = rows >= 1024 ? 1 : (vectors + 255) / 256;
  launch(scale.squares ? swiglu_kernel<true> : swiglu_kernel<false>, dim3(unsigned(rows), unsigned(blocks)),
         256, 0, stream, early, reinterpret_cast<const uint4*>(gate_up), scale, vectors,
         reinterpret_cast<uint4*>(h));
}

}  // namespace cohort::cuda
