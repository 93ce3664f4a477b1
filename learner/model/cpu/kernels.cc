#include "learner/model/cpu/kernels.h"

#include <cstdlib>
#include <cstring>
#include <initializer_list>

namespace cohort::cpu {

const Kernels* kernels_baseline();
const Kernels* kernels_avx2();
const Kernels* kernels_avx512();

const Kernels* kernels_named(const char* isa) {
  if (std::strcmp(isa, "avx512") == 0)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("fma") ? kernels_avx512() : nullptr;
  if (std::strcmp(isa, "avx2") == 0)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? kernels_avx2() : nullptr;
  return std::strcmp(isa, "baseline") == 0 ? kernels_baseline() : nullptr;
}

const Kernels& kernels() {
  static const Kernels* const chosen = [] {
    if (const char* asked = std::getenv("COHORT_CPU_ISA"))
      if (const Kernels* k = kernels_named(asked)) return k;
    for (const char* isa : {"avx512", "avx2"})
      if (const Kernels* k = kernels_named(isa)) return k;
    return kernels_baseline();
  }();
  return *chosen;
}

}  // namespace cohort::cpu
