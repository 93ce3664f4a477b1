// SwiGLU: h = silu(gate) * up.
//
// gate and up come from one product whose rows are interleaved in blocks of eight (gate 0-7, up 0-7, gate 8-15, …), so that
// the small-batch product can do this in its epilogue, where a thread holds both, and this kernel reads 16-byte runs.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/rows.h"

namespace cohort::cuda {

// gate_up [rows][2 * width] interleaved, h [rows][width]; width a multiple of 8. fp32 inside, rounded once. scale: of gate and up
// of each row.
void swiglu(const __nv_bfloat16* gate_up, const RowScale& scale, int rows, int width, __nv_bfloat16* h,
            cudaStream_t stream, bool early);
void swiglu_reference(const __nv_bfloat16* gate_up, const RowScale& scale, int rows, int width,
                      __nv_bfloat16* h);

}  // namespace cohort::cuda
