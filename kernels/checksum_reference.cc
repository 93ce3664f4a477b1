#include <cstring>

#include "kernels/checksum.h"
#include "kernels/checksum_mix.h"
#include "transport/base/error.h"

namespace cohort::cuda {

[[noreturn]] void checksum_failed(const char* what, const char* why) {
  fail("checksum of weights on the GPU: {}: {}", what, why);
}

uint64_t checksum_reference(const void* data, size_t bytes) {
  const auto* at = static_cast<const unsigned char*>(data);
  uint64_t sum = 0;
  for (size_t place = 0; place * 8 < bytes; ++place) {
    uint64_t word = 0;
    std::memcpy(&word, at + place * 8, bytes - place * 8 < 8 ? bytes - place * 8 : 8);
    sum += checksum_mix(word, place);
  }
  return sum;
}

}  // namespace cohort::cuda
