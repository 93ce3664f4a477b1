#include <algorithm>
#include <cmath>

#include "kernels/packed_attention.h"

namespace cohort::cuda {
namespace {

double wide(__nv_bfloat16 x) {
  return double(__bfloat162float(x));
}
__nv_bfloat16 narrow(double x) {
  return __float2bfloat16_rn(float(x));
}

// Rows and columns of one head of one call.
struct View {
  const PackedAttentionParams& p;
  int64_t qkv(int row, int head) const {
    return (int64_t(row) * (p.heads + 2 * p.kv_heads) + head) * p.head_dim;
  }
  int64_t query(int row, int head) const { return (int64_t(row) * p.heads + head) * p.head_dim; }
  int64_t key(int row, int kv_head) const { return (int64_t(row) * p.kv_heads + kv_head) * p.head_dim; }
  double product(const __nv_bfloat16* a, const __nv_bfloat16* b) const {
    double sum = 0;
    for (int i = 0; i < p.head_dim; ++i) sum += wide(a[i]) * wide(b[i]);
    return sum;
  }
  // softmax(scale · q · k) of the query's keys; and the logarithm of its sum, to base 2
  std::vector<double> weights(const PackedTile& tile, int token, int head, double* log_sum) const {
    const int kv = p.heads + head / (p.heads / p.kv_heads);
    std::vector<double> s(size_t(token) + 1);
    for (int t = 0; t <= token; ++t)
      s[size_t(t)] =
          double(p.scale) * product(p.qkv + qkv(tile.begin + token, head), p.qkv + qkv(tile.begin + t, kv));
    const double top = *std::max_element(s.begin(), s.end());
    double sum = 0;
    for (double x : s) sum += std::exp(x - top);
    for (double& x : s) x = std::exp(x - top) / sum;
    if (log_sum) *log_sum = (top + std::log(sum)) / std::log(2.0);
    return s;
  }
};

}  // namespace

std::vector<PackedTile> packed_tiles(const std::vector<int64_t>& cu_seqlens) {
  std::vector<PackedTile> tiles;
  for (size_t i = 1; i < cu_seqlens.size(); ++i) {
    const auto begin = int32_t(cu_seqlens[i - 1]), length = int32_t(cu_seqlens[i] - cu_seqlens[i - 1]);
    for (int32_t first = 0; first < length; first += kPackedTile)
      tiles.push_back({begin, length, first, int32_t(tiles.size())});
  }
  std::vector<PackedTile> by_queries = tiles;
  std::stable_sort(tiles.begin(), tiles.end(), [](const PackedTile& a, const PackedTile& b) {
    return std::min(a.first + kPackedTile, a.length) > std::min(b.first + kPackedTile, b.length);
  });
  std::stable_sort(by_queries.begin(), by_queries.end(), [](const PackedTile& a, const PackedTile& b) {
    return a.length - a.first > b.length - b.first;
  });
  tiles.insert(tiles.end(), by_queries.begin(), by_queries.end());
  return tiles;
}

void packed_attention_reference(const PackedAttentionParams& p) {
  const View view{p};
  for (int i = 0; i < p.count; ++i)
    for (int head = 0; head < p.heads; ++head)
      for (int r = 0; r < kPackedTile; ++r) {
        const PackedTile& tile = p.tiles[i];
        float& log_sum = p.log_sums[(int64_t(head) * p.count + tile.index) * kPackedTile + r];
        const int token = tile.first + r;
        if (token >= tile.length) {
          log_sum = INFINITY;
          continue;
        }
        double exact = 0;
        const auto weights = view.weights(tile, token, head, &exact);
        log_sum = float(exact);
        const int kv = p.heads + p.kv_heads + head / (p.heads / p.kv_heads);
        for (int d = 0; d < p.head_dim; ++d) {
          double sum = 0;
          for (int t = 0; t <= token; ++t)
            sum += weights[size_t(t)] * wide(p.qkv[view.qkv(tile.begin + t, kv) + d]);
          p.out[view.query(tile.begin + token, head) + d] = narrow(sum);
        }
      }
}

void packed_attention_grad_reference(const PackedAttentionGradParams& g) {
  const PackedAttentionParams& p = g.forward;
  const View view{p};
  const int group = p.heads / p.kv_heads;
  const size_t keys = size_t(p.rows) * size_t(p.kv_heads * p.head_dim);
  std::vector<double> dk(keys), dv(keys);
  for (int i = 0; i < p.count; ++i)
    for (int head = 0; head < p.heads; ++head)
      for (int r = 0; r < kPackedTile; ++r) {
        const PackedTile& tile = p.tiles[i];
        const int token = tile.first + r, kv_head = head / group;
        if (token >= tile.length) continue;
        const auto weights = view.weights(tile, token, head, nullptr);
        const __nv_bfloat16* d_out = g.d_out + view.query(tile.begin + token, head);
        const __nv_bfloat16* query = p.qkv + view.qkv(tile.begin + token, head);
        std::vector<double> dp(weights.size()), dq(size_t(p.head_dim));
        double mean = 0;
        for (int t = 0; t <= token; ++t) {
          dp[size_t(t)] =
              view.product(d_out, p.qkv + view.qkv(tile.begin + t, p.heads + p.kv_heads + kv_head));
          mean += weights[size_t(t)] * dp[size_t(t)];
        }
        for (int t = 0; t <= token; ++t) {
          const double ds = double(p.scale) * weights[size_t(t)] * (dp[size_t(t)] - mean);
          const __nv_bfloat16* key = p.qkv + view.qkv(tile.begin + t, p.heads + kv_head);
          const int64_t at = view.key(tile.begin + t, kv_head);
          for (int d = 0; d < p.head_dim; ++d) {
            dq[size_t(d)] += ds * wide(key[d]);
            dk[size_t(at + d)] += ds * wide(query[d]);
            dv[size_t(at + d)] += weights[size_t(t)] * wide(d_out[d]);
          }
        }
        for (int d = 0; d < p.head_dim; ++d)
          g.dq[view.query(tile.begin + token, head) + d] = narrow(dq[size_t(d)]);
      }
  for (size_t i = 0; i < keys; ++i) g.dk[i] = narrow(dk[i]), g.dv[i] = narrow(dv[i]);
}

}  // namespace cohort::cuda
