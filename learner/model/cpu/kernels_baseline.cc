// The kernels for SSE2: compiled with its flags (learner/CMakeLists.txt), called only where the machine has
// it.
#include "learner/model/cpu/kernels.h"

namespace cohort::cpu {
namespace {

constexpr int VW = 4;              // floats in a vector
constexpr int MR = 4;              // rows of a register tile
constexpr int64_t PANEL = 2 * VW;  // columns of a register tile
constexpr const char* ISA_NAME = "baseline";

#include "learner/model/cpu/kernels.inc"

}  // namespace

const Kernels* kernels_baseline() {
  return &table;
}

}  // namespace cohort::cpu
