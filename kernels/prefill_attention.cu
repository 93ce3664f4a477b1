// FlashAttention-2's loop on mma instructions: 64 query rows (16 a warp) against 64 keys at a time, two key-value tiles in
// flight. Query rows are tokens times the heads of one kv head, so that keys and values are read once for the group.
#include "kernels/device.cuh"
#include "kernels/prefill_attention.h"

namespace cohort::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kKeys = 64;

template <int kDim>
constexpr int shared_bytes() {
  return (kPrefillTileRows + 2 * 2 * kKeys) * kDim * 2;
}

template <int kDim>
__global__ void __launch_bounds__(kWarps * 32) prefill_attention_kernel(PrefillAttentionParams p) {
  constexpr int kChunks = kDim / 8, kSteps = kDim / 16, kTile = kKeys * kDim * 2;
  extern __shared__ __align__(128) unsigned char shared[];
  unsigned char* query = shared;
  unsigned char* ring = shared + kPrefillTileRows * kDim * 2;  // [2][keys, values][kKeys][kDim]
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, kv_head = blockIdx.y;
  const int group = p.heads / p.kv.kv_heads;
  dependency_wait();
  dependents_launch();
  const PrefillTile tile = p.tiles[blockIdx.x];
  const int rows = tile.tokens * group;
  const int last_token = min(tile.first + kPrefillTileRows, rows) - 1;
  const int keys_end = tile.past + last_token / group + 1;
  const int blocks = (keys_end + kKeys - 1) / kKeys;
  const int32_t* table = p.kv.table + tile.slot * p.kv.table_stride;

  auto element = [&](int r) {  // where the tile's row r starts in q and out
    return (int64_t(tile.first_row + (tile.first + r) / group) * p.heads + kv_head * group +
            (tile.first + r) % group) *
           kDim;
  };
  auto fetch = [&](int block) {
    unsigned char* to = ring + (block & 1) * 2 * kTile;
    for (int c = threadIdx.x; c < kKeys * kChunks; c += kWarps * 32) {
      const int t = c / kChunks, token = block * kKeys + t;
      const bool valid = token < keys_end;
      const int32_t page = valid ? table[token / kPageTokens] : 0;
      const int64_t at = token % kPageTokens * kDim + c % kChunks * 8;
      copy_16(shared_address(to + swizzled<kChunks>(t, c % kChunks)), p.kv.head(page, 0, kv_head) + at,
              valid);
      copy_16(shared_address(to + kTile + swizzled<kChunks>(t, c % kChunks)),
              p.kv.head(page, 1, kv_head) + at, valid);
    }
  };
  for (int c = threadIdx.x; c < kPrefillTileRows * kChunks; c += kWarps * 32) {
    const int r = c / kChunks;
    const bool valid = tile.first + r < rows;
    copy_16(shared_address(query + swizzled<kChunks>(r, c % kChunks)),
            p.q + (valid ? element(r) + c % kChunks * 8 : 0), valid);
  }
  fetch(0);
  copy_commit();

  constexpr float kLog2e = 1.4426950408889634f;
  const float scale = p.scale * kLog2e;
  uint32_t q[kSteps][4];
  float top[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};
  float out[kDim / 8][4] = {};
  int limit[2];  // keys that this thread's two rows see
#pragma unroll
  for (int r = 0; r < 2; ++r) limit[r] = tile.past + (tile.first + warp * 16 + lane / 4 + 8 * r) / group + 1;

  for (int block = 0; block < blocks; ++block) {
    if (block + 1 < blocks) fetch(block + 1);
    copy_commit();
    copy_wait<1>();
    __syncthreads();
    if (block == 0) {
#pragma unroll
      for (int k = 0; k < kSteps; ++k)
        load_matrix_4(shared_address(query + swizzled<kChunks>(warp * 16 + lane % 16, 2 * k + lane / 16)),
                      q[k]);
    }
    unsigned char* keys = ring + (block & 1) * 2 * kTile;
    unsigned char* values = keys + kTile;
    float s[kKeys / 8][4] = {};
#pragma unroll
    for (int k = 0; k < kSteps; ++k)
#pragma unroll
      for (int n = 0; n < kKeys / 8; n += 2) {
        uint32_t b[4];
        load_matrix_4(shared_address(keys + swizzled<kChunks>(n * 8 + (lane / 16) * 8 + lane % 8,
                                                              2 * k + (lane / 8) % 2)),
                      b);
        multiply(s[n], q[k], b[0], b[1]);
        multiply(s[n + 1], q[k], b[2], b[3]);
      }
    float best[2] = {top[0], top[1]};
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int token = block * kKeys + n * 8 + (lane % 4) * 2 + (j & 1);
        s[n][j] = token < limit[j >> 1] ? s[n][j] * scale : -INFINITY;
        best[j >> 1] = fmaxf(best[j >> 1], s[n][j]);
      }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      best[r] = fmaxf(best[r], __shfl_xor_sync(0xffffffffu, best[r], 1));
      best[r] = fmaxf(best[r], __shfl_xor_sync(0xffffffffu, best[r], 2));
      // key 0 is seen by every row, so best is finite from the first block on
      const float shrink = exp2f(top[r] - best[r]);
      total[r] *= shrink, top[r] = best[r];
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) out[n][2 * r] *= shrink, out[n][2 * r + 1] *= shrink;
    }
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        s[n][j] = exp2f(s[n][j] - top[j >> 1]);
        total[j >> 1] += s[n][j];
      }
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      const uint32_t weights[4] = {pack(s[2 * k][0], s[2 * k][1]), pack(s[2 * k][2], s[2 * k][3]),
                                   pack(s[2 * k + 1][0], s[2 * k + 1][1]),
                                   pack(s[2 * k + 1][2], s[2 * k + 1][3])};
