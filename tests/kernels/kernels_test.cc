// Every kernel against its CPU reference, on shapes that are not multiples of anything, with poisoned outputs.
#include <algorithm>
#include <map>
#include <set>

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
constexpr double kFp32 = 1e-5;  // none, sums in another order
const bf16 kPoison = __float2bfloat16_rn(NAN);

TEST(Kernels, RmsNormWithBias) {
  NEEDS_GPU();
  std::mt19937 rng(1);
  for (int hidden : {8, 64, 896, 1536, 2056, 4096, 8200, 16384})
    for (int rows : {1, 5, 21})
      for (bool biased : {false, true}) {
        Both<float> x(size_t(rows) * hidden);
        Both<bf16> bias{size_t(hidden)}, weight{size_t(hidden)}, y(x.host.size(), kPoison);
        fill(x.host, rng), fill(bias.host, rng), fill(weight.host, rng);
        RmsNormParams p;
        p.rows = rows, p.hidden = hidden, p.eps = 1e-5f;
        RmsNormParams want = p;
        p.x = x.up(), p.weight = weight.up(), p.y = y.up();
        if (biased) p.bias = bias.up();
        rms_norm(p, nullptr, biased);
        std::vector<float> wx = x.host;
        std::vector<bf16> wy(x.host.size());
        want.x = wx.data(), want.y = wy.data(), want.weight = weight.host.data();
        if (biased) want.bias = bias.host.data();
        rms_norm_reference(want);
        EXPECT_EQ(x.down(), wx) << hidden << " " << biased;
        EXPECT_LT(distance(y.down(), wy), kBf16) << hidden << " " << biased;
      }
}

// Sums of squares of `rows` rows in some parts, as a product before a norm leaves them.
struct Squares {
  Squares(std::mt19937& rng, int parts, int rows)
      : all(size_t(parts * rows)), scale{nullptr, parts, rows, 64 * parts, 1e-6f} {
    fill(all.host, rng, 8);
    for (float& s : all.host) s = s * s;
  }
  RowScale host() { return with(all.host.data()); }
  RowScale up() { return with(all.up()); }
  RowScale with(const float* squares) {
    scale.squares = squares;
    return scale;
  }
  Both<float> all;
  RowScale scale;
};

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
      Squares squares(rng, 13, rows);
      for (bool scaled : {false, true}) {
        swiglu(gate_up.device(), scaled ? squares.up() : RowScale{}, rows, width, h.device(), nullptr,
               scaled);
        std::vector<bf16> want(h.host.size());
        swiglu_reference(gate_up.host.data(), scaled ? squares.host() : RowScale{}, rows, width, want.data());
        EXPECT_LT(distance(h.down(), want), kBf16) << width << " " << rows;
      }
    }
}

