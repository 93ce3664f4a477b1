// RMSNorm with the residual addition before it: x += what the product before it gave, y = x / rms(x) * weight.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/rows.h"

namespace cohort::cuda {

struct RmsNormParams {
  __nv_bfloat16* x = nullptr;  // [rows][hidden] residual stream, updated where there is something to add
  const __nv_bfloat16* delta = nullptr;  // [rows][hidden] or null
  const __nv_bfloat16* weight = nullptr;
  float eps = 1e-6f;
  __nv_bfloat16* y = nullptr;
  int rows = 0, hidden = 0;  // hidden: a multiple of 8, at most 16384
};
// Sums in fp32; x is rounded to bf16 once, y as transformers does it: x / rms(x) is rounded, then the product with weight.
void rms_norm(const RmsNormParams& p, cudaStream_t stream, bool early);
void rms_norm_reference(const RmsNormParams& p);

}  // namespace cohort::cuda
