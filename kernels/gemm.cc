#include "kernels/gemm.h"

#include <algorithm>
#include <array>
#include <map>
#include <vector>

#include "kernels/cuda_check.h"
#include "transport/base/error.h"

namespace cohort::cuda {
namespace {

// cuBLASLt is column-major: y^T [n][m] = w [k][n] transposed * x^T [k][m].
struct Plan {
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t w = nullptr, x = nullptr, y = nullptr;
  cublasLtMatmulAlgo_t algorithm{};
};

using Shape = std::array<int64_t, 7>;
Shape shape_of(const GemmParams& p) {
  return {p.m, p.n, p.k, p.stride, p.fp32, p.add, p.bias != nullptr};
}

}  // namespace

struct Gemm::Impl {
  cublasLtHandle_t handle = nullptr;
  void* workspace = nullptr;
  size_t workspace_bytes = 0;
  std::map<Shape, Plan> plans;

  Plan describe(const GemmParams& p) {
    Plan plan;
    const cublasOperation_t transposed = CUBLAS_OP_T;
    CUDA_CHECK(cublasLtMatmulDescCreate(&plan.operation, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    CUDA_CHECK(cublasLtMatmulDescSetAttribute(plan.operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                              sizeof(transposed)));
    if (p.bias) {
      const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
      CUDA_CHECK(cublasLtMatmulDescSetAttribute(plan.operation, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
                                                sizeof(epilogue)));
      const cudaDataType_t type = CUDA_R_16BF;
      CUDA_CHECK(cublasLtMatmulDescSetAttribute(plan.operation, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &type,
                                                sizeof(type)));
      set_bias(plan, p);
    }
    CUDA_CHECK(cublasLtMatrixLayoutCreate(&plan.w, CUDA_R_16BF, uint64_t(p.k), uint64_t(p.n), p.k));
    CUDA_CHECK(cublasLtMatrixLayoutCreate(&plan.x, CUDA_R_16BF, uint64_t(p.k), uint64_t(p.m), p.k));
    CUDA_CHECK(cublasLtMatrixLayoutCreate(&plan.y, p.fp32 ? CUDA_R_32F : CUDA_R_16BF, uint64_t(p.n),
                                          uint64_t(p.m), p.stride));
    return plan;
  }
  static void set_bias(const Plan& plan, const GemmParams& p) {
    CUDA_CHECK(cublasLtMatmulDescSetAttribute(plan.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &p.bias,
                                              sizeof(p.bias)));
  }
  void enqueue(const Plan& plan, const cublasLtMatmulAlgo_t& algorithm, const GemmParams& p,
               cudaStream_t stream) {
    const float one = 1, beta = p.add ? 1 : 0;
    CUDA_CHECK(cublasLtMatmul(handle, plan.operation, &one, p.w, plan.w, p.x, plan.x, &beta, p.y, plan.y, p.y,
                              plan.y, &algorithm, workspace, workspace_bytes, stream));
  }
};

Gemm::Gemm(size_t workspace_bytes) : impl_(std::make_unique<Impl>()) {
  CUDA_CHECK(cublasLtCreate(&impl_->handle));
  impl_->workspace_bytes = workspace_bytes;
  CUDA_CHECK(cudaMalloc(&impl_->workspace, workspace_bytes));
}

Gemm::~Gemm() {
  for (auto& [shape, plan] : impl_->plans) {
    cublasLtMatrixLayoutDestroy(plan.w);
    cublasLtMatrixLayoutDestroy(plan.x);
    cublasLtMatrixLayoutDestroy(plan.y);
    cublasLtMatmulDescDestroy(plan.operation);
  }
  cudaFree(impl_->workspace);
  cublasLtDestroy(impl_->handle);
}

void Gemm::prepare(const GemmParams& p, cudaStream_t stream, std::span<const __nv_bfloat16* const> cold) {
  if (impl_->plans.contains(shape_of(p))) return;
  Plan plan = impl_->describe(p);
  cublasLtMatmulPreference_t preference;
  CUDA_CHECK(cublasLtMatmulPreferenceCreate(&preference));
  CUDA_CHECK(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                  &impl_->workspace_bytes, sizeof(impl_->workspace_bytes)));
  uint32_t alignment = 256;  // cuBLASLt's own assumption, which weights of a flat buffer need not meet
  const auto meet = [&](const void* w) {
    while (reinterpret_cast<uintptr_t>(w) % alignment != 0) alignment /= 2;
  };
  meet(p.w);
  for (const void* w : cold) meet(w);
  CUDA_CHECK(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                                                  &alignment, sizeof(alignment)));
  std::array<cublasLtMatmulHeuristicResult_t, 16> found;
  int count = 0;
  CUDA_CHECK(cublasLtMatmulAlgoGetHeuristic(impl_->handle, plan.operation, plan.w, plan.x, plan.y, plan.y,
                                            preference, int(found.size()), found.data(), &count));
  cublasLtMatmulPreferenceDestroy(preference);
  if (count == 0) fail("cuBLASLt has no algorithm for a product of {} x {} x {}", p.m, p.n, p.k);
  cudaEvent_t begin, end;
  CUDA_CHECK(cudaEventCreate(&begin));
  CUDA_CHECK(cudaEventCreate(&end));
  float best = 1e30f;
  GemmParams one = p;
  size_t turn = 0;
  const auto enqueue = [&](const cublasLtMatmulAlgo_t& algorithm) {
    if (!cold.empty()) one.w = cold[turn++ % cold.size()];
    impl_->enqueue(plan, algorithm, one, stream);
  };
  for (int i = 0; i < count; ++i) {
    constexpr int kRepeats = 5;
    enqueue(found[size_t(i)].algo);
    std::array<float, 3> ms;
    for (float& t : ms) {
      CUDA_CHECK(cudaEventRecord(begin, stream));
      for (int r = 0; r < kRepeats; ++r) enqueue(found[size_t(i)].algo);
      CUDA_CHECK(cudaEventRecord(end, stream));
      CUDA_CHECK(cudaEventSynchronize(end));
      CUDA_CHECK(cudaEventElapsedTime(&t, begin, end));
    }
    std::sort(ms.begin(), ms.end());
    if (ms[1] < best) best = ms[1], plan.algorithm = found[size_t(i)].algo;
  }
  CUDA_CHECK(cudaEventDestroy(begin));
  CUDA_CHECK(cudaEventDestroy(end));
  impl_->plans.emplace(shape_of(p), plan);
}

void Gemm::run(const GemmParams& p, cudaStream_t stream) {
  const auto found = impl_->plans.find(shape_of(p));
  if (found == impl_->plans.end()) fail("a matrix product of {} x {} x {} was not prepared", p.m, p.n, p.k);
  if (p.bias) Impl::set_bias(found->second, p);
  impl_->enqueue(found->second, found->second.algorithm, p, stream);
}

}  // namespace cohort::cuda
