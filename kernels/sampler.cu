#include "kernels/sampler_parts.cuh"

namespace cohort::cuda {
namespace {

constexpr int kThreads = 256, kBlocks = 4;       // of them on a multiprocessor
constexpr int kEach = kSamplerPiece / kThreads;  // 16
constexpr int kMaxPieces = 512;                  // a vocabulary of two million
__global__ void __launch_bounds__(kThreads, kBlocks)
    sample_kernel(SamplerParams p, int pieces, int pieces_each) {
  __shared__ float tops[kThreads / 32];
  __shared__ int bests[kThreads / 32];
  __shared__ float warp_sums[kThreads / 32];
  __shared__ double scratch[kThreads / 32];
  __shared__ float sums[kMaxPieces], piece_tops[kMaxPieces];
  __shared__ int piece_bests[kMaxPieces];
  __shared__ int last_block, chosen_piece;
  __shared__ double before_piece, whole;
  __shared__ int chosen;
  dependency_wait();
  dependents_launch();
  const int row_index = blockIdx.y;
  const Row& row = p.rows[row_index];
  if (row.slot < 0 || !row.sample) return;
  const float* logits = p.logits + row_index * p.stride;
  const float inverse_temperature = row.greedy ? 1.0f : row.inverse_temperature;
  const int first = blockIdx.x * pieces_each, end = min(pieces, first + pieces_each);

  float4 next[kEach / 4];
  const auto fetch = [&](int piece) {
#pragma unroll
    for (int v = 0; v < kEach / 4; ++v) {
      const int64_t i = int64_t(piece) * kSamplerPiece + v * kThreads * 4 + threadIdx.x * 4;
      next[v] = i < p.vocab ? __ldcg(reinterpret_cast<const float4*>(logits + i))
                            : float4{kMinusInf, kMinusInf, kMinusInf, kMinusInf};
    }
  };
  fetch(first);
  float top;
  int best;
  for (int piece = first; piece < end; ++piece) {
    float l[kEach];
    top = kMinusInf, best = 0x7fffffff;
#pragma unroll
    for (int v = 0; v < kEach / 4; ++v) {
      const int64_t i = int64_t(piece) * kSamplerPiece + v * kThreads * 4 + threadIdx.x * 4;
      const float e[4] = {next[v].x, next[v].y, next[v].z, next[v].w};
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        l[v * 4 + j] = i + j < p.vocab ? settled(e[j]) : kMinusInf;
        if (l[v * 4 + j] > top) top = l[v * 4 + j], best = int(i) + j;
      }
    }
    if (piece + 1 < end) fetch(piece + 1);  // on its way while this one is added up
#pragma unroll
    for (int o = 16; o > 0; o >>= 1) {
      const float other = __shfl_xor_sync(0xffffffffu, top, o);
      const int id = __shfl_xor_sync(0xffffffffu, best, o);
      if (other > top || (other == top && id < best)) top = other, best = id;
    }
    // Each warp relative to its own maximum, then one thread puts the eight together: one barrier.
    float sum = 0;
#pragma unroll
    for (int j = 0; j < kEach; ++j)
      sum += l[j] == kMinusInf ? 0.0f : __expf(scaled(l[j], top, inverse_temperature));
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0)
      tops[threadIdx.x / 32] = top, bests[threadIdx.x / 32] = best, warp_sums[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
#pragma unroll
      for (int w = 1; w < kThreads / 32; ++w)
        if (tops[w] > top || (tops[w] == top && bests[w] < best)) top = tops[w], best = bests[w];
      float total = 0;
#pragma unroll
      for (int w = 0; w < kThreads / 32; ++w)
        total += tops[w] == top ? warp_sums[w]
                 : tops[w] == kMinusInf || isinf(top)
                     ? 0.0f
                     : warp_sums[w] * __expf((tops[w] - top) * inverse_temperature);
      p.pieces[int64_t(row_index) * pieces + piece] = {top, total, best, 0};
    }
    __syncthreads();  // before the warps' results are overwritten
  }
  if (threadIdx.x == 0) {
    __threadfence();
    last_block = atomicAdd(p.counters + row_index, end - first) == pieces - (end - first);
  }
  __syncthreads();
  if (!last_block) return;
  __threadfence();
  if (threadIdx.x == 0) p.counters[row_index] = 0;
  if (row.truncates(p.vocab)) return;  // the second kernel's

