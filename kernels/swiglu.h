// SwiGLU: h = silu(gate) * up.
//
// For gate and up from one product of cuBLASLt; hopper_gemm.h does the same in its epilogue.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/rows.h"

namespace cohort::cuda {

// gate_up [rows][2 * width], gate first, h [rows][width]; width a multiple of 8. fp32 inside, rounded once. scale: of gate and up
// of each row.
void swiglu(const __nv_bfloat16* gate_up, const RowScale& scale, int rows, int width, __nv_bfloat16* h,
            cudaStream_t stream, bool early);
void swiglu_reference(const __nv_bfloat16* gate_up, const RowScale& scale, int rows, int width,
                      __nv_bfloat16* h);

}  // namespace cohort::cuda
