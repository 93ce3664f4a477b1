// The kernels for AVX-512: compiled with its flags (learner/CMakeLists.txt), called only where the machine
// has it.
#include <immintrin.h>

#include "learner/model/cpu/kernels.h"

namespace cohort::cpu {
namespace {

constexpr int VW = 16;             // floats in a vector
constexpr int MR = 8;              // rows of a register tile
constexpr int64_t PANEL = 2 * VW;  // columns of a register tile
constexpr const char* ISA_NAME = "avx512";

#include "learner/model/cpu/kernels.inc"

}  // namespace

const Kernels* kernels_avx512() {
  return &table;
}

}  // namespace cohort::cpu
