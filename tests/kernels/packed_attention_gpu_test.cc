// Attention of packed sequences, forward and backward, against the CPU reference: odd lengths, groups of every size, few and
// many blocks, so that a block has one work or several and a kv head's queries are in one part or several.
#include "kernels/packed_attention.h"

#include <array>
#include <numeric>
#include <optional>

#include "tests/kernels/gpu.h"

namespace cohort::cuda {
namespace {

using bf16 = __nv_bfloat16;
constexpr double kBf16 = 4e-3;  // a rounding to bf16 here and there

TEST(PackedTiles, LongestWorkFirstForQueriesAndForKeys) {
  const auto tiles = packed_tiles({0, 300, 300, 310});
  std::vector<std::vector<int>> got;
  for (const PackedTile& t : tiles) got.push_back({t.begin, t.length, t.first, t.index});
  EXPECT_EQ(got, (std::vector<std::vector<int>>{{0, 300, 256, 2},
                                                {0, 300, 128, 1},
                                                {0, 300, 0, 0},
                                                {300, 10, 0, 3},
                                                {0, 300, 0, 0},
                                                {0, 300, 128, 1},
                                                {0, 300, 256, 2},
                                                {300, 10, 0, 3}}));
}

struct Call {
  Call(std::mt19937& rng, int heads, int kv_heads, int d, const std::vector<int64_t>& lengths)
      : cu(lengths.size() + 1),
        rows(int(std::accumulate(lengths.begin(), lengths.end(), int64_t{0}))),
        heads(heads),
        kv_heads(kv_heads),
        d(d),
        qkv(size_t(rows) * size_t((heads + 2 * kv_heads) * d)),
        out(size_t(rows) * size_t(heads * d), bf(7)),
        d_out(out.host.size()),
        dq(out.host.size(), bf(7)),
        dk(size_t(rows) * size_t(kv_heads * d), bf(7)),
        dv(dk.host.size(), bf(7)) {
    std::partial_sum(lengths.begin(), lengths.end(), cu.begin() + 1);
    tiles.host = packed_tiles(cu);
    fill(qkv.host, rng, 1.5), fill(d_out.host, rng);
  }
  PackedAttentionParams shape(int multiprocessors) const {
    PackedAttentionParams p;
    p.count = int(tiles.host.size()) / 2, p.rows = rows, p.heads = heads, p.kv_heads = kv_heads,
    p.head_dim = d;
    p.scale = 1 / std::sqrt(float(d)), p.multiprocessors = multiprocessors;
    return p;
  }
  // out, d_q, d_k, d_v; the log sums stay in `sums`.
  std::array<std::vector<bf16>, 4> run(int multiprocessors) {
    PackedAttentionGradParams g;
    PackedAttentionParams& p = g.forward = shape(multiprocessors);
    sums.emplace(size_t(heads * p.count * kPackedTile), NAN);
    Both<float> scratch(size_t(packed_attention_grad_scratch(p)), NAN);
    p.tiles = tiles.up(), p.qkv = qkv.up(), p.out = out.up(), p.log_sums = sums->up();
    packed_attention(p, nullptr);
    g.d_out = d_out.up(), g.scratch = scratch.up();
    g.dq = dq.up(), g.dk = dk.up(), g.dv = dv.up();
    packed_attention_grad(g, nullptr);
    return {out.down(), dq.down(), dk.down(), dv.down()};
  }
  std::vector<int64_t> cu;
  int rows, heads, kv_heads, d;
  std::optional<Both<float>> sums;
  Both<PackedTile> tiles{512};
  Both<bf16> qkv, out, d_out, dq, dk, dv;
};

TEST(GpuPackedAttention, ForwardAndBackward) {
  NEEDS_GPU();
  std::mt19937 rng(6);
  for (const auto& [heads, kv_heads, d] :
       {std::tuple{14, 2, 64}, {12, 2, 128}, {9, 3, 64}, {4, 4, 128}, {5, 1, 64}, {3, 3, 64}}) {
    Call call(rng, heads, kv_heads, d, {1, 2, 63, 64, 65, 0, 127, 128, 129, 300, 17, 257});
    PackedAttentionParams want = call.shape(1);
    const auto statistics = size_t(heads * want.count * kPackedTile);
    std::vector<bf16> out(call.out.host), dq(call.dq.host), dk(call.dk.host), dv(call.dv.host);
    std::vector<float> log_sums(statistics, NAN);
    want.tiles = call.tiles.host.data(), want.qkv = call.qkv.host.data(), want.out = out.data(),
    want.log_sums = log_sums.data();
    packed_attention_reference(want);
    PackedAttentionGradParams want_grad;
    want_grad.forward = want, want_grad.d_out = call.d_out.host.data();
    want_grad.dq = dq.data(), want_grad.dk = dk.data(), want_grad.dv = dv.data();
    packed_attention_grad_reference(want_grad);
    for (int multiprocessors : {1, 5, 132}) {
      const std::string of = testing::PrintToString(std::tuple(heads, kv_heads, d, multiprocessors));
      const auto first = call.run(multiprocessors);
      const auto got_sums = call.sums->down();
      EXPECT_LT(distance(first[0], out), kBf16) << of;
      double difference = 0;
      for (size_t i = 0; i < statistics; ++i) {
        ASSERT_EQ(std::isinf(got_sums[i]), std::isinf(log_sums[i])) << of << " " << i;
        if (!std::isinf(log_sums[i]))
          difference = std::max(difference, double(std::abs(got_sums[i] - log_sums[i])));
      }
      EXPECT_LT(difference, 1e-3) << of;
      EXPECT_LT(distance(first[1], dq), 2 * kBf16) << of;
      EXPECT_LT(distance(first[2], dk), 2 * kBf16) << of;
      EXPECT_LT(distance(first[3], dv), 2 * kBf16) << of;
      const auto second = call.run(multiprocessors);
      for (size_t i = 0; i < 4; ++i) EXPECT_EQ(distance(second[i], first[i]), 0) << of << " " << i;
    }
  }
}

// A row's result may not depend on what lies behind its sequence: there is the next one.
TEST(GpuPackedAttention, SequencesDoNotMeet) {
  NEEDS_GPU();
  std::mt19937 rng(7);
  Call call(rng, 6, 2, 64, {100, 150, 60});
  const auto before = call.run(132);
  const size_t wide = 10 * 64, out = 6 * 64;
  for (size_t r = 0; r < 310; ++r)
    if (r < 100 || r >= 250) {  // all but the middle sequence
      for (size_t i = 0; i < wide; ++i) call.qkv.host[r * wide + i] = bf(9 - float(i % 19));
      for (size_t i = 0; i < out; ++i) call.d_out.host[r * out + i] = bf(100);
    }
  const auto after = call.run(132);
  for (size_t what = 0; what < before.size(); ++what) {
    const size_t width = before[what].size() / 310;
    for (size_t i = 100 * width; i < 250 * width; ++i)
      ASSERT_EQ(number(before[what][i]), number(after[what][i])) << what << " " << i;
    EXPECT_GT(distance(after[what], before[what]), 0.1);
  }
}

}  // namespace
}  // namespace cohort::cuda
