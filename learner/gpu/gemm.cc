#include "learner/gpu/gemm.h"

#include <cublas_v2.h>
#include <cuda_runtime_api.h>

#include "learner/gpu/runtime.h"
#include "transport/base/error.h"

namespace cohort::gpu {
namespace {

// Named, because the header overloads it.
using GemmEx = cublasStatus_t (*)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int,
                                  const void*, const void*, cudaDataType_t, int, const void*, cudaDataType_t,
                                  int, const void*, void*, cudaDataType_t, int, cublasComputeType_t,
                                  cublasGemmAlgo_t);

// Loaded, not linked, as all of CUDA's libraries; see runtime.h.
struct Cublas {
  decltype(&cublasCreate_v2) create;
  decltype(&cublasSetWorkspace_v2) set_workspace;
  decltype(&cublasSetMathMode) set_math_mode;
  GemmEx gemm;
  decltype(&cublasGetStatusString) status_string;
  cublasHandle_t handle = nullptr;

  Cublas() {
    const auto find = [](auto& function, const char* name) {
      function = reinterpret_cast<std::decay_t<decltype(function)>>(symbol("libcublas.so.13", name));
    };
    find(create, "cublasCreate_v2"), find(set_workspace, "cublasSetWorkspace_v2");
    find(set_math_mode, "cublasSetMathMode"), find(gemm, "cublasGemmEx");
    find(status_string, "cublasGetStatusString");
    require(create(&handle), "cublasCreate");
    // Hopper's kernels want 32 MiB; one of our own keeps results the same from run to run
    constexpr size_t kWorkspace = size_t{32} << 20;
    void* workspace = nullptr;
    check(cudaMalloc(&workspace, kWorkspace), "cuBLAS's workspace");
    require(set_workspace(handle, workspace, kWorkspace), "cublasSetWorkspace");
    // split sums must not be rounded to bf16 in between
    require(set_math_mode(
                handle, cublasMath_t(CUBLAS_DEFAULT_MATH | CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION)),
            "cublasSetMathMode");
  }
  void require(cublasStatus_t status, const char* what) const {
    if (status != CUBLAS_STATUS_SUCCESS) fail("{}: {}", what, status_string(status));
  }
};

const Cublas& cublas() {
  static const Cublas loaded;  // one GPU a process
  return loaded;
}

cudaDataType_t data_type(Type type) {
  return type == Type::f32 ? CUDA_R_32F : CUDA_R_16BF;
}

}  // namespace

void gemm(const Matrix& out, const Matrix& a, const Matrix& b, bool add) {
  if (out.transposed || out.rows != a.rows || out.columns != b.columns || a.columns != b.rows ||
      a.type != b.type)
    fail("internal error: a product of {}×{} and {}×{} into {}×{}", a.rows, a.columns, b.rows, b.columns,
         out.rows, out.columns);
  if (out.rows == 0 || out.columns == 0) return;
  const float one = 1, beta = add ? 1 : 0;
  // row-major out = a · b is column-major outᵀ = bᵀ · aᵀ
  const auto op = [](const Matrix& m) { return m.transposed ? CUBLAS_OP_T : CUBLAS_OP_N; };
  const Cublas& c = cublas();
  c.require(c.gemm(c.handle, op(b), op(a), int(out.columns), int(out.rows), int(a.columns), &one, b.data,
                   data_type(b.type), int(b.stride), a.data, data_type(a.type), int(a.stride), &beta,
                   const_cast<void*>(out.data), data_type(out.type), int(out.stride), CUBLAS_COMPUTE_32F,
                   CUBLAS_GEMM_DEFAULT),
            "cublasGemmEx");
}

}  // namespace cohort::gpu
