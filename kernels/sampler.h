// From fp32 logits to a token and its log-probability, with the meaning of rollout/sampler.h: temperature, top-k, top-p,
// min-p, each on what the one before left; the token is where the running sum over ids passes uniform * total.
//
// Logits come with their pieces: each piece's maximum, sum and arg max, left by the product that made them (GemmOut::logits) or
// by sampler_pieces(), one pass over them. Then a block a row adds the pieces up in their order, finds the piece that the
// random number falls into and walks that one; logits that were not kept are computed again for that piece. Rows with truncation
// go through another kernel, one block a row, which reads only the pieces whose maxima say that something of them may be left. No
// sum's order depends on the batch or on timing, so neither does a sample.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/rows.h"

namespace cohort::cuda {

constexpr int kSamplerPiece = 512;  // sampler_pieces()
struct alignas(16) SamplerPiece {
  float top = 0, sum = 0;        // sum of exp((l - top) / temperature)
  int32_t best = 0, unused = 0;  // the lowest id of a logit of `top`, where the row is greedy
};

// Where logits come from: row r's logit i is x[r] * w[i], over the rms of r.
struct LogitProduct {
  const __nv_bfloat16 *x = nullptr, *w = nullptr;  // [count][width], [vocab][width]
  int width = 0;                                   // a multiple of 8
  RowScale scale;
};
struct SamplerParams {
  const float* logits =
      nullptr;           // [count][stride]; null where nothing truncates and pieces are of at most 256
  LogitProduct product;  // instead of logits
  int count = 0;
  int64_t vocab = 0, stride = 0;  // stride: a multiple of 4; vocab at most 2 million
  const Row* rows = nullptr;
  SamplerPiece* pieces = nullptr;  // [count][ceil(vocab / piece)]
  int piece = kSamplerPiece;       // logits in one of them, 64 to 512, a multiple of 64
  bool truncation = false;         // some row may truncate: run the second kernel
  int32_t* last_token = nullptr;   // [slot], may be null
  SampledToken* results =
      nullptr;  // [2][capacity] by turns of *turn, see PrepareParams; or [count] where turn is null
  int64_t capacity = 0;
  const uint32_t* turn = nullptr;
};
void sampler_pieces(const SamplerParams& p, cudaStream_t stream, bool early);  // p.piece: kSamplerPiece
void sample_rows(const SamplerParams& p, cudaStream_t stream, bool early);

}  // namespace cohort::cuda