#pragma unroll
      for (int n = 0; n < kDim / 8; n += 2) {
        uint32_t b[4];
        load_matrix_4_transposed(
            shared_address(values + swizzled<kChunks>(k * 16 + (lane / 8) % 2 * 8 + lane % 8, n + lane / 16)),
            b);
        multiply(out[n], weights, b[0], b[1]);
        multiply(out[n + 1], weights, b[2], b[3]);
      }
    }
    __syncthreads();  // before the tile's place is filled again
  }
  copy_wait<0>();
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    total[r] += __shfl_xor_sync(0xffffffffu, total[r], 1);
    total[r] += __shfl_xor_sync(0xffffffffu, total[r], 2);
    const int m = warp * 16 + lane / 4 + 8 * r;
    if (tile.first + m >= rows) continue;
    bf16* to = p.out + element(m);
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n)
      *reinterpret_cast<uint32_t*>(to + n * 8 + (lane % 4) * 2) =
          pack(out[n][2 * r] / total[r], out[n][2 * r + 1] / total[r]);
  }
}

template <int kDim>
void run(const PrefillAttentionParams& p, cudaStream_t stream, bool early) {
  constexpr int bytes = shared_bytes<kDim>();
  static const bool raised = [] {
    CUDA_CHECK(cudaFuncSetAttribute(prefill_attention_kernel<kDim>,
                                    cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
    return true;
  }();
  (void)raised;
  launch(prefill_attention_kernel<kDim>, dim3(unsigned(p.count), unsigned(p.kv.kv_heads)), kWarps * 32, bytes,
         stream, early, p);
}

}  // namespace

void prefill_attention(const PrefillAttentionParams& p, cudaStream_t stream, bool early) {
  if (p.count == 0) return;
  switch (p.kv.head_dim) {
    case 32:
      return run<32>(p, stream, early);
    case 64:
      return run<64>(p, stream, early);
    case 128:
      return run<128>(p, stream, early);
    default:
      call_failed("head_dim must be 32, 64 or 128", "prefill_attention", __FILE__, __LINE__);
  }
}

}  // namespace cohort::cuda
