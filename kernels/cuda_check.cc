#include "kernels/cuda_check.h"

#include "transport/base/error.h"

namespace cohort::cuda {

void call_failed(const char* what, const char* call, const char* file, int line) {
  fail("CUDA: {} ({}:{}: {})", what, file, line, call);
}

}  // namespace cohort::cuda
