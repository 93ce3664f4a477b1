// RMSNorm of the residual stream, with the bias of the product before it: x += bias, y = x / rms(x) * weight.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/rows.h"

namespace cohort::cuda {

struct RmsNormParams {
  float* x = nullptr;                   // [rows][hidden], updated where there is a bias
  const __nv_bfloat16* bias = nullptr;  // [hidden] or null
  const __nv_bfloat16* weight = nullptr;
  float eps = 1e-6f;
  __nv_bfloat16* y = nullptr;
  int rows = 0, hidden = 0;  // hidden: a multiple of 8, at most 16384
};
// In fp32; only y is rounded.
void rms_norm(const RmsNormParams& p, cudaStream_t stream, bool early);
void rms_norm_reference(const RmsNormParams& p);

}  // namespace cohort::cuda