  // The row's maximum, then the pieces' sums relative to it.
  const SamplerPiece* all = p.pieces + int64_t(row_index) * pieces;
  for (int i = threadIdx.x; i < pieces; i += kThreads) {
    const int4 raw = __ldcg(reinterpret_cast<const int4*>(all + i));
    piece_tops[i] = __int_as_float(raw.x), sums[i] = __int_as_float(raw.y), piece_bests[i] = raw.z;
  }
  __syncthreads();
  top = kMinusInf, best = 0x7fffffff;
  for (int i = 0; i < pieces; ++i)
    if (piece_tops[i] > top) top = piece_tops[i], best = piece_bests[i];
  if (top == kMinusInf) {
    if (threadIdx.x == 0) deliver(p, row_index, row, -1, 0);
    return;
  }
  for (int i = threadIdx.x; i < pieces; i += kThreads) {
    const float t = piece_tops[i];
    if (t != top)
      sums[i] = t == kMinusInf || isinf(top) ? 0.0f : sums[i] * __expf((t - top) * inverse_temperature);
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    double mass = 0;
    for (int i = 0; i < pieces; ++i) mass += sums[i];
    whole = mass;
    const double target = row.uniform * mass;
    double before = 0;
    int at = 0, last_nonempty = 0;
    for (; at < pieces; ++at) {
      if (sums[at] > 0) last_nonempty = at;
      if (before + sums[at] > target) break;
      before += sums[at];
    }
    if (at == pieces) at = last_nonempty, before = mass;  // rounding at the very end of the line
    chosen_piece = at, before_piece = before;
    chosen = -1;
  }
  __syncthreads();
  if (row.greedy || row.forced >= 0) {
    if (threadIdx.x == 0) {
      const int32_t token = row.forced >= 0 ? row.forced : best;
      deliver(p, row_index, row, token, float(scaled(logits[token], top, inverse_temperature) - log(whole)));
    }
    return;
  }
  // Walk the piece: 16 neighbouring entries a thread.
  const int64_t begin = int64_t(chosen_piece) * kSamplerPiece + threadIdx.x * kEach;
  float e[kEach];
  double mine = 0;
#pragma unroll
  for (int j = 0; j < kEach; ++j) {
    const float x = begin + j < p.vocab ? scaled(logits[begin + j], top, inverse_temperature) : kMinusInf;
    e[j] = x == kMinusInf ? 0.0f : __expf(x);
    mine += e[j];
  }
  double ignored;
  double before = before_piece + block_prefix<double, kThreads>(mine, scratch, ignored);
  const double target = row.uniform * whole;
  // The first entry whose running sum passes the target; where rounding leaves none, the last that has any mass.
  int crossing = 0x7fffffff, last = -1;
#pragma unroll
  for (int j = 0; j < kEach; ++j) {
    if (e[j] <= 0) continue;
    before += e[j];
    last = int(begin) + j;
    if (before > target && crossing == 0x7fffffff) crossing = last;
  }
  __shared__ int first_crossing;
  if (threadIdx.x == 0) first_crossing = 0x7fffffff;
  __syncthreads();
  if (crossing != 0x7fffffff) atomicMin(&first_crossing, crossing);
  if (last >= 0) atomicMax(&chosen, last);
  __syncthreads();
  if (threadIdx.x == 0) {
    const int32_t token = first_crossing != 0x7fffffff ? first_crossing : chosen;
    deliver(p, row_index, row, token, float(scaled(logits[token], top, inverse_temperature) - log(whole)));
  }
}

}  // namespace

void sample_rows(const SamplerParams& p, cudaStream_t stream, bool early) {
  const auto pieces = unsigned((p.vocab + kSamplerPiece - 1) / kSamplerPiece);
  if (pieces > kMaxPieces || p.stride % 4 != 0 || p.stride < p.vocab)
    call_failed("the vocabulary is too large, or rows of logits do not begin at 16 bytes", "sample_rows",
                __FILE__, __LINE__);
  // Several pieces a block where there are blocks enough; what a piece gives does not depend on it.
  const unsigned each = p.count >= 256 ? 4 : 1;
  launch(sample_kernel, dim3((pieces + each - 1) / each, unsigned(p.count)), kThreads, 0, stream, early, p,
         int(pieces), int(each));
  if (p.truncation) truncate_rows(p, int(pieces), stream, early);
}

}  // namespace cohort::cuda
