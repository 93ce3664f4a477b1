// Attention of packed sequences, forward and backward, against the CPU reference: odd lengths, groups of every size, few and
// many blocks, so that a block has one work or several and a kv head's queries are in one part or several.
#include "kernels/packed_attention.h"

#include <numeric>

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
  std::vector<int64_t> cu;
  int rows, heads, kv_heads, d;
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
      PackedAttentionParams p = call.shape(multiprocessors);
      Both<float> sums(statistics, NAN), scratch(size_t(packed_attention_grad_scratch(p)), NAN);
      p.tiles = call.tiles.up(), p.qkv = call.qkv.up(), p.out = call.out.up(), p.log_sums = sums.up();
      packed_attention(p, nullptr);
      EXPECT_LT(distance(call.out.down(), out), kBf16) << of;
      const auto got_sums = sums.down();
      double difference = 0;
      for (size_t i = 0; i < statistics; ++i) {
        ASSERT_EQ(std::isinf(got_sums[i]), std::isinf(log_sums[i])) << of << " " << i;
        if (!std::isinf(log_sums[i]))
          difference = std::max(difference, double(std::abs(got_sums[i] - log_sums[i])));
      }
      EXPECT_LT(difference, 1e-3) << of;
      PackedAttentionGradParams g;
      g.forward = p, g.d_out = call.d_out.up(), g.scratch = scratch.up();
      g.dq = call.dq.up(), g.dk = call.dk.up(), g.dv = call.dv.up();
      packed_attention_grad(g, nullptr);
      const auto first_q = call.dq.down(), first_k = call.dk.down(), first_v = call.dv.down();
      EXPECT_LT(distance(first_q, dq), 2 * kBf16) << of;
      EXPECT_LT(distance(first_k, dk), 2 * kBf16) << of;
      EXPECT_LT(distance(first_v, dv), 2 * kBf16) << of;
      packed_attention(p, nullptr);
      packed_attention_grad(g, nullptr);
      EXPECT_EQ(distance(call.dq.down(), first_q), 0) << of;
      EXPECT_EQ(distance(call.dk.down(), first_k), 0) << of;
      EXPECT_EQ(distance(call.dv.down(), first_v), 0) << of;
    }
  }
}

// A row's result may not depend on what lies behind its sequence: there is the next one.
TEST(GpuPackedAttention, SequencesDoNotMeet) {
  NEEDS_GPU();
  std::mt19937 rng(7);
  Call call(rng, 6, 2, 64, {100, 150, 60});
  const auto run = [&] {
    PackedAttentionParams p = call.shape(132);
    Both<float> sums(size_t(p.heads * p.count * kPackedTile), NAN),
        scratch(size_t(packed_attention_grad_scratch(p)), NAN);
    p.tiles = call.tiles.up(), p.qkv = call.qkv.up(), p.out = call.out.up(), p.log_sums = sums.up();
    packed_attention(p, nullptr);
    PackedAttentionGradParams g;
    g.forward = p, g.d_out = call.d_out.up(), g.scratch = scratch.up();
    g.dq = call.dq.up(), g.dk = call.dk.up(), g.dv = call.dv.up();
    packed_attention_grad(g, nullptr);
    return std::array{call.out.down(), call.dq.down(), call.dk.down(), call.dv.down()};
  };
  const auto before = run();
  const size_t wide = 10 * 64, out = 6 * 64;
  for (size_t r = 0; r < 310; ++r)
    if (r < 100 || r >= 250) {  // all but the middle sequence
      for (size_t i = 0; i < wide; ++i) call.qkv.host[r * wide + i] = bf(9 - float(i % 19));
      for (size_t i = 0; i < out; ++i) call.d_out.host[r * out + i] = bf(100);
    }
  const auto after = run();
  for (size_t what = 0; what < before.size(); ++what) {
    const size_t width = before[what].size() / 310;
    for (size_t i = 100 * width; i < 250 * width; ++i)
      ASSERT_EQ(number(before[what][i]), number(after[what][i])) << what << " " << i;
    EXPECT_GT(distance(after[what], before[what]), 0.1);
  }
}

}  // namespace
}  // namespace cohort::cuda
