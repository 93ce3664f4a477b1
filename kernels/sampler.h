// From fp32 logits to a token and its log-probability, with the meaning of rollout/sampler.h: temperature, top-k, top-p,
// min-p, each on what the one before left; the token is where the running sum over ids passes uniform * total.
//
// One pass over the logits. A block takes a piece of one row and leaves the piece's maximum, its sum and its arg max; the
// last block of a row adds the pieces up in their order, finds the piece the random number falls into and walks that one.
// Rows with truncation go through a second kernel, one block a row. No sum's order depends on
// the batch or on timing, so neither does a sample.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/rows.h"

namespace cohort::cuda {

constexpr int kSamplerPiece = 4096;
struct alignas(16) SamplerPiece {
  float top = 0, sum = 0;  // sum of exp((l - top) / temperature)
  int32_t best = 0, unused = 0;
};

struct SamplerParams {
  const float* logits = nullptr;  // [count][stride]
  int count = 0;
  int64_t vocab = 0, stride = 0;  // stride: a multiple of 4; vocab at most 2 million
  const Row* rows = nullptr;
  SamplerPiece* pieces = nullptr;  // [count][ceil(vocab / kSamplerPiece)]
  int32_t* counters = nullptr;     // [count], zero; left zero
  bool truncation = false;         // some row may truncate: run the second kernel
  int32_t* last_token = nullptr;   // [slot], may be null
  SampledToken* results =
      nullptr;  // [2][capacity] by turns of *turn, see PrepareParams; or [count] where turn is null
  int64_t capacity = 0;
  const uint32_t* turn = nullptr;
};
void sample_rows(const SamplerParams& p, cudaStream_t stream, bool early);

}  // namespace cohort::cuda
