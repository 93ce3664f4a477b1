// Matrix products by cuBLASLt: y [m][n] = x [m][k] * w [n][k]^T, bf16 in, fp32 accumulation, bf16 or fp32 out, with a bias or
// the fp32 residual stream added in the epilogue. The algorithm of each shape is measured once, at the first use, among those
// that cuBLASLt's heuristics name.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <span>

#include "kernels/rows.h"

namespace cohort::cuda {

struct GemmParams {
  const __nv_bfloat16* x = nullptr;
  const __nv_bfloat16* w = nullptr;
  int64_t m = 0, n = 0, k = 0;
  void* y = nullptr;
  int64_t stride = 0;                   // of y's rows, in elements
  bool fp32 = false;                    // y's type
  bool add = false;                     // y += …
  const __nv_bfloat16* bias = nullptr;  // [n] or null; bf16 only
};

class Gemm {
 public:
  explicit Gemm(size_t workspace_bytes = 64 << 20);
  ~Gemm();
  // Enqueues on `stream`. The first call of a shape measures on the stream, overwriting y (an `add` product's too), so it
  // must not be the one that counts: call prepare() before. Not while the stream captures.
  // `cold`: the same weight of other layers, used by turns so that the measurement does not read them from L2.
  void prepare(const GemmParams& p, cudaStream_t stream, std::span<const __nv_bfloat16* const> cold = {});
  void run(const GemmParams& p, cudaStream_t stream);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cohort::cuda
