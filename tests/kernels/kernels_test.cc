// Every kernel against its CPU reference, on shapes that are not multiples of anything, with poisoned outputs.
#include <algorithm>

#include "kernels/checksum.h"
#include "kernels/gemm.h"
#include "kernels/hopper_gemm.h"
#include "kernels/rms_norm.h"
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
