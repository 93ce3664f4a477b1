// Matrix products on Hopper's own instructions for the shapes of decoding, where reading the weights is most of the work:
// y [m][n] = x [m][k] * w [n][k]^T, bf16 in, fp32 accumulation.
//
// Weights are the instruction's wide side: 64 or 128 of their rows a block against up to 256 rows of x. The copy engine
// fills a ring of tiles in shared memory and begins with the weights before the kernel that makes x has finished
// (programmatic dependent launch), so that memory stays busy across a step's many short kernels. Epilogues: split-K partial
// sums, which whoever reads them adds up, SwiGLU on interleaved gate and up rows, or plain rows. Every sum runs over k
// in order, and which k a split covers depends on the weight's shape alone: a row's result does not depend on the others.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/rows.h"

namespace cohort::cuda {

enum class GemmOut {
  partial,  // fp32 [splits][m][n]
  full,     // fp32 [m][stride]
  swiglu,   // bf16 [m][n / 2], see kernels/swiglu.h for how w is interleaved
};
struct HopperGemmParams {
  const __nv_bfloat16* x = nullptr;  // 16-byte aligned, as w
  const __nv_bfloat16* w = nullptr;
  int m = 0, n = 0, k = 0;  // k a multiple of 8; swiglu: n a multiple of 16
  int splits = 1;           // partial only, see hopper_gemm_splits()
  void* out = nullptr;
  int64_t stride = 0;  // full only
  GemmOut kind = GemmOut::partial;
};
// Which kernel: rows of w and of x a block takes, and tiles in the ring.
struct HopperGemmTile {
  int warpgroups = 1, columns = 64, stages = 6;
  auto operator<=>(const HopperGemmTile&) const = default;
};
std::span<const HopperGemmTile> hopper_gemm_tiles();
// Without a measurement.
HopperGemmTile hopper_gemm_default(int m);
// How many splits fill the chip for a weight of this shape. None is empty.
int hopper_gemm_splits(int n, int k, int multiprocessors);
constexpr int kMostGemmSplits = 16;

void hopper_gemm(const HopperGemmParams& p, const HopperGemmTile& tile, cudaStream_t stream, bool early);

}  // namespace cohort::cuda
