// Every kernel against its CPU reference, on shapes that are not multiples of anything, with poisoned outputs.
#include <algorithm>
#include <numeric>

#include "kernels/checksum.h"
#include "kernels/decode_attention.h"
#include "kernels/gemm.h"
#include "kernels/hopper_gemm.h"
#include "kernels/prefill_attention.h"
#include "kernels/rms_norm.h"
#include "kernels/rope.h"
#include "kernels/rows_kernels.h"
#include "kernels/swiglu.h"
#include "tests/kernels/gpu.h"

namespace cohort::cuda {
namespace {

using bf16 = __nv_bfloat16;
constexpr double kBf16 = 4e-3;  // a rounding to bf16 here and there
const bf16 kPoison = __float2bfloat16_rn(NAN);

TEST(Kernels, RmsNormWithResidual) {
  NEEDS_GPU();
  std::mt19937 rng(1);
  for (int hidden : {8, 64, 896, 1536, 2056, 4096, 8200, 16384})
    for (int rows : {1, 5})
      for (int what = 0; what < 4; ++what) {
        const int splits = what == 1 ? 3 : 0;
        Both<bf16> x(size_t(rows) * hidden), delta(x.host.size()), bias{size_t(hidden)},
            weight{size_t(hidden)}, y(x.host.size(), kPoison);
        Both<float> partial(size_t(splits) * x.host.size());
        fill(x.host, rng), fill(delta.host, rng), fill(bias.host, rng), fill(weight.host, rng),
            fill(partial.host, rng);
        RmsNormParams p;
        p.rows = rows, p.hidden = hidden, p.splits = splits, p.eps = 1e-5f;
        RmsNormParams want = p;
        p.x = x.up(), p.weight = weight.up(), p.y = y.up();
        if (what == 1) p.partial = partial.up();
        if (what == 2) p.delta = delta.up();
        if (what == 1 || what == 3) p.bias = bias.up();
        rms_norm(p, nullptr, what % 2 == 1);
        std::vector<bf16> wx = x.host, wy(x.host.size());
        want.x = wx.data(), want.y = wy.data(), want.weight = weight.host.data();
        if (p.partial) want.partial = partial.host.data();
        if (p.delta) want.delta = delta.host.data();
        if (p.bias) want.bias = bias.host.data();
        rms_norm_reference(want);
        EXPECT_LT(distance(x.down(), wx), 1e-4) << hidden << " " << what;
        EXPECT_LT(distance(y.down(), wy), kBf16) << hidden << " " << what;
      }
}

TEST(Kernels, Checksum) {
  NEEDS_GPU();
  std::mt19937_64 rng(9);
  for (size_t bytes : {0, 1, 7, 8, 9, 15, 16, 17, 4096, 1000003, 64 << 20}) {
    Both<unsigned char> data(bytes);
    Both<uint64_t> sum(1, 5);
    for (size_t i = 0; i < bytes; ++i) data.host[i] = static_cast<unsigned char>(rng());
    sum.up();
    checksum(data.up(), bytes, sum.up(), nullptr);
    const uint64_t got = sum.down()[0];
    EXPECT_EQ(got, checksum_reference(data.host.data(), bytes)) << bytes;
    if (bytes < 9) continue;
    data.host[bytes - 9] ^= 16;  // one bit
    EXPECT_NE(got, checksum_reference(data.host.data(), bytes)) << bytes;
    data.host[bytes - 9] ^= 16;
    if (bytes < 16) continue;
    std::swap_ranges(data.host.begin(), data.host.begin() + 8, data.host.begin() + 8);  // two words exchanged
    EXPECT_NE(got, checksum_reference(data.host.data(), bytes)) << bytes;
  }
}

TEST(Kernels, SwiGlu) {
  NEEDS_GPU();
  std::mt19937 rng(2);
  for (int width : {8, 24, 4864, 8960})
    for (int rows : {1, 7, 300}) {
      Both<bf16> gate_up(size_t(rows) * 2 * width), h(size_t(rows) * width, kPoison);
      fill(gate_up.host, rng, 2);
      gate_up.up(), h.up();
      swiglu(gate_up.device(), rows, width, h.device(), nullptr, false);
      std::vector<bf16> want(h.host.size());
      swiglu_reference(gate_up.host.data(), rows, width, want.data());
      EXPECT_LT(distance(h.down(), want), kBf16) << width << " " << rows;
    }
}

TEST(Kernels, PrepareEmbedAndGather) {
  NEEDS_GPU();
  std::mt19937 rng(3);
  const int count = 300, hidden = 72, vocab = 50, slots = 40, stride = 9;
  Row* pinned = nullptr;
  CUDA_CHECK(cudaHostAlloc(reinterpret_cast<void**>(&pinned), 2 * count * sizeof(Row), cudaHostAllocMapped));
  Both<Row> rows(size_t{count}), gathered(size_t{5});
  Both<int32_t> table(size_t(slots) * stride, -7), last(size_t{slots}), index(size_t{5});
  Both<uint32_t> turn(size_t{4});
  Both<bf16> embedding(size_t(vocab) * hidden), x(size_t(count) * hidden, kPoison),
      y(size_t(5) * hidden, kPoison);
  fill(embedding.host, rng);
  for (int32_t& t : last.host) t = int32_t(rng() % vocab);
  for (uint32_t t = 0; t < 3; ++t) {  // the two buffers by turns
    std::vector<int32_t> expected_table(size_t(slots) * stride, -7);
    std::vector<Row> want(count);
    for (int i = 0; i < count; ++i) {
      Row& r = pinned[(t & 1) * count + uint32_t(i)] = {};
      pinned[((t + 1) & 1) * count + uint32_t(i)].slot = 1,
                                     pinned[((t + 1) & 1) * count + uint32_t(i)].token = 49;
      if (i % 7 == 3) continue;  // padding
      r.slot = i % slots, r.position = (i / slots) * kPageTokens,
      r.token = i % 3 ? int32_t(rng() % vocab) : -1;
      r.new_page = i % 2 ? i : -1;
      want[size_t(i)] = r;
      if (r.token < 0) want[size_t(i)].token = last.host[size_t(r.slot)];
      if (r.new_page >= 0) expected_table[size_t(r.slot) * stride + size_t(i / slots)] = i;
    }
    table.up(), rows.up(), x.up(), y.up(), last.up(), embedding.up();
    if (t == 0) turn.up();
    prepare_rows({pinned, count, rows.device(), table.device(), stride, last.device(), turn.device(), count},
                 nullptr);
    embed(rows.device(), count, embedding.device(), hidden, x.device(), nullptr, true);
    index.host = {4, 299, -1, 0, 17};
    gather_rows(index.up(), 5, x.device(), hidden, y.device(), rows.device(), gathered.up(), nullptr, true);
    const auto got = rows.down();
    for (int i = 0; i < count; ++i) {
      ASSERT_EQ(got[size_t(i)].slot, want[size_t(i)].slot);
      ASSERT_EQ(got[size_t(i)].token, want[size_t(i)].token) << i;
    }
    EXPECT_EQ(table.down(), expected_table);
    EXPECT_EQ(turn.down()[0], t + 1);
    EXPECT_EQ(turn.down()[1], 0u);
    std::vector<bf16> wx(x.host.size());
    embed_reference(want.data(), count, embedding.host.data(), hidden, wx.data());
    EXPECT_EQ(distance(x.down(), wx), 0);
    const auto wy = y.down();
    for (size_t i = 0; i < 5; ++i)
      for (size_t j = 0; j < size_t(hidden); ++j)
        ASSERT_EQ(number(wy[i * hidden + j]),
                  index.host[i] < 0 ? 0.0f : number(wx[size_t(index.host[i]) * hidden + j]));
    EXPECT_EQ(gathered.down()[0].token, want[4].token);
    EXPECT_EQ(gathered.down()[2].slot, -1);
  }
  CUDA_CHECK(cudaFreeHost(pinned));
}

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

// The QKV product in either form.
struct Qkv {
  Qkv(std::mt19937& rng, int rows, int width, int splits)
      : rows(rows),
        width(width),
        splits(splits),
        whole(splits ? 0 : size_t(rows) * size_t(width)),
        bias(size_t(width)),
        partial(size_t(splits) * size_t(rows) * size_t(width)) {
    fill(whole.host, rng), fill(bias.host, rng), fill(partial.host, rng, 0.5f);
  }
  QkvSource of(const bf16* w, const float* p, const bf16* b) {
    return splits ? QkvSource{nullptr, p, splits, int64_t(rows) * width, b, width}
                  : QkvSource{w, nullptr, 0, 0, nullptr, width};
  }
  QkvSource host() { return of(whole.host.data(), partial.host.data(), bias.host.data()); }
  QkvSource up() { return of(whole.up(), partial.up(), bias.up()); }
  int rows, width, splits;
  Both<bf16> whole, bias;
  Both<float> partial;
};

struct Heads {
  int heads, kv_heads, d;
};

TEST(Kernels, DecodeAttention) {
  NEEDS_GPU();
  std::mt19937 rng(4);
  for (const Heads& shape : {Heads{14, 2, 64}, Heads{12, 2, 128}, Heads{4, 4, 32}, Heads{9, 3, 64},
                             Heads{16, 1, 128}, Heads{16, 8, 128}})
    for (int splits_of_qkv : {0, 5})
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
        Qkv qkv(rng, count, (shape.heads + 2 * shape.kv_heads) * shape.d, splits_of_qkv);
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
        const auto first = out.down();
        decode_attention(
            p, nullptr, true);  // the same again: the new token is written twice, the counters were left zero
        std::vector<bf16> expected(out.host.size(), bf(7));
        want.rows = rows.data(), want.qkv = qkv.host(), want.rope = rope.host(), want.kv = cache.host(),
        want.out = expected.data();
        decode_attention_reference(want);
        EXPECT_LT(distance(first, expected), 2 * kBf16)
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
          if (splits_of_qkv)
            single.qkv.partial += i * qkv.width;
          else
            single.qkv.whole += i * qkv.width;
          Both<bf16> alone(size_t(shape.heads * shape.d));
          single.out = alone.up();
          decode_attention(single, nullptr, false);
          const auto bits = alone.down();
          for (size_t j = 0; j < bits.size(); ++j)
            ASSERT_EQ(number(bits[j]), number(first[size_t(i) * bits.size() + j]));
        }
      }
}

