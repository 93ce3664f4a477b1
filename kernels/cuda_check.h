// Every CUDA call is checked, and every launch: CUDA_CHECK(cudaMalloc(…)). A failure is an Error that names the call and
// the place; nothing of the CUDA side is usable after it.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

namespace cohort::cuda {

[[noreturn]] void call_failed(const char* what, const char* call, const char* file, int line);
inline void check(cudaError_t code, const char* call, const char* file, int line) {
  if (code != cudaSuccess) call_failed(cudaGetErrorString(code), call, file, line);
}
inline void check(cublasStatus_t code, const char* call, const char* file, int line) {
  if (code != CUBLAS_STATUS_SUCCESS) call_failed(cublasLtGetStatusString(code), call, file, line);
}

}  // namespace cohort::cuda

#define CUDA_CHECK(call) ::cohort::cuda::check((call), #call, __FILE__, __LINE__)
