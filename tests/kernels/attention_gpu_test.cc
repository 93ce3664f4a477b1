// Attention over pages, and the rotation and write before it, against their CPU references: odd lengths, scattered pages,
// everything not written NaN.
#include <algorithm>
#include <numeric>

#include "kernels/decode_attention.h"
#include "kernels/prefill_attention.h"
#include "kernels/rope.h"
#include "tests/kernels/gpu.h"

namespace cohort::cuda {
namespace {

using bf16 = __nv_bfloat16;
constexpr double kBf16 = 4e-3;  // a rounding to bf16 here and there
const bf16 kPoison = __float2bfloat16_rn(NAN);

// A cache with sequences of given lengths in scattered pages; everything not written is NaN.
struct Cache {
  Cache(std::mt19937& rng, int kv_heads, int d, const std::vector<int>& lengths, int most)
      : stride(most / kPageTokens + 1),
        kv_heads(kv_heads),
        d(d),
        pages(lengths.size() * size_t(stride) * size_t(2 * kv_heads * kPageTokens * d), kPoison),
        table(lengths.size() * size_t(stride)) {
    std::iota(table.host.begin(), table.host.end(), 0);
    std::shuffle(table.host.begin(), table.host.end(), rng);
    std::normal_distribution<float> normal;
    const KvPages kv = host();
    for (size_t s = 0; s < lengths.size(); ++s)
      for (int t = 0; t < lengths[s]; ++t)
        for (int h = 0; h < 2 * kv_heads; ++h)
          for (int i = 0; i < d; ++i)
            kv.head(kv.table[s * size_t(stride) + size_t(t / kPageTokens)], h / kv_heads,
                    h % kv_heads)[t % kPageTokens * d + i] = bf(normal(rng));
  }
  KvPages host() { return {pages.host.data(), table.host.data(), stride, kv_heads, d}; }
  KvPages up() { return {pages.up(), table.up(), stride, kv_heads, d}; }
  int64_t stride;
  int kv_heads, d;
  Both<bf16> pages;
  Both<int32_t> table;
};

struct Rotary {
  Rotary(std::mt19937& rng, int d, int positions, bool norms)
      : turns(size_t(positions) * size_t(d) / 2), q(size_t(d)), k(size_t(d)), norms(norms) {
    for (size_t i = 0; i < turns.host.size(); ++i) {
      const float angle =
          float(i / size_t(d / 2)) * std::pow(10000.0f, -2.0f * float(i % size_t(d / 2)) / float(d));
      turns.host[i] = {std::cos(angle), std::sin(angle)};
    }
    fill(q.host, rng), fill(k.host, rng);
  }
  RopeParams host() {
    return {turns.host.data(), norms ? q.host.data() : nullptr, norms ? k.host.data() : nullptr, 1e-6f};
  }
  RopeParams up() { return {turns.up(), norms ? q.up() : nullptr, norms ? k.up() : nullptr, 1e-6f}; }
  Both<float2> turns;
  Both<bf16> q, k;
  bool norms;
};

struct Qkv {
  Qkv(std::mt19937& rng, int rows, int width, bool biased)
      : width(width), biased(biased), all(size_t(rows) * size_t(width)), bias(size_t(width)) {
    fill(all.host, rng), fill(bias.host, rng);
  }
  QkvSource host() { return {all.host.data(), width, biased ? bias.host.data() : nullptr}; }
  QkvSource up() { return {all.up(), width, biased ? bias.up() : nullptr}; }
  int width;
  bool biased;
  Both<float> all;
  Both<bf16> bias;
};

struct Heads {
  int heads, kv_heads, d;
};

TEST(GpuAttention, Decode) {
  NEEDS_GPU();
  std::mt19937 rng(4);
  for (const Heads& shape : {Heads{14, 2, 64}, Heads{12, 2, 128}, Heads{4, 4, 32}, Heads{9, 3, 64},
                             Heads{16, 1, 128}, Heads{16, 8, 128}})
    for (const auto& [split_tokens, most] : {std::pair(512, 400), std::pair(64, 700)}) {
      std::vector<int> lengths = {0, 1, 15, 16, 17, 63, 64, 65, most - 1, most / 2};
      const auto count = int(lengths.size()) + 1;  // and one row of padding
      std::vector<Row> rows(static_cast<size_t>(count));
      for (int i = 0; i < count - 1; ++i) {
        const int slot = (i + 3) % (count - 1);  // rows are not in the order of slots
        rows[size_t(i)].slot = slot, rows[size_t(i)].position = lengths[size_t(slot)];
      }
      Cache cache(rng, shape.kv_heads, shape.d, lengths, most);
      Rotary rope(rng, shape.d, most, shape.heads == 16);
      Qkv qkv(rng, count, (shape.heads + 2 * shape.kv_heads) * shape.d, shape.heads != 12);
      Both<Row> device_rows(static_cast<size_t>(count));
      device_rows.host = rows;
      const int splits = (most + split_tokens - 1) / split_tokens;
      Both<bf16> out(size_t(count * shape.heads * shape.d), bf(7));
      Both<float> partial(size_t(decode_attention_scratch(count, shape.heads, shape.d, splits)), NAN);
      Both<int32_t> counters(size_t(count * shape.kv_heads));
      DecodeAttentionParams p;
      p.count = count, p.heads = shape.heads, p.scale = 1 / std::sqrt(float(shape.d));
      p.split_tokens = split_tokens, p.splits = splits;
      DecodeAttentionParams want = p;
      p.rows = device_rows.up(), p.qkv = qkv.up(), p.rope = rope.up(), p.kv = cache.up(), p.out = out.up();
      p.partial = partial.up(), p.counters = counters.up();
      decode_attention(p, nullptr, false);
      const auto quick = out.down();
      p.same_bits = true;  // from here on
      decode_attention(p, nullptr, false);
      const auto first = out.down();
      decode_attention(p, nullptr,
                       true);  // the same again: the new token is written twice, the counters were left zero
      std::vector<bf16> expected(out.host.size(), bf(7));
      want.rows = rows.data(), want.qkv = qkv.host(), want.rope = rope.host(), want.kv = cache.host(),
      want.out = expected.data();
      decode_attention_reference(want);
      EXPECT_LT(distance(first, expected), 2 * kBf16)
          << shape.heads << "/" << shape.kv_heads << " of " << shape.d << " splits " << splits;
      EXPECT_LT(distance(quick, expected), 2 * kBf16)
          << shape.heads << "/" << shape.kv_heads << " of " << shape.d << " splits " << splits;
      EXPECT_EQ(distance(out.down(), first), 0);
      for (int32_t c : counters.down()) EXPECT_EQ(c, 0);
      std::vector<bf16> got_pages = cache.pages.down(), want_pages = cache.pages.host;
      for (std::vector<bf16>* pages : {&got_pages, &want_pages})
        for (bf16& v : *pages)
          if (std::isnan(number(v))) v = bf(-9);  // still poison in both
      EXPECT_LT(distance(got_pages, want_pages), kBf16);
      // a row alone gives the same bits
      Both<Row> one(size_t{1});
      for (int i : {2, 5}) {
        one.host[0] = rows[size_t(i)];
        DecodeAttentionParams single = p;
        single.rows = one.up(), single.count = 1;
        single.qkv = qkv.up();
        single.qkv.rows += i * qkv.width;
        Both<bf16> alone(size_t(shape.heads * shape.d));
        single.out = alone.up();
        decode_attention(single, nullptr, false);
        const auto bits = alone.down();
        for (size_t j = 0; j < bits.size(); ++j)
          ASSERT_EQ(number(bits[j]), number(first[size_t(i) * bits.size() + j]));
      }
      // and so does a crowd of them, for which the kernel with the smaller ring is taken
      constexpr int kCrowd = 300;
      Both<Row> crowd(size_t{kCrowd});
      Both<bf16> crowd_out(size_t(kCrowd * shape.heads * shape.d));
      Both<float> crowd_qkv(size_t(kCrowd) * size_t(qkv.width)),
          crowd_partial(size_t(decode_attention_scratch(kCrowd, shape.heads, shape.d, splits)), NAN);
      Both<int32_t> crowd_counters(size_t(kCrowd * shape.kv_heads));
      for (int i = 0; i < kCrowd; ++i) {
        crowd.host[size_t(i)] = rows[size_t(i % (count - 1))];
        std::copy_n(qkv.all.host.begin() + i % (count - 1) * qkv.width, qkv.width,
                    crowd_qkv.host.begin() + i * qkv.width);
      }
      DecodeAttentionParams many = p;
      many.rows = crowd.up(), many.count = kCrowd, many.qkv = qkv.up(), many.qkv.rows = crowd_qkv.up();
      many.out = crowd_out.up(), many.partial = crowd_partial.up(), many.counters = crowd_counters.up();
      decode_attention(many, nullptr, true);
      const auto bits = crowd_out.down();
      const size_t width = size_t(shape.heads * shape.d);
      for (size_t j = 0; j < bits.size(); ++j)
        ASSERT_EQ(number(bits[j]), number(first[j / width % size_t(count - 1) * width + j % width]));
    }
}

TEST(PrefillTiles, MostKeysFirst) {
  // two chunks of 3 heads a kv head: 100 tokens after 10, 30 after 90; a tile's keys are those of its last row
  std::vector<PrefillTile> tiles;
  for (const auto& [slot, tokens, past] : {std::tuple{0, 100, 10}, {1, 30, 90}})
    for (int first = 0; first < 3 * tokens; first += kPrefillTileRows)
      tiles.push_back({slot, 0, tokens, past, first});
  most_keys_first(tiles.data(), int(tiles.size()), 3);
  std::vector<std::pair<int, int>> order;
  for (const PrefillTile& t : tiles) order.emplace_back(t.slot, t.first);
  EXPECT_EQ(order, (std::vector<std::pair<int, int>>{{1, 0}, {0, 256}, {0, 128}, {0, 0}}));
}

TEST(GpuAttention, RopeWriteAndPrefill) {
  NEEDS_GPU();
  std::mt19937 rng(5);
  for (const Heads& shape : {Heads{14, 2, 64}, Heads{12, 2, 128}, Heads{4, 4, 32}, Heads{9, 3, 64}})
    for (bool norms : {false, true}) {
      const std::vector<std::pair<int, int>> chunks = {{0, 1},    {0, 2},    {0, 33},   {5, 40},
                                                       {64, 100}, {131, 17}, {250, 129}};  // past, tokens
      std::vector<int> lengths;
      std::vector<Row> rows;
      std::vector<PrefillTile> tiles;
      const int group = shape.heads / shape.kv_heads;
      for (size_t c = 0; c < chunks.size(); ++c) {
        const auto [past, tokens] = chunks[c];
        lengths.push_back(past);
        for (int first = 0; first < tokens * group; first += kPrefillTileRows)
          tiles.push_back({int32_t(c), int32_t(rows.size()), tokens, past, first});
        for (int t = 0; t < tokens; ++t) {
          rows.emplace_back();
          rows.back().slot = int32_t(c), rows.back().position = past + t;
        }
      }
      if (norms) most_keys_first(tiles.data(), int(tiles.size()), group);
      rows.emplace_back();  // padding
      const auto count = int(rows.size());
      Cache cache(rng, shape.kv_heads, shape.d, lengths, 400);
      Rotary rope(rng, shape.d, 400, norms);
      Qkv qkv(rng, count, (shape.heads + 2 * shape.kv_heads) * shape.d, shape.heads != 12);
      Both<Row> device_rows(static_cast<size_t>(count));
      device_rows.host = rows;
      Both<PrefillTile> device_tiles(tiles.size());
      device_tiles.host = tiles;
      Both<bf16> q(size_t(count * shape.heads * shape.d), bf(7)), out(q.host.size(), bf(7));
      RopeWriteParams write{device_rows.up(), count, qkv.up(), rope.up(), shape.heads, cache.up(), q.up()};
      rope_write(write, nullptr, false);
      PrefillAttentionParams p{device_tiles.up(), int(tiles.size()), q.device(),
                               shape.heads,       write.kv,          1 / std::sqrt(float(shape.d)),
                               out.up(),          norms ? 3 : 132};  // with 3, several tiles a block
      prefill_attention(p, nullptr, true);
      std::vector<bf16> wq(q.host.size(), bf(7)), wout(q.host.size(), bf(7));
      rope_write_reference(
          {rows.data(), count, qkv.host(), rope.host(), shape.heads, cache.host(), wq.data()});
      prefill_attention_reference(
          {tiles.data(), int(tiles.size()), wq.data(), shape.heads, cache.host(), p.scale, wout.data()});
      EXPECT_LT(distance(q.down(), wq), kBf16) << shape.heads;
      EXPECT_LT(distance(out.down(), wout), 2 * kBf16)
          << shape.heads << "/" << shape.kv_heads << " of " << shape.d;
    }
}

}  // namespace
}  // namespace cohort::cuda