TEST(Kernels, RopeWriteAndPrefillAttention) {
  NEEDS_GPU();
  std::mt19937 rng(5);
  for (const Heads& shape : {Heads{14, 2, 64}, Heads{12, 2, 128}, Heads{4, 4, 32}, Heads{9, 3, 64}})
    for (int splits : {0, 3}) {
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
      rows.emplace_back();  // padding
      const auto count = int(rows.size());
      Cache cache(rng, shape.kv_heads, shape.d, lengths, 400);
      Rotary rope(rng, shape.d, 400, splits != 0);
      Qkv qkv(rng, count, (shape.heads + 2 * shape.kv_heads) * shape.d, splits);
      Both<Row> device_rows(static_cast<size_t>(count));
      device_rows.host = rows;
      Both<PrefillTile> device_tiles(tiles.size());
      device_tiles.host = tiles;
      Both<bf16> q(size_t(count * shape.heads * shape.d), bf(7)), out(q.host.size(), bf(7));
      RopeWriteParams write{device_rows.up(), count, qkv.up(), rope.up(), shape.heads, cache.up(), q.up()};
      rope_write(write, nullptr, false);
      PrefillAttentionParams p{device_tiles.up(), int(tiles.size()), q.device(),
                               shape.heads,       write.kv,          1 / std::sqrt(float(shape.d)),
                               out.up()};
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

std::vector<float> product(const std::vector<bf16>& x, const std::vector<bf16>& w, int m, int n, int k) {
  std::vector<float> y(size_t(m) * size_t(n));
  for (int i = 0; i < m; ++i)
    for (int j = 0; j < n; ++j) {
      double sum = 0;
      for (int l = 0; l < k; ++l) sum += double(number(x[size_t(i) * k + l])) * number(w[size_t(j) * k + l]);
      y[size_t(i) * n + j] = float(sum);
    }
  return y;
}

TEST(Kernels, HopperGemm) {
  NEEDS_GPU();
  std::mt19937 rng(6);
  constexpr int most = 300;
  for (const auto& [n, k] : {std::pair(1152, 896), std::pair(896, 200), std::pair(48, 72), std::pair(61, 64),
                             std::pair(160, 1000)}) {
    Both<bf16> w(size_t(n) * size_t(k)), x(size_t(most) * size_t(k));
    fill(w.host, rng), fill(x.host, rng);
    w.up(), x.up();
    const std::vector<float> all = product(x.host, w.host, most, n, k);
    std::vector<float> bits;  // of row 0, whatever m and the tile
    for (int m : {1, 16, 64, 65, 100, 128, 257, 300})
      for (const HopperGemmTile& tile : hopper_gemm_tiles()) {
        const std::string what = std::to_string(m) + " x " + std::to_string(n) + " x " + std::to_string(k) +
                                 " tile " + std::to_string(tile.warpgroups) + "/" +
                                 std::to_string(tile.columns);
        const std::vector<float> want(all.begin(), all.begin() + int64_t(m) * n);
        HopperGemmParams p{x.device(), w.device(), m, n, k, 1, nullptr, 0, GemmOut::partial};
        for (int splits : {1, hopper_gemm_splits(n, k, 132)}) {
          Both<float> out(size_t(splits * m * n), NAN);
          p.splits = splits, p.out = out.up();
          hopper_gemm(p, tile, nullptr, splits > 1);
          const auto parts = out.down();
          std::vector<float> sum(want.size());
          for (int s = 0; s < splits; ++s)
            for (size_t i = 0; i < sum.size(); ++i) sum[i] += parts[size_t(s) * sum.size() + i];
          ASSERT_LT(distance(sum, want), 1e-5) << what << " splits " << splits;
          if (splits != hopper_gemm_splits(n, k, 132)) continue;
          const std::vector<float> row(sum.begin(), sum.begin() + n);
          if (bits.empty()) bits = row;
          EXPECT_EQ(row, bits) << "a row's bits depend on the others or on the tile: " << what;
        }
        p.splits = 1, p.kind = GemmOut::full, p.stride = n + 3;
        Both<float> full(size_t(m * p.stride), -3);
        p.out = full.up();
        hopper_gemm(p, tile, nullptr, true);
        const auto got = full.down();
        std::vector<float> dense;
        for (int i = 0; i < m; ++i) {
          dense.insert(dense.end(), got.begin() + i * p.stride, got.begin() + i * p.stride + n);
          for (int64_t j = n; j < p.stride; ++j) ASSERT_EQ(got[size_t(i * p.stride + j)], -3);
        }
        ASSERT_LT(distance(dense, want), 1e-5) << what;
        if (n % 16 != 0) continue;
        Both<bf16> h(size_t(m * n / 2), kPoison);
        p.kind = GemmOut::swiglu, p.out = h.up();
        hopper_gemm(p, tile, nullptr, true);
        std::vector<float> expected(size_t(m) * size_t(n / 2));
        for (int i = 0; i < m; ++i)
          for (int j = 0; j < n / 2; ++j) {
            const float gate = want[size_t(i * n + j / 8 * 16 + j % 8)],
                        up = want[size_t(i * n + j / 8 * 16 + 8 + j % 8)];
            expected[size_t(i * (n / 2) + j)] = gate / (1 + std::exp(-gate)) * up;
          }
        ASSERT_LT(distance(h.down(), expected), kBf16) << what;
      }
  }
}

TEST(Kernels, CublasProducts) {
  NEEDS_GPU();
  std::mt19937 rng(7);
  Gemm gemm(8 << 20);
  const int m = 70, n = 200, k = 136;
  Both<bf16> x(size_t{m * k}), w(size_t{n * k}), bias(size_t{n}), old(size_t{m * n});
  fill(x.host, rng), fill(w.host, rng), fill(bias.host, rng), fill(old.host, rng);
  const std::vector<float> plain = product(x.host, w.host, m, n, k);
  for (int what = 0; what < 4; ++what) {
    GemmParams p;
    p.x = x.up(), p.w = w.up(), p.m = m, p.n = n, p.k = k, p.stride = n;
    std::vector<float> want = plain;
    Both<bf16> y(size_t{m * n});
    Both<float> wide(size_t{m * n});
    p.y = y.device();
    if (what == 1) p.y = wide.device(), p.fp32 = true;
    if (what >= 2) p.bias = bias.up();
    if (what == 3) p.add = true;
    for (int i = 0; i < m; ++i)
      for (int j = 0; j < n; ++j) {
        if (what >= 2) want[size_t(i * n + j)] += number(bias.host[size_t(j)]);
        if (what == 3) want[size_t(i * n + j)] += number(old.host[size_t(i * n + j)]);
      }
    gemm.prepare(p, nullptr);
    y.host = old.host;
    y.up();
    gemm.run(p, nullptr);
    if (what == 1)
      EXPECT_LT(distance(wide.down(), want), 1e-5);
    else
      EXPECT_LT(distance(y.down(), want), kBf16) << what;
  }
}

TEST(Kernels, ASlotIsShared) {
  NEEDS_GPU();
  std::mt19937 rng(8);
  const int layers = 3, page = 64, pages = 12, stride = 6;
  Both<bf16> kv(size_t(layers * pages * page));
  fill(kv.host, rng);
  Both<int32_t> table(size_t(2 * stride), -1);
  table.host = {4, 7, 1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
  share_slot({kv.up(), int64_t(pages) * page, page, layers, table.up(), stride, 0, 1, 2, 1, 9}, nullptr);
  const auto got = kv.down();
  std::vector<bf16> want = kv.host;
  for (int l = 0; l < layers; ++l)
    std::copy_n(kv.host.begin() + (l * pages + 1) * page, page, want.begin() + (l * pages + 9) * page);
  EXPECT_EQ(distance(got, want), 0);
  EXPECT_EQ(table.down(), (std::vector<int32_t>{4, 7, 1, -1, -1, -1, 4, 7, 9, -1, -1, -1}));
}

}  // namespace
}  // namespace cohort::cuda
