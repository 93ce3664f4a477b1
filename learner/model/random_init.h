// Random numbers for a model's first weights: the same on every machine, so no libm and no library
// distribution. No Torch.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cohort {

// `count` draws of normal(0, deviation), a pure function of (seed, stream).
void fill_normal(float* out, size_t count, double deviation, uint64_t seed, uint64_t stream);

}  // namespace cohort
