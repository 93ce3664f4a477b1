// The kernels for AVX2: compiled with its flags (learner/CMakeLists.txt), called only where the machine has
// it.
#include <immintrin.h>

#include "learner/model/cpu/kernels.h"

namespace cohort::cpu {
namespace {

constexpr int VW = 8;              // floats in a vector
constexpr int MR = 6;              // rows of a register tile
constexpr int64_t PANEL = 2 * VW;  // columns of a register tile
constexpr const char* ISA_NAME = "avx2";

#include "learner/model/cpu/kernels.inc"

}  // namespace

const Kernels* kernels_avx2() {
  return &table;
}

}  // namespace cohort::cpu
