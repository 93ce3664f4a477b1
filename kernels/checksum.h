// A checksum of a flat buffer that a GPU computes at the speed of reading it: the sum, modulo 2^64, of every 8-byte word mixed
// with its place. So it does not depend on the order of the additions, and notices words that are wrong, missing or exchanged.
// What lies behind the last whole word counts as one more, filled up with zeros. Against accidents, not against attackers.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cohort::cuda {

// data: 16-byte aligned memory of the current GPU; sum: one word there, overwritten. Enqueues on `stream` (a cudaStream_t) and
// returns; throws Error when the launch is refused.
void checksum(const void* data, size_t bytes, uint64_t* sum, void* stream);
// The same of host memory.
uint64_t checksum_reference(const void* data, size_t bytes);

}  // namespace cohort::cuda
