// Decode and prefill attention beside FlashInfer's, over the same pages.
#include <numeric>
#include <random>

#include "kernels/decode_attention.h"
#include "kernels/prefill_attention.h"
#include "tests/bench/kernels/bench.h"
#include "tests/bench/kernels/flashinfer.h"

namespace cohort::bench {
namespace {

constexpr int kSplit = 1024;  // CudaModel's

// `layers` caches whose sequences lie in scattered pages, the same in each layer.
struct Cache {
  Cache(const Shape& s, const std::vector<int32_t>& lengths, int layers)
      : shape(s), stride((*std::max_element(lengths.begin(), lengths.end()) + 15) / 16) {
    std::vector<int32_t> table(lengths.size() * size_t(stride));
    int32_t count = 0;
    for (int32_t l : lengths) count += (l + 15) / 16;
    std::vector<int32_t> order(static_cast<size_t>(count));
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), std::mt19937(1));
    size_t next = 0;
    for (size_t i = 0; i < lengths.size(); ++i)
      for (int32_t p = 0; p < (lengths[i] + 15) / 16; ++p) {
        table[i * size_t(stride) + size_t(p)] = order[next];
        pages.push_back(order[next++]);
      }
    device_table = std::make_unique<Array<int32_t>>(table);
    layer_elements = size_t(count) * size_t(2 * s.kv_heads * 16 * s.head_dim);
    data = std::make_unique<Array<bf16>>(layer_elements * size_t(layers));
    fill_random(*data);
  }
  bf16* layer(int i) const { return data->get() + layer_elements * size_t(i); }
  cuda::KvPages pages_of(int i) const {
    return {layer(i), device_table->get(), stride, shape.kv_heads, shape.head_dim};
  }
  Shape shape;
  int64_t stride;
  std::vector<int32_t> pages;
  size_t layer_elements = 0;
  std::unique_ptr<Array<int32_t>> device_table;
  std::unique_ptr<Array<bf16>> data;
};

// A rotation by nothing, so that queries are the same for both.
std::vector<float2> no_turns(int positions, int head_dim) {
  return std::vector<float2>(size_t(positions) * size_t(head_dim) / 2, float2{1, 0});
}

void decode(Clock& clock, const Shape& s, int batch, int context) {
  const double bytes = 2.0 * 2 * s.kv_heads * s.head_dim * double(context) * batch;
  const int layers = copies_of(bytes), width = (s.heads + 2 * s.kv_heads) * s.head_dim;
  const std::vector<int32_t> lengths(size_t(batch), context);
  Cache cache(s, lengths, layers);
  std::vector<cuda::Row> rows(static_cast<size_t>(batch));
  for (int i = 0; i < batch; ++i) rows[size_t(i)].slot = i, rows[size_t(i)].position = context - 1;
  Array<cuda::Row> device_rows(rows);
  Array<float2> turns(no_turns(context, s.head_dim));
  Array<float> qkv(size_t(batch) * size_t(width));
  Array<bf16> rounded(qkv.size()), q(size_t(batch) * size_t(s.heads * s.head_dim)), out(q.size()),
      peer_out(q.size());
  fill_random(rounded);
  widen(rounded, qkv);
  const size_t row_bytes = size_t(s.heads * s.head_dim) * 2;
  CUDA_CHECK(cudaMemcpy2D(q.get(), row_bytes, rounded.get(), size_t(width) * 2, row_bytes, size_t(batch),
                          cudaMemcpyDeviceToDevice));
  int splits = 1;
  while (splits * kSplit < context) splits *= 2;
  Array<float> partial(size_t(cuda::decode_attention_scratch(batch, s.heads, s.head_dim, splits)));
  Array<int32_t> counters(size_t(batch * s.kv_heads));
  const auto ours = [&](int i, bool early) {
    cuda::DecodeAttentionParams p;
    p.rows = device_rows.get(), p.count = batch, p.heads = s.heads, p.kv = cache.pages_of(i);
    p.qkv.rows = qkv.get(), p.qkv.width = width;
    p.rope.cos_sin = turns.get(), p.scale = 1 / std::sqrt(float(s.head_dim)), p.out = out.get();
    p.split_tokens = kSplit, p.splits = splits, p.partial = partial.get(), p.counters = counters.get();
    cuda::decode_attention(p, clock.stream, early);
  };
  const Pair mine = time_both(clock, layers, ours);
  const std::string shape = fmt::format("{}, {} × {}", s.name, batch, context);
#ifdef COHORT_WITH_FLASHINFER
  ours(0, false);
  const std::vector<bf16> want = (CUDA_CHECK(cudaStreamSynchronize(clock.stream)), out.down());
  const auto peer = peer_attention(
      {std::vector<int32_t>(size_t(batch), 1), lengths, cache.pages, s.heads, s.kv_heads, s.head_dim},
      clock.stream);
  const auto theirs = [&](int i, bool early) {
    peer->run(q.get(), cache.layer(i), peer_out.get(), early, clock.stream);
  };
  const Pair other = time_both(clock, layers, theirs);
  theirs(0, false);
  CUDA_CHECK(cudaStreamSynchronize(clock.stream));
  print_row("decode attention", shape, bytes, false, mine, "FA2", &other, distance(want, peer_out.down()));
#else
  print_row("decode attention", shape, bytes, false, mine);
#endif
}

