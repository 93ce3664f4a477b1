// Matrix products for few rows, where reading the weights is all the work: y [m][n] = x [m][k] * w [n][k]^T.
//
// Weights stream through shared memory and begin to do so before the kernel that makes x has finished (programmatic
// dependent launch), so that memory stays busy across the step's many short kernels. Epilogues: split-K partial sums
// (added up by whoever reads them), SwiGLU on interleaved gate and up rows, or plain. Which k a partial sum covers depends
// on the weight's shape alone and each sum runs over k in order: a row's result does not depend on m.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/rows.h"

namespace cohort::cuda {

constexpr int kSmallGemmRows = 128;  // the most

enum class SmallGemmOut {
  partial,  // fp32 [splits][m][n]
  full,     // fp32 [m][stride]
  swiglu,   // bf16 [m][n / 2], see kernels/swiglu.h for how w is interleaved
};
struct SmallGemmParams {
  const __nv_bfloat16* x = nullptr;
  const __nv_bfloat16* w = nullptr;
  int m = 0, n = 0, k = 0;  // n even, k a multiple of 8; swiglu: n a multiple of 16
  int splits = 1;           // partial only
  void* out = nullptr;
  int64_t stride = 0;       // full only
};
// How many splits fill the chip for a weight of this shape.
int small_gemm_splits(int n, int k, int multiprocessors);
void small_gemm(const SmallGemmParams& p, SmallGemmOut out, cudaStream_t stream, bool early);

}  // namespace cohort::cuda
