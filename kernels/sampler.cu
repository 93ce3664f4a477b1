#include "kernels/sampler_parts.cuh"

namespace cohort::cuda {
namespace {

constexpr int kThreads = 256, kBlocks = 4;  // of them on a multiprocessor
constexpr int kEach = kSamplerPiece / 32;   // of a lane

// A warp a piece, and the next ones.
__global__ void __launch_bounds__(kThreads, kBlocks)
    pieces_kernel(SamplerParams p, int pieces, int pieces_each) {
  dependency_wait();
  dependents_launch();
  const int row_index = blockIdx.y, lane = threadIdx.x % 32;
  const Row& row = p.rows[row_index];
  if (row.slot < 0 || !row.sample) return;
  const float* logits = p.logits + row_index * p.stride;
  const float inverse_temperature = row.greedy ? 1.0f : row.inverse_temperature;
  const int first = (int(blockIdx.x) * (kThreads / 32) + int(threadIdx.x) / 32) * pieces_each,
            end = min(pieces, first + pieces_each);
  const auto id = [&](int piece, int v) { return int64_t(piece) * kSamplerPiece + v * 128 + lane * 4; };

  float4 next[kEach / 4];
  const auto fetch = [&](int piece) {
#pragma unroll
    for (int v = 0; v < kEach / 4; ++v)
      next[v] = id(piece, v) < p.vocab ? __ldcg(reinterpret_cast<const float4*>(logits + id(piece, v)))
                                       : float4{kMinusInf, kMinusInf, kMinusInf, kMinusInf};
  };
  if (first < end) fetch(first);
  for (int piece = first; piece < end; ++piece) {
    float l[kEach], top = kMinusInf;
    int best = 0x7fffffff;
#pragma unroll
    for (int v = 0; v < kEach / 4; ++v) {
      const float e[4] = {next[v].x, next[v].y, next[v].z, next[v].w};
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int64_t i = id(piece, v) + j;
        l[v * 4 + j] = i < p.vocab ? settled(e[j]) : kMinusInf;
        if (l[v * 4 + j] > top) top = l[v * 4 + j], best = int(i);
      }
    }
    if (piece + 1 < end) fetch(piece + 1);  // on its way while this one is added up
#pragma unroll
    for (int o = 16; o > 0; o >>= 1) {
      const float other = __shfl_xor_sync(0xffffffffu, top, o);
      const int at = __shfl_xor_sync(0xffffffffu, best, o);
      if (other > top || (other == top && at < best)) top = other, best = at;
    }
    float sum = 0;
#pragma unroll
    for (int j = 0; j < kEach; ++j)
      sum += l[j] == kMinusInf ? 0.0f : __expf(scaled(l[j], top, inverse_temperature));
    sum = warp_sum(sum);
    if (lane == 0) p.pieces[int64_t(row_index) * pieces + piece] = {top, sum, best, 0};
  }
}

constexpr int kChoose = 512;
constexpr int kKept = 5;           // pieces a thread has in registers: all of its own with 2,560 or fewer
constexpr int kMostEntries = 256;  // of a piece that is computed again

// The logits of `count` ids from `first` on, by warps, several of them at once.
__device__ __forceinline__ void compute_logits(const LogitProduct& p, int row, int64_t first, int count,
                                               float scale, float* to) {
  constexpr int kAtOnce = 4;  // a piece of 64 keeps all warps busy
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, vectors = p.width / 8;
  const uint4* x = reinterpret_cast<const uint4*>(p.x) + int64_t(row) * vectors;
  for (int begin = warp * kAtOnce; begin < count; begin += kChoose / 32 * kAtOnce) {
    float sums[kAtOnce] = {};
#pragma unroll 1
    for (int v = lane; v < vectors; v += 32) {
      uint4 w[kAtOnce];
#pragma unroll
      for (int u = 0; u < kAtOnce; ++u)
        w[u] = reinterpret_cast<const uint4*>(p.w)[(first + min(begin + u, count - 1)) * vectors + v];
      const uint4 mine = x[v];
      const bf16* a = reinterpret_cast<const bf16*>(&mine);
#pragma unroll
      for (int u = 0; u < kAtOnce; ++u) {
        const bf16* b = reinterpret_cast<const bf16*>(&w[u]);
#pragma unroll
        for (int j = 0; j < 8; ++j) sums[u] += __bfloat162float(a[j]) * __bfloat162float(b[j]);
      }
    }
#pragma unroll
    for (int u = 0; u < kAtOnce; ++u) {
      const float sum = warp_sum(sums[u]);
      if (lane == 0 && begin + u < count) to[begin + u] = sum * scale;
    }
  }
}

// One block a row: from its pieces to the token. Each thread adds up neighbouring pieces.
__global__ void __launch_bounds__(kChoose, 2) choose_kernel(SamplerParams p, int pieces) {
  __shared__ float tops[kChoose / 32];
  __shared__ int bests[kChoose / 32];
  __shared__ double scratch[kChoose / 32];
  __shared__ int first_thread, last_thread, chosen_piece, first_crossing, last_nonempty;
  __shared__ double before_piece;
  __shared__ float
      masses[kChoose];  // of the pieces of one thread, at most 2^21 / 64 / kChoose; first parts of squares
  __shared__ float computed[kMostEntries];
  dependency_wait();
  dependents_launch();
  const int row_index = blockIdx.x;
  const Row& row = p.rows[row_index];
  if (row.slot < 0 || !row.sample || row.truncates(p.vocab)) return;  // the last: the second kernel's
  const float inverse_temperature = row.greedy ? 1.0f : row.inverse_temperature;
  const SamplerPiece* all = p.pieces + int64_t(row_index) * pieces;
  const auto piece_at = [&](int i) {
    const int4 raw = __ldcg(reinterpret_cast<const int4*>(all + i));
    return SamplerPiece{__int_as_float(raw.x), __int_as_float(raw.y), raw.z, 0};
  };

  float top = kMinusInf;
  int best = 0x7fffffff;
  const auto take = [&](float t, int b) {
    if (t > top || (t == top && b < best)) top = t, best = b;
  };
  const int each = (pieces + kChoose - 1) / kChoose, begin = threadIdx.x * each,
            end = min(pieces, begin + each);
  SamplerPiece kept[kKept];
#pragma unroll
  for (int i = 0; i < kKept; ++i)
    kept[i] = begin + i < end ? piece_at(begin + i) : SamplerPiece{kMinusInf, 0, 0, 0};
#pragma unroll
  for (int i = 0; i < kKept; ++i) take(kept[i].top, kept[i].best);
  for (int i = begin + kKept; i < end; ++i) {
    const SamplerPiece one = piece_at(i);
    take(one.top, one.best);
  }
#pragma unroll
  for (int o = 16; o > 0; o >>= 1) {
    const float other = __shfl_xor_sync(0xffffffffu, top, o);
    take(other, __shfl_xor_sync(0xffffffffu, best, o));
  }
  if (threadIdx.x % 32 == 0) tops[threadIdx.x / 32] = top, bests[threadIdx.x / 32] = best;
  if (threadIdx.x == 0) first_thread = first_crossing = 0x7fffffff, last_thread = last_nonempty = -1;
  const RowScale& squares = p.product.scale;
  const int parts = p.logits || !squares.squares ? 0 : squares.parts;
  for (int i = threadIdx.x; i < parts; i += kChoose)
    masses[i] = __ldcg(squares.squares + int64_t(i) * squares.rows + row_index);
  __syncthreads();
#pragma unroll
  for (int w = 0; w < kChoose / 32; ++w) take(tops[w], bests[w]);
  if (top == kMinusInf) {
    if (threadIdx.x == 0) deliver(p, row_index, row, -1, 0);
    return;
  }
  float scale = 0;  // as row_scale()
  for (int i = 0; i < parts; ++i) scale += masses[i];
  scale = parts > 0 ? rsqrtf(scale / float(squares.width) + squares.eps) : 1.0f;

  // The thread whose pieces hold the point, then the piece.
  const auto mass_of = [&](const SamplerPiece& one) {  // relative to the row's maximum
    if (one.top == top) return one.sum;
    return one.top == kMinusInf || isinf(top) ? 0.0f
                                              : one.sum * __expf((one.top - top) * inverse_temperature);
  };
  double mine = 0;
#pragma unroll
  for (int i = 0; i < kKept; ++i) mine += mass_of(kept[i]);
  for (int i = begin + kKept; i < end; ++i) mine += mass_of(piece_at(i));
  double whole;
  const double before = block_prefix<double, kChoose>(mine, scratch, whole);
  if (row.greedy && row.forced < 0) {
    if (threadIdx.x == 0) deliver(p, row_index, row, best, float(-log(whole)));
    return;
  }
  const double target = row.uniform * whole;
  if (row.forced >= 0) {
    if (threadIdx.x == 0) chosen_piece = row.forced / p.piece;
  } else {
    if (mine > 0) {
      if (before + mine > target) atomicMin(&first_thread, int(threadIdx.x));
      atomicMax(&last_thread, int(threadIdx.x));
    }
    __syncthreads();
    // where rounding at the very end leaves none, the last
    const int holder = first_thread != 0x7fffffff ? first_thread : last_thread;
    if (int(threadIdx.x) == holder) before_piece = before;
    if (int(threadIdx.x) < each)
      masses[threadIdx.x] = holder * each + int(threadIdx.x) < pieces
                                ? mass_of(piece_at(holder * each + int(threadIdx.x)))
                                : 0.0f;
    __syncthreads();
    if (threadIdx.x == 0) {
      double running = before_piece, at = running;
      for (int i = 0; i < each; ++i) {
        if (masses[i] <= 0) continue;
        chosen_piece = holder * each + i, at = running;
        running += masses[i];
        if (running > target) break;
      }
      before_piece = at;
    }
  }
  __syncthreads();
  const int64_t first = int64_t(chosen_piece) * p.piece;
  const auto count = int(min(int64_t(p.piece), p.vocab - first));
  const float* logits = computed;
  if (p.logits) {
    logits = p.logits + row_index * p.stride + first;
  } else {
    compute_logits(p.product, row_index, first, count, scale, computed);
    __syncthreads();
  }
  const auto logprob_of = [&](int i) {
    return float(scaled(logits[i], top, inverse_temperature) - log(whole));
  };
  if (row.forced >= 0) {
    if (threadIdx.x == 0) deliver(p, row_index, row, row.forced, logprob_of(int(row.forced - first)));
    return;
  }
  // Walk it, neighbouring entries a thread. The first entry whose running sum passes the target; where rounding leaves none,
  // the last that has any mass.
  const int run = (p.piece + kChoose - 1) / kChoose, from = int(threadIdx.x) * run,
            to = min(from + run, count);
  const auto weight_of = [&](int i) {
    const float x = scaled(logits[i], top, inverse_temperature);
    return x == kMinusInf ? 0.0f : __expf(x);
  };
  mine = 0;
  for (int i = from; i < to; ++i) mine += weight_of(i);
  double ignored;
  double running = before_piece + block_prefix<double, kChoose>(mine, scratch, ignored);
  int crossing = 0x7fffffff, last = -1;
  for (int i = from; i < to; ++i) {
    const float e = weight_of(i);
    if (e <= 0) continue;
    running += e;
    last = i;
    if (running > target && crossing == 0x7fffffff) crossing = last;
  }
  if (crossing != 0x7fffffff) atomicMin(&first_crossing, crossing);
  if (last >= 0) atomicMax(&last_nonempty, last);
  __syncthreads();
  if (threadIdx.x == 0) {
    const int chosen = first_crossing != 0x7fffffff ? first_crossing : last_nonempty;
    deliver(p, row_index, row, int32_t(first) + chosen, logprob_of(chosen));
  }
}

int pieces_of(const SamplerParams& p) {
  if (p.piece % 64 != 0 || p.piece < 64 || p.piece > kSamplerPiece || p.vocab > 2 << 20 ||
      (p.logits ? p.stride % 4 != 0 || p.stride < p.vocab : p.truncation || p.piece > kMostEntries))
    call_failed("the vocabulary is too large, or rows of logits do not begin at 16 bytes", "sample_rows",
                __FILE__, __LINE__);
  if (p.product.scale.parts > kChoose)
    call_failed("rows of logits over more parts of squares than fit", "sample_rows", __FILE__, __LINE__);
  return int((p.vocab + p.piece - 1) / p.piece);
}

}  // namespace

void sampler_pieces(const SamplerParams& p, cudaStream_t stream, bool early) {
  const auto pieces = unsigned(pieces_of(p));
  if (p.piece != kSamplerPiece) call_failed("another size of pieces", "sampler_pieces", __FILE__, __LINE__);
  // Several pieces a warp where there are blocks enough; what a piece gives does not depend on it.
  const unsigned each = p.count >= 256 ? 4 : 1, block = each * (kThreads / 32);
  launch(pieces_kernel, dim3((pieces + block - 1) / block, unsigned(p.count)), kThreads, 0, stream, early, p,
         int(pieces), int(each));
}

void sample_rows(const SamplerParams& p, cudaStream_t stream, bool early) {
  const int pieces = pieces_of(p);
  launch(choose_kernel, unsigned(p.count), kChoose, 0, stream, early, p, pieces);
  if (p.truncation) truncate_rows(p, pieces, stream, early);
}

}  // namespace cohort::cuda