void prefill(Clock& clock, const Shape& s, int sequences, int tokens, int past) {
  const std::vector<int32_t> lengths(size_t(sequences), past + tokens);
  const int layers = 2, total = sequences * tokens, group = s.heads / s.kv_heads;
  Cache cache(s, lengths, layers);
  std::vector<cuda::PrefillTile> tiles;
  for (int i = 0; i < sequences; ++i)
    for (int first = 0; first < tokens * group; first += cuda::kPrefillTileRows)
      tiles.push_back({i, i * tokens, tokens, past, first});
  cuda::most_keys_first(tiles.data(), int(tiles.size()), group);
  Array<cuda::PrefillTile> device_tiles(tiles);
  Array<bf16> q(size_t(total) * size_t(s.heads * s.head_dim)), out(q.size()), peer_out(q.size());
  fill_random(q);
  const double pairs = sequences * (double(tokens) * past + double(tokens) * (tokens + 1) / 2);
  const double flops = 4.0 * s.heads * s.head_dim * pairs;
  const auto ours = [&](int i, bool early) {
    cuda::prefill_attention({device_tiles.get(), int(tiles.size()), q.get(), s.heads,
                             cache.pages_of(i % layers), 1 / std::sqrt(float(s.head_dim)), out.get()},
                            clock.stream, early);
  };
  const int launches = 6;
  const Pair mine = time_both(clock, launches, ours);
  const std::string shape = past ? fmt::format("{}, {} × {} after {}", s.name, sequences, tokens, past)
                                 : fmt::format("{}, {} × {}", s.name, sequences, tokens);
#ifdef COHORT_WITH_FLASHINFER
  ours(0, false);
  const std::vector<bf16> want = (CUDA_CHECK(cudaStreamSynchronize(clock.stream)), out.down());
  const PeerBatch batch{
      std::vector<int32_t>(size_t(sequences), tokens), lengths, cache.pages, s.heads, s.kv_heads, s.head_dim};
  for (bool hopper : {false, true}) {
    const auto peer =
        hopper ? peer_hopper_attention(batch, clock.stream) : peer_attention(batch, clock.stream);
    const auto theirs = [&](int i, bool early) {
      peer->run(q.get(), cache.layer(i % layers), peer_out.get(), early, clock.stream);
    };
    const Pair other = time_both(clock, launches, theirs);
    theirs(0, false);
    CUDA_CHECK(cudaStreamSynchronize(clock.stream));
    print_row("prefill attention", shape, flops, true, mine, hopper ? "FA3" : "FA2", &other,
              distance(want, peer_out.down()));
  }
#else
  print_row("prefill attention", shape, flops, true, mine);
#endif
}

}  // namespace

void bench_decode_attention(Clock& clock) {
  for (const Shape& s : kShapes) {
    for (int batch : {64, 256, 512}) decode(clock, s, batch, 256);
    decode(clock, s, 64, 1024);
    decode(clock, s, 256, 1024);
    decode(clock, s, 64, 2048);
    decode(clock, s, 16, 32768);
    decode(clock, s, 2, 32768);
  }
}

void bench_prefill_attention(Clock& clock) {
  for (const Shape& s : kShapes) {
    for (int tokens : {128, 512, 2048, 4096}) prefill(clock, s, 1, tokens, 0);
    prefill(clock, s, 64, 128, 0);
    prefill(clock, s, 8, 1024, 0);
    prefill(clock, s, 1, 4096, 28672);
  }
}

}  // namespace cohort::bench
