// Matrix products by cuBLAS, row-major. Products of float32 are true float32 (no TF32); those of bf16 are summed in
// float32. No Torch.
#pragma once

#include <cstdint>

#include "learner/gpu/kernels.h"

namespace cohort::gpu {

// A matrix in GPU memory: rows × columns, `stride` elements from row to row; `transposed` means that it is used so, and
// rows and columns are those of the transposed.
struct Matrix {
  const void* data = nullptr;
  Type type = Type::bf16;
  int64_t rows = 0, columns = 0, stride = 0;
  bool transposed = false;
  Matrix t() const { return {data, type, columns, rows, stride, !transposed}; }
  Matrix first_rows(int64_t begin, int64_t count) const {  // of one that is not transposed
    return {static_cast<const char*>(data) + static_cast<size_t>(begin * stride) * size_of(type),
            type,
            count,
            columns,
            stride,
            false};
  }
};

// out = a · b, or out += a · b. `out` may be wider than a and b (float32 sums of bf16 products, how gradients gather).
// Launches on the default stream. Throws Error when shapes do not fit or cuBLAS refuses.
void gemm(const Matrix& out, const Matrix& a, const Matrix& b, bool add = false);

}  // namespace cohort::gpu
