// What kernels/checksum.h adds up, for the CPU and the GPU alike.
#pragma once

#include <cstdint>

namespace cohort::cuda {

// The finaliser of MurmurHash3 (public domain) over the word and its place; both constants are odd, so each step can be undone.
#ifdef __CUDACC__
__host__ __device__
#endif
    inline uint64_t
    checksum_mix(uint64_t word, uint64_t place) {
  uint64_t h = word ^ (place * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du);
  h ^= h >> 33;
  h *= 0xff51afd7ed558ccdu;
  h ^= h >> 33;
  h *= 0xc4ceb9fe1a85ec53u;
  return h ^ h >> 33;
}

}  // namespace cohort::cuda
