// The step's matrix products: each of our tiles and splits, the fastest of them printed, and cuBLASLt.
#include "kernels/gemm.h"
#include "kernels/hopper_gemm.h"
#include "tests/bench/kernels/bench.h"

namespace cohort::bench {
namespace {

void product(Clock& clock, bool each, const char* model, const char* name, int m, int n, int k,
             cuda::GemmOut kind) {
  const double weights = 2.0 * n * k;
  const int copies = copies_of(weights);
  Array<bf16> w(size_t(n) * size_t(k) * size_t(copies)), x(size_t(m) * size_t(k));
  fill_random(w, 0.05f), fill_random(x);
  const bool logits = kind == cuda::GemmOut::logits;
  Array<float> out(size_t(m) * size_t(n)), other(out.size()),
      squares(size_t(m) * size_t(n / 64 + k / 64 + 2));
  Array<bf16> norm{size_t(n)}, scaled(out.size());
  fill_random(norm);
  std::vector<cuda::Row> host(static_cast<size_t>(m));
  for (int i = 0; i < m; ++i) host[size_t(i)].slot = i, host[size_t(i)].sample = 1;
  Array<cuda::Row> rows(host);
  Array<cuda::SamplerPiece> pieces(logits ? size_t(m) * size_t(n / 64 + 1) : 1);
  cuda::HopperGemmParams p;
  p.x = x.get(), p.m = m, p.n = n, p.k = k, p.kind = kind, p.out = out.get(), p.stride = n;
  if (kind == cuda::GemmOut::residual)
    p.norm = norm.get(), p.scaled = scaled.get(), p.squares = squares.get();
  else
    p.scale = {squares.get(), k / 64, m, k, 1e-6f};
  if (logits) p.rows = rows.get(), p.pieces = pieces.get(), p.out = nullptr;  // as a step without truncation
  const double out_bytes = kind == cuda::GemmOut::swiglu ? 1
                           : kind == cuda::GemmOut::rows ? 4
                           : logits                      ? 0
                                                         : 10;  // an element
  Pair best;
  best.early.us = 1e30;
  std::string how;
  double best_bytes = 0;
  for (const cuda::HopperGemmTile& tile : cuda::hopper_gemm_tiles(kind)) {
    if (tile.inputs >= 2 * std::max(m, 64)) continue;
    for (int splits : cuda::hopper_gemm_split_choices(tile, kind, m, n, k, 132)) {
      const Pair t = time_both(clock, copies, [&](int i, bool early) {
        p.w = w.get() + size_t(i) * size_t(n) * size_t(k), p.splits = splits;
        cuda::hopper_gemm(p, tile, clock.stream, early);
      });
      const std::string what = fmt::format("{} by {}{}, {} splits", tile.weights, tile.inputs,
                                           tile.wide_inputs ? " wide" : "", splits);
      if (each)
        fmt::print("{} {}, {} rows: {} stages {}: {:.2f} / {:.2f}\n", model, name, m, what, tile.stages,
                   t.serial.us, t.early.us);
      if (t.early.us >= best.early.us) continue;
      best = t, how = what;
      best_bytes = weights + 2.0 * m * k + out_bytes * m * n;
    }
  }
  cuda::Gemm gemm;
  cuda::GemmParams g;
  g.x = x.get(), g.m = m, g.n = n, g.k = k, g.y = other.get(), g.stride = n, g.fp32 = logits;
  std::vector<const bf16*> cold;
  for (int i = 0; i < copies; ++i) cold.push_back(w.get() + size_t(i) * size_t(n) * size_t(k));
  g.w = cold[0];
  gemm.prepare(g, clock.stream, cold);
  const Time blas = clock.time(copies, [&](int i) {
    cuda::GemmParams one = g;
    one.w = cold[size_t(i)];
    gemm.run(one, clock.stream);
  });
  const double bytes = weights + 2.0 * m * k + (g.fp32 ? 4.0 : 2.0) * m * n, flops = 2.0 * m * n * double(k);
  fmt::print(
      "| {} {}, {} rows | {:.2f} / {:.2f} | {:.2f} | {:.0f} | {} | {:.2f} ({:.2f}–{:.2f}) | {:.2f} | {:.0f} "
      "|\n",
      model, name, m, best.serial.us, best.early.us, best_bytes / best.early.us * 1e-6,
      flops / best.early.us * 1e-6, how, blas.us, blas.low, blas.high, bytes / blas.us * 1e-6,
      flops / blas.us * 1e-6);
  std::fflush(stdout);
}

}  // namespace

void bench_products(Clock& clock, bool each) {
  fmt::print(
      "| product | ours, µs one after the other / overlapping | TB/s | TFLOP/s | tile | cuBLASLt, µs | TB/s "
      "| TFLOP/s |\n"
      "| --- | --- | --- | --- | --- | --- | --- | --- |\n");
  for (const Shape& s : kShapes)
    for (int m : {64, 256, 512}) {
      product(clock, each, s.name, "QKV", m, (s.heads + 2 * s.kv_heads) * s.head_dim, s.hidden,
              cuda::GemmOut::rows);
      product(clock, each, s.name, "output", m, s.hidden, s.heads * s.head_dim, cuda::GemmOut::residual);
      product(clock, each, s.name, "gate-up", m, 2 * s.intermediate, s.hidden, cuda::GemmOut::swiglu);
      product(clock, each, s.name, "down", m, s.hidden, s.intermediate, cuda::GemmOut::residual);
      product(clock, each, s.name, "LM head", m, kVocab, s.hidden, cuda::GemmOut::logits);
    }
}

}  // namespace cohort::bench