TEST(Kernels, PrepareEmbedAndGather) {
  NEEDS_GPU();
  std::mt19937 rng(3);
  const int count = 300, hidden = 1096, parts = 18, vocab = 50, slots = 40, stride = 9;
  Row* pinned = nullptr;
  CUDA_CHECK(cudaHostAlloc(reinterpret_cast<void**>(&pinned), 2 * count * sizeof(Row), cudaHostAllocMapped));
  Both<Row> rows(size_t{count}), gathered(size_t{5});
  Both<int32_t> table(size_t(slots) * stride, -7), last(size_t{slots}), index(size_t{5});
  Both<uint32_t> turn(size_t{4});
  Both<bf16> embedding(size_t(vocab) * hidden), norm(size_t{hidden}), scaled(size_t(count) * hidden, kPoison),
      y(size_t(5) * hidden, kPoison);
  Both<float> x(size_t(count) * hidden, NAN), squares(size_t{parts * count}, NAN),
      gathered_squares(size_t{parts * 5}, NAN);
  fill(embedding.host, rng), fill(norm.host, rng);
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
    EmbedParams e{rows.device(), count, hidden, embedding.device(), x.device(), nullptr, nullptr, nullptr};
    if (t != 1) e.norm = norm.up(), e.scaled = scaled.up(), e.squares = squares.up();
    embed(e, nullptr, true);
    index.host = {4, 299, -1, 0, 17};
    GatherParams g{index.up(),    5,  hidden, scaled.device(), y.device(), rows.device(),
                   gathered.up(), {}, nullptr};
    if (e.norm) g.scale = {squares.device(), parts, count, hidden, 0}, g.squares_to = gathered_squares.up();
    gather_rows(g, nullptr, true);
    const auto got = rows.down();
    for (int i = 0; i < count; ++i) {
      ASSERT_EQ(got[size_t(i)].slot, want[size_t(i)].slot);
      ASSERT_EQ(got[size_t(i)].token, want[size_t(i)].token) << i;
    }
    EXPECT_EQ(table.down(), expected_table);
    EXPECT_EQ(turn.down()[0], t + 1);
    EXPECT_EQ(turn.down()[1], 0u);
    std::vector<bf16> wscaled(x.host.size());
    std::vector<float> wx(x.host.size()), wsquares(squares.host.size());
    e.rows = want.data(), e.embedding = embedding.host.data(), e.x = wx.data();
    if (e.norm) e.norm = norm.host.data(), e.scaled = wscaled.data(), e.squares = wsquares.data();
    embed_reference(e);
    EXPECT_EQ(x.down(), wx);
    if (e.norm) {
      EXPECT_EQ(distance(scaled.down(), wscaled), 0);
      EXPECT_LT(distance(squares.down(), wsquares), 1e-6);
      const auto all = squares.down(), some = gathered_squares.down();
      for (int part = 0; part < parts; ++part)
        for (int i = 0; i < 5; ++i)
          ASSERT_EQ(some[size_t(part * 5 + i)],
                    index.host[size_t(i)] < 0 ? 0 : all[size_t(part * count + index.host[size_t(i)])]);
    }
    const auto wy = y.down(), from = scaled.down();
    for (size_t i = 0; i < 5; ++i)
      for (size_t j = 0; j < size_t(hidden); ++j)
        ASSERT_EQ(number(wy[i * hidden + j]),
                  index.host[i] < 0 ? 0.0f : number(from[size_t(index.host[i]) * hidden + j]));
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

// Every kind of output for every tile and numbers of rows and splits; x and w of one shape.
class HopperGemm {
 public:
  static constexpr int kMost = 300;
  HopperGemm(std::mt19937& rng, int n, int k)
      : n_(n),
        k_(k),
        w_(size_t(n) * size_t(k)),
        x_(size_t(kMost) * size_t(k)),
        bias_(size_t(n)),
        norm_(size_t(n)),
        old_(size_t(kMost) * size_t(n)) {
    for (Both<bf16>* b : {&w_, &x_, &bias_, &norm_}) fill(b->host, rng), b->up();
    fill(old_.host, rng), old_.up();
    all_ = product(x_.host, w_.host, kMost, n, k);
  }

  void check(std::mt19937& rng, int m, const HopperGemmTile& tile) {
    what_ = std::to_string(m) + " x " + std::to_string(n_) + " x " + std::to_string(k_) + " tile " +
            std::to_string(tile.weights) + "/" + std::to_string(tile.inputs) + "/" +
            std::to_string(tile.wide_inputs);
    Squares squares(rng, 5, m);
    p_ = {};
    p_.x = x_.device(), p_.w = w_.device(), p_.m = m, p_.n = n_, p_.k = k_;
    p_.scale = squares.up();
    want_.assign(all_.begin(), all_.begin() + int64_t(m) * n_);
    scaled_ = want_;
    for (int i = 0; i < m; ++i)
      for (int j = 0; j < n_; ++j) scaled_[size_t(i * n_ + j)] *= row_scale_reference(squares.host(), i);
    const auto has = [&](GemmOut kind) {
      const auto all = hopper_gemm_tiles(kind);
      return std::find(all.begin(), all.end(), tile) != all.end();
    };
    if (has(GemmOut::swiglu) && n_ % 16 == 0) swiglu(tile);
    if (has(GemmOut::logits)) logits(tile);
    if (!has(GemmOut::rows) || n_ % 4 != 0) return;
    const int steps = (k_ + 63) / 64;
    for (int wanted : {1, 2, 3, hopper_gemm_splits(n_, k_, 132)}) {
      if (wanted > steps) continue;
      const int length = (steps + wanted - 1) / wanted;
      p_.splits = (steps + length - 1) / length;
      rows(tile), residual(tile);
    }
  }

 private:
  // A row's bits depend neither on the others nor on the tile.
  template <class T>
  void same_bits(const char* kind, const std::vector<T>& got) {
    std::vector<float> row;
    for (int j = 0; j < n_; ++j) row.push_back(number(got[size_t(j)]));
    const auto [known, fresh] = bits_.try_emplace({kind, p_.splits}, row);
    if (fresh) return;
    EXPECT_EQ(row, known->second) << kind << " " << what_ << " splits " << p_.splits;
  }
  void rows(const HopperGemmTile& tile) {
    HopperGemmParams p = p_;
    Both<float> out(want_.size(), NAN);
    p.kind = GemmOut::rows, p.out = out.up();
    hopper_gemm(p, tile, nullptr, p.splits > 1);
    ASSERT_LT(distance(out.down(), scaled_), kFp32) << what_ << " splits " << p.splits;
    p.scale = {};
    hopper_gemm(p, tile, nullptr, false);
    const auto got = out.down();
    ASSERT_LT(distance(got, want_), kFp32) << what_ << " splits " << p.splits;
    same_bits("rows", got);
  }
  void residual(const HopperGemmTile& tile) {
    HopperGemmParams p = p_;
    const int parts = (n_ + 63) / 64;
    Both<bf16> scaled(want_.size(), kPoison);
    Both<float> out(want_.size()), squares(size_t(parts * p.m), NAN);
    std::copy_n(old_.host.begin(), want_.size(), out.host.begin());
    p.kind = GemmOut::residual, p.out = out.up(), p.bias = bias_.device(), p.norm = norm_.device();
    p.scaled = scaled.up(), p.squares = squares.up();
    hopper_gemm(p, tile, nullptr, p.splits > 1);
    const auto got = out.down();
    const auto times = scaled.down();
    std::vector<float> expected = want_, of_got(want_.size()), sums(squares.host.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      const size_t row = i / size_t(n_), j = i % size_t(n_);
      expected[i] += number(bias_.host[j]) + old_.host[i];
      of_got[i] = got[i] * number(norm_.host[j]);
      sums[j / 64 * size_t(p.m) + row] += got[i] * got[i];
    }
    ASSERT_LT(distance(got, expected), kFp32) << what_ << " splits " << p.splits;
    ASSERT_LT(distance(times, of_got), kBf16) << what_ << " splits " << p.splits;
    ASSERT_LT(distance(squares.down(), sums), kFp32) << what_ << " splits " << p.splits;
    same_bits("residual", got);
    // without bias and norm
    p.bias = nullptr, p.norm = nullptr, p.scaled = nullptr, p.squares = nullptr, p.out = out.up();
    hopper_gemm(p, tile, nullptr, false);
    for (size_t i = 0; i < expected.size(); ++i) expected[i] -= number(bias_.host[i % size_t(n_)]);
    ASSERT_LT(distance(out.down(), expected), kFp32) << what_ << " splits " << p.splits;
  }
  void swiglu(const HopperGemmTile& tile) {
    HopperGemmParams p = p_;
    Both<bf16> h(want_.size() / 2, kPoison);
    p.kind = GemmOut::swiglu, p.out = h.up();
    hopper_gemm(p, tile, nullptr, true);
    std::vector<float> expected(h.host.size());
    for (int i = 0; i < p.m; ++i)
      for (int j = 0; j < n_ / 2; ++j) {
        const float* pair = &scaled_[size_t(i * n_ + j)];
        expected[size_t(i * (n_ / 2) + j)] = pair[0] / (1 + std::exp(-pair[0])) * pair[n_ / 2];
      }
    ASSERT_LT(distance(h.down(), expected), kBf16) << what_;
  }
  void logits(const HopperGemmTile& tile) {
    HopperGemmParams p = p_;
    const int stride = (n_ + 3) / 4 * 4 + 4, piece = tile.piece(), pieces = (n_ + piece - 1) / piece;
    Both<float> out(size_t(p.m * stride), -3);
    Both<Row> rows{size_t(p.m)};
    Both<SamplerPiece> sums(size_t(p.m * pieces), {-5, -5, -5, -5});
    for (int i = 0; i < p.m; ++i) {
      Row& row = rows.host[size_t(i)];
      row.slot = i % 7 == 3 ? -1 : i, row.sample = i % 5 != 2, row.inverse_temperature = i % 2 ? 1.25f : 1.0f;
      row.greedy = i % 11 == 5;
    }
    p.kind = GemmOut::logits, p.out = out.up(), p.stride = stride, p.rows = rows.up(), p.pieces = sums.up();
    hopper_gemm(p, tile, nullptr, true);
    const auto got = out.down();
    const auto got_sums = sums.down();
    std::vector<float> dense;
    for (int i = 0; i < p.m; ++i) {
      const float* row = &got[size_t(i * stride)];
      dense.insert(dense.end(), row, row + n_);
      for (int j = n_; j < stride; ++j) ASSERT_EQ(row[j], -3);
      const Row& r = rows.host[size_t(i)];
      for (int q = 0; q < pieces; ++q) {
        const SamplerPiece& one = got_sums[size_t(i * pieces + q)];
        if (r.slot < 0 || !r.sample) {
          ASSERT_EQ(one.best, -5);
          continue;
        }
        const int begin = q * piece, end = std::min(n_, begin + piece);
        const auto best = int(std::max_element(row + begin, row + end) - row);
        double sum = 0;
        for (int j = begin; j < end; ++j)
          sum += std::exp(double(row[j] - row[best]) * (r.greedy ? 1.0 : double(r.inverse_temperature)));
        ASSERT_EQ(one.best, r.greedy ? best : one.best) << what_;
        ASSERT_EQ(one.top, row[best]) << what_;
        ASSERT_NEAR(one.sum, sum, 1e-4 * sum) << what_;
      }
    }
    ASSERT_LT(distance(dense, scaled_), kFp32) << what_;
    same_bits("logits", [&] {
      HopperGemmParams plain = p;
      plain.scale = {}, plain.pieces = nullptr;
      hopper_gemm(plain, tile, nullptr, false);
      return out.down();
    }());
  }

  int n_, k_;
  Both<bf16> w_, x_, bias_, norm_;
  Both<float> old_;
  std::vector<float> all_, want_,
      scaled_;  // want_: the product's first m rows; scaled_: those over their rms
  HopperGemmParams p_;
  std::string what_;
  std::map<std::pair<std::string, int>, std::vector<float>> bits_;  // of row 0, by kind and splits
};

TEST(Kernels, HopperGemm) {
  NEEDS_GPU();
  std::mt19937 rng(6);
  std::set<HopperGemmTile> tiles;
  for (GemmOut kind : {GemmOut::rows, GemmOut::swiglu, GemmOut::logits})
    tiles.insert(hopper_gemm_tiles(kind).begin(), hopper_gemm_tiles(kind).end());
  const auto check = [&](int n, int k, const std::vector<int>& rows) {
    HopperGemm shape(rng, n, k);
    for (int m : rows)
      for (const HopperGemmTile& tile : tiles) {
        shape.check(rng, m, tile);
        if (testing::Test::HasFatalFailure()) return;
      }
  };
  for (const auto& [n, k] : {std::pair(1152, 896), std::pair(896, 200), std::pair(48, 72), std::pair(61, 64),
                             std::pair(160, 1000), std::pair(200, 3000)})
    check(n, k, {1, 16, 64, 65, 100, 128, 257, 300});
  check(20016, 136, {70, 300});  // more tiles than multiprocessors, fewer steps of k than tiles in the ring
}

TEST(Kernels, CublasProducts) {
  NEEDS_GPU();
  std::mt19937 rng(7);
  Gemm gemm(8 << 20);
  const int m = 70, n = 200, k = 136;
  Both<bf16> x(size_t{m * k}), w(size_t{n * k}), bias(size_t{n});
  Both<float> old(size_t{m * n});
  fill(x.host, rng), fill(w.host, rng), fill(bias.host, rng), fill(old.host, rng);
  const std::vector<float> plain = product(x.host, w.host, m, n, k);
  for (int what = 0; what < 4; ++what) {
    GemmParams p;
    p.x = x.up(), p.w = w.up(), p.m = m, p.n = n, p.k = k, p.stride = n;
    std::vector<float> want = plain;
    Both<bf16> y(size_t{m * n});
    Both<float> wide(size_t{m * n});
    p.y = y.device();
    if (what == 1 || what == 3) p.y = wide.device(), p.fp32 = true;
    if (what == 2) p.bias = bias.up();
    if (what == 3) p.add = true;
    for (int i = 0; i < m; ++i)
      for (int j = 0; j < n; ++j) {
        if (what == 2) want[size_t(i * n + j)] += number(bias.host[size_t(j)]);
        if (what == 3) want[size_t(i * n + j)] += old.host[size_t(i * n + j)];
      }
    gemm.prepare(p, nullptr);
    wide.host = old.host;
    wide.up();
    gemm.run(p, nullptr);
    if (p.fp32)
      EXPECT_LT(distance(wide.down(), want), kFp32) << what;
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
