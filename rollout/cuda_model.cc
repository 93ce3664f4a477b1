#include "rollout/cuda_model.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "kernels/cuda_check.h"
#include "kernels/decode_attention.h"
#include "kernels/rms_norm.h"
#include "kernels/rope.h"
#include "kernels/rows_kernels.h"
#include "kernels/sampler.h"
#include "kernels/swiglu.h"
#include "learner/folder/rope.h"
#include "transport/base/error.h"

namespace cohort {
namespace {

constexpr size_t kWorkspace = 64 << 20;

int64_t round_up(int64_t x, int64_t to) {
  return (x + to - 1) / to * to;
}
// At most; a product leaves one for 64 logits or more.
int64_t pieces_of(int64_t vocab) {
  return (vocab + 63) / 64;
}
int64_t square_parts(const ModelConfig& c) {
  return (c.hidden_size + 63) / 64;
}
// As a step has them, by powers of two.
int64_t splits_of(int64_t context) {
  const int64_t splits = (context + CudaModel::kSplitTokens - 1) / CudaModel::kSplitTokens;
  return int64_t(std::bit_ceil(uint64_t(splits)));
}
template <class T>
T* pinned(int64_t count) {
  void* p = nullptr;
  CUDA_CHECK(cudaHostAlloc(&p, size_t(count) * sizeof(T), cudaHostAllocMapped));
  std::memset(p, 0, size_t(count) * sizeof(T));
  return static_cast<T*>(p);
}

// Sizes in bytes of everything but weights and pages; one place, so that what is asked for is what is allocated.
struct Sizes {
  int64_t table, cos_sin, rows, sampled_rows, tiles, index, x, y, squares, sampled_y, sampled_squares, qkv, q,
      gate_up, h, logits, attention_partial, attention_counters, pieces, last_token, trial_rows, trial_table;
  Sizes(const ModelConfig& c, const CudaModelLimits& l) {
    const int64_t width = (c.num_heads + 2 * c.num_kv_heads) * c.head_dim, q_width = c.num_heads * c.head_dim;
    const int64_t n = l.rows, s = l.sampled;
    table = int64_t(l.slots) * (l.context / cuda::kPageTokens + 1) * 4;
    cos_sin = int64_t(l.context) * c.head_dim / 2 * 8;
    rows = n * int64_t(sizeof(cuda::Row)), sampled_rows = s * int64_t(sizeof(cuda::Row));
    tiles = n * int64_t(sizeof(cuda::PrefillTile)), index = s * 4;
    x = n * c.hidden_size * 4, y = n * c.hidden_size * 2, squares = n * square_parts(c) * 4;
    sampled_y = s * c.hidden_size * 2, sampled_squares = s * square_parts(c) * 4;
    qkv = n * width * 4, q = n * q_width * 2;
    gate_up = n * 2 * c.intermediate_size * 2, h = n * c.intermediate_size * 2;
    logits = s * round_up(c.vocab_size, 4) * 4;
    attention_partial =
        cuda::decode_attention_scratch(l.decode_rows, c.num_heads, c.head_dim, splits_of(l.context)) * 4;
    attention_counters = int64_t(l.decode_rows) * c.num_kv_heads * 4;
    pieces = s * pieces_of(c.vocab_size) * int64_t(sizeof(cuda::SamplerPiece));
    last_token = int64_t(l.slots) * 4;
    trial_rows = int64_t(l.decode_rows) * int64_t(sizeof(cuda::Row));
    trial_table = int64_t(l.decode_rows) * (l.context / cuda::kPageTokens + 1) * 4;
  }
  int64_t total() const {
    return table + cos_sin + rows + sampled_rows + tiles + index + x + y + squares + sampled_y +
           sampled_squares + qkv + 2 * q + gate_up + h + logits + attention_partial + attention_counters +
           pieces + last_token + trial_rows + trial_table;
  }
};

int64_t flat_bytes(const ModelConfig& c) {
  const TensorSpec last = c.tensors(DType::bf16).back();
  return round_up(int64_t(last.offset + last.bytes), 64);
}

}  // namespace

DeviceMemory::DeviceMemory(int64_t bytes, const char* what) : bytes_(std::max<int64_t>(bytes, 16)) {
  const cudaError_t code = cudaMalloc(&data_, size_t(bytes_));
  if (code == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    size_t free = 0, total = 0;
    CUDA_CHECK(cudaMemGetInfo(&free, &total));
    fail("not enough GPU memory for {}: it needs {:.2f} GiB, {:.2f} of {:.2f} GiB are free", what,
         double(bytes_) / (1 << 30), double(free) / (1 << 30), double(total) / (1 << 30));
  }
  CUDA_CHECK(code);
  CUDA_CHECK(cudaMemset(data_, 0, size_t(bytes_)));
}
DeviceMemory::~DeviceMemory() {
  if (data_) cudaFree(data_);
}
DeviceMemory::DeviceMemory(DeviceMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
DeviceMemory& DeviceMemory::operator=(DeviceMemory&& other) noexcept {
  std::swap(data_, other.data_), std::swap(bytes_, other.bytes_);
  return *this;
}

void CudaModel::check(const ModelConfig& c) {
  if (!cuda::decode_attention_supports(c.num_heads, c.num_kv_heads, c.head_dim))
    fail(
        "the CUDA kernels have head_dim 32, 64 or 128 and at most 16 query heads a kv head; this model has "
        "head_dim {} and "
        "{}: use device = \"cpu\"",
        c.head_dim, c.num_heads / c.num_kv_heads);
  if (c.hidden_size % 8 != 0 || c.intermediate_size % 8 != 0 || c.hidden_size > 16384)
    fail(
        "the CUDA kernels need hidden_size and intermediate_size to be multiples of 8 (and at most 16384); "
        "this model has {} "
        "and {}: use device = \"cpu\"",
        c.hidden_size, c.intermediate_size);
  if (c.mlp_bias && c.intermediate_size % 32 != 0)
    fail(
        "the CUDA kernels need intermediate_size to be a multiple of 32 where the MLP has biases; this model "
        "has "
        "{}: use device = \"cpu\"",
        c.intermediate_size);
}

int64_t CudaModel::page_bytes(const ModelConfig& c) {
  return c.num_layers * 2 * c.num_kv_heads * cuda::kPageTokens * c.head_dim * 2;
}

int64_t CudaModel::memory_needed(const ModelConfig& c, const CudaModelLimits& l) {
  return 2 * flat_bytes(c) + page_bytes(c) + (4 << 20) * 2 + Sizes(c, l).total() + int64_t(kWorkspace) +
         (1 << 20) * 40;
}

CudaModel::CudaModel(const ModelConfig& config, const CudaModelLimits& limits, int64_t pages)
    : config_(config), limits_(limits), gemm_(kWorkspace), pages_(pages + 1) {
  int device = 0;
  CUDA_CHECK(cudaGetDevice(&device));
  CUDA_CHECK(cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, device));
  const ModelConfig& c = config_;
  qkv_width_ = (c.num_heads + 2 * c.num_kv_heads) * c.head_dim;
  logits_stride_ = round_up(c.vocab_size, 4);
  table_stride_ = limits.context / cuda::kPageTokens + 1;
  for (int i = 0; i < 2; ++i) {
    buffers_[i] = {flat_bytes(c), i == 0 ? "the weights" : "the weights' second buffer"};
    weights_[i] = lay_out(buffers_[i].as<std::byte>());
  }
  const Sizes s(c, limits);
  kv_ = {pages_ * page_bytes(c), "the KV cache"};
  table_ = {s.table, "the page table"}, cos_sin_ = {s.cos_sin, "rotary tables"};
  rows_ = {s.rows, "rows"}, sampled_rows_ = {s.sampled_rows, "rows"};
  tiles_ = {s.tiles, "tiles"}, index_ = {s.index, "rows"};
  x_ = {s.x, "activations"}, y_ = {s.y, "activations"}, sampled_y_ = {s.sampled_y, "activations"};
  squares_ = {s.squares, "activations"}, sampled_squares_ = {s.sampled_squares, "activations"};
  qkv_ = {s.qkv, "activations"}, q_ = {s.q, "activations"}, attention_ = {s.q, "activations"};
  gate_up_ = {s.gate_up, "activations"}, h_ = {s.h, "activations"};
  logits_ = {s.logits, "logits"}, attention_partial_ = {s.attention_partial, "partial sums"};
  attention_counters_ = {s.attention_counters, "counters"}, pieces_ = {s.pieces, "partial sums"};
  last_token_ = {s.last_token, "tokens"}, turn_ = {16, "counters"};
  trial_rows_ = {s.trial_rows, "rows"}, trial_table_ = {s.trial_table, "the page table"};
  pinned_rows_ = pinned<cuda::Row>(2 * int64_t(limits.rows));
  pinned_results_ = pinned<cuda::SampledToken>(2 * int64_t(limits.sampled));
  pinned_tiles_ = pinned<cuda::PrefillTile>(2 * int64_t(limits.rows));
  pinned_index_ = pinned<int32_t>(2 * int64_t(limits.sampled));

  const std::vector<float> frequencies = rope_inverse_frequencies(c);
  const auto factor = float(rope_attention_factor(c));
  std::vector<float2> turns;
  for (int32_t position = 0; position < limits.context; ++position)
    for (float f : frequencies) {
      const float angle = float(position) * f;  // in float32, as transformers has it
      turns.push_back({std::cos(angle) * factor, std::sin(angle) * factor});
    }
  CUDA_CHECK(
      cudaMemcpy(cos_sin_.as<void>(), turns.data(), turns.size() * sizeof(float2), cudaMemcpyHostToDevice));
}

CudaModel::~CudaModel() {
  cudaFreeHost(pinned_rows_), cudaFreeHost(pinned_results_), cudaFreeHost(pinned_tiles_),
      cudaFreeHost(pinned_index_);
}

CudaModel::Weights CudaModel::lay_out(const std::byte* buffer) const {
  const ModelConfig& c = config_;
  const std::vector<TensorSpec> specs = c.tensors(DType::bf16);
  size_t next = 0;
  // The next `parts` tensors, which are one after the other without a gap: check() sees to it.
  const auto joined = [&](int parts) {
    const TensorSpec& first = specs.at(next++);
    for (uint64_t end = first.offset + first.bytes; --parts > 0; end += specs.at(next++).bytes)
      if (specs.at(next).offset != end)
        throw std::logic_error(specs.at(next).name + " is not where its matrix goes on");
    return reinterpret_cast<const bf16*>(buffer + first.offset);
  };
  Weights w;
  w.embedding = joined(1);
  w.layers.resize(size_t(c.num_layers));
  for (Layer& l : w.layers) {
    l.input_norm = joined(1);
    l.qkv = joined(3);
    if (c.qkv_bias) l.qkv_bias = joined(3);
    if (c.qk_norm) l.q_norm = joined(1), l.k_norm = joined(1);
    l.o = joined(1);
    if (c.o_bias) l.o_bias = joined(1);
    l.post_norm = joined(1);
    l.gate_up = joined(2);
    if (c.mlp_bias) l.gate_up_bias = joined(2);
    l.down = joined(1);
    if (c.mlp_bias) l.down_bias = joined(1);
  }
  w.final_norm = joined(1);
  w.head = c.tie_word_embeddings ? w.embedding : joined(1);
  if (next != specs.size()) throw std::logic_error("the weights' layout is not the one this file knows");
  return w;
}

void CudaModel::enqueue_attention(const CudaBatch& batch, size_t layer, cudaStream_t stream) {
  const ModelConfig& c = config_;
  const bool early = limits_.early_launch;
  cuda::KvPages kv;
  kv.base = kv_.as<bf16>() + int64_t(layer) * pages_ * (page_bytes(c) / 2 / c.num_layers);
  kv.table = table_.as<int32_t>(), kv.table_stride = table_stride_;
  kv.kv_heads = int32_t(c.num_kv_heads), kv.head_dim = int32_t(c.head_dim);
  const cuda::RopeParams rope{cos_sin_.as<float2>(), weights().layers[layer].q_norm,
                              weights().layers[layer].k_norm, float(c.rms_norm_eps)};
  const auto scale = float(1 / std::sqrt(double(c.head_dim)));
  const auto heads = int(c.num_heads);
  const cuda::QkvSource qkv{qkv_.as<float>(), int(qkv_width_), weights().layers[layer].qkv_bias};
  const int chunk_rows = batch.rows - batch.decode_rows;
  if (chunk_rows > 0 && batch.tiles > 0) {
    cuda::QkvSource rest = qkv;
    rest.rows += batch.decode_rows * qkv_width_;
    cuda::rope_write({rows_.as<cuda::Row>() + batch.decode_rows, chunk_rows, rest, rope, heads, kv,
                      q_.as<bf16>() + batch.decode_rows * c.num_heads * c.head_dim},
                     stream, early);
    cuda::prefill_attention({tiles_.as<cuda::PrefillTile>(), batch.tiles, q_.as<bf16>(), heads, kv, scale,
                             attention_.as<bf16>(), multiprocessors_},
                            stream, early);
  }
  if (batch.decode_rows > 0) {
    cuda::DecodeAttentionParams p;
    p.rows = rows_.as<cuda::Row>(), p.count = batch.decode_rows;
    p.qkv = qkv, p.rope = rope, p.heads = heads, p.kv = kv, p.scale = scale, p.out = attention_.as<bf16>();
    p.split_tokens = kSplitTokens, p.splits = batch.splits, p.same_bits = limits_.batch_invariant;
    if (cuda::decode_attention_scratch(p.count, heads, c.head_dim, p.splits) * 4 > attention_partial_.bytes())
      throw std::logic_error("a step with more context splits than there is room for");
    p.partial = attention_partial_.as<float>(), p.counters = attention_counters_.as<int32_t>();
    cuda::decode_attention(p, stream, early);
  }
}

cuda::RowScale CudaModel::scale_of(const DeviceMemory& squares, int64_t rows) const {
  return {squares.as<float>(), int(square_parts(config_)), int(rows), int(config_.hidden_size),
          float(config_.rms_norm_eps)};
}

void CudaModel::multiply(const CudaBatch& batch, int which, size_t layer, const Choice& c,
                         cudaStream_t stream) {
  const bool early = limits_.early_launch;
  if (c.hopper) return cuda::hopper_gemm(hopper(batch, which, layer, c), c.tile, stream, early);
  gemm_.run(product(batch, which, layer), stream);
  if (which == kGateUp)
    cuda::swiglu(gate_up_.as<bf16>(), fused(batch.rows) ? scale_of(squares_, batch.rows) : cuda::RowScale{},
                 batch.rows, int(config_.intermediate_size), h_.as<bf16>(), stream, early);
}

// Of what a product whose bias was `bias` left. Nothing to do where the products around it do it.
void CudaModel::normalise(const CudaBatch& batch, const bf16* bias, const bf16* weight, cudaStream_t stream) {
  if (fused(batch.rows)) return;
  cuda::RmsNormParams p;
  p.x = x_.as<float>(), p.y = y_.as<bf16>(), p.bias = bias, p.weight = weight;
  p.rows = batch.rows, p.hidden = int(config_.hidden_size), p.eps = float(config_.rms_norm_eps);
  cuda::rms_norm(p, stream, limits_.early_launch);
}

void CudaModel::enqueue_layer(const CudaBatch& batch, size_t layer, cudaStream_t stream) {
  const Layer& l = weights().layers[layer];
  normalise(batch, layer > 0 ? weights().layers[layer - 1].down_bias : nullptr, l.input_norm, stream);
  multiply(batch, kQkv, layer, choice(kQkv, batch.rows), stream);
  enqueue_attention(batch, layer, stream);
  multiply(batch, kOutput, layer, choice(kOutput, batch.rows), stream);
  normalise(batch, l.o_bias, l.post_norm, stream);
  multiply(batch, kGateUp, layer, choice(kGateUp, batch.rows), stream);
  multiply(batch, kDown, layer, choice(kDown, batch.rows), stream);
}

void CudaModel::upload(const CudaBatch& batch, uint64_t turn, cudaStream_t stream) {
  const auto copy = [&](const DeviceMemory& to, const void* from, size_t bytes) {
    if (bytes > 0) CUDA_CHECK(cudaMemcpyAsync(to.as<void>(), from, bytes, cudaMemcpyHostToDevice, stream));
  };
  cuda::most_keys_first(tiles(turn), batch.tiles, int(config_.num_heads / config_.num_kv_heads));
  copy(tiles_, tiles(turn), size_t(batch.tiles) * sizeof(cuda::PrefillTile));
  copy(index_, sample_index(turn), size_t(batch.sampled) * sizeof(int32_t));
}

void CudaModel::enqueue_embedding(const CudaBatch& batch, cudaStream_t stream) {
  cuda::EmbedParams first;
  first.rows = rows_.as<cuda::Row>(), first.count = batch.rows, first.hidden = int(config_.hidden_size);
  first.embedding = weights().embedding, first.x = x_.as<float>();
  if (fused(batch.rows))
    first.norm = weights().layers[0].input_norm, first.scaled = y_.as<bf16>(),
    first.squares = squares_.as<float>();
  cuda::embed(first, stream, limits_.early_launch);
}

void CudaModel::enqueue(const CudaBatch& batch, cudaStream_t stream) {
  const bool early = limits_.early_launch;
  cuda::PrepareParams prepare;
  prepare.pinned = pinned_rows_, prepare.capacity = limits_.rows, prepare.rows = rows_.as<cuda::Row>();
  prepare.table = table_.as<int32_t>(), prepare.table_stride = table_stride_;
  prepare.last_token = last_token_.as<int32_t>(), prepare.turn = turn_.as<uint32_t>(),
  prepare.count = batch.rows;
  cuda::prepare_rows(prepare, stream);
  enqueue_embedding(batch, stream);
  for (size_t layer = 0; layer < weights().layers.size(); ++layer) enqueue_layer(batch, layer, stream);
  const cuda::GemmParams head = product(batch, kHead, 0);
  if (head.m == 0) return;
  normalise(batch, weights().layers.back().down_bias, weights().final_norm, stream);
  if (!batch.all_sampled) {
    cuda::GatherParams p;
    p.index = index_.as<int32_t>(), p.count = batch.sampled, p.hidden = int(config_.hidden_size);
    p.from = y_.as<bf16>(), p.to = sampled_y_.as<bf16>();
    p.rows = rows_.as<cuda::Row>(), p.rows_to = sampled_rows_.as<cuda::Row>();
    if (fused(batch.rows))
      p.scale = scale_of(squares_, batch.rows), p.squares_to = sampled_squares_.as<float>();
    cuda::gather_rows(p, stream, early);
  }
  sample(batch, head, stream);
}

void CudaModel::sample(const CudaBatch& batch, const cuda::GemmParams& head, cudaStream_t stream) {
  const bool early = limits_.early_launch;
  cuda::SamplerParams s;
  s.logits = logits_.as<float>(), s.count = int(head.m), s.vocab = config_.vocab_size,
  s.stride = logits_stride_;
  s.rows = batch.all_sampled ? rows_.as<cuda::Row>() : sampled_rows_.as<cuda::Row>();
  s.pieces = pieces_.as<cuda::SamplerPiece>();
  s.truncation = batch.truncation, s.last_token = last_token_.as<int32_t>();
  s.results = pinned_results_, s.capacity = limits_.sampled, s.turn = turn_.as<uint32_t>();
  if (const Choice c = choice(kHead, head.m); c.hopper) {
    const cuda::HopperGemmParams p = hopper(batch, kHead, 0, c);
    cuda::hopper_gemm(p, c.tile, stream, early);
    s.piece = c.tile.piece();
    if (!p.out) s.logits = nullptr, s.product = {p.x, p.w, p.k, p.scale};
  } else {
    gemm_.run(head, stream);
    cuda::sampler_pieces(s, stream, early);
  }
  cuda::sample_rows(s, stream, early);
}

void CudaModel::share_slot(int32_t from, int32_t to, int32_t whole, int32_t copy_from, int32_t copy_to,
                           cudaStream_t stream) {
  cuda::ShareSlotParams p;
  p.base = kv_.as<bf16>(), p.layers = int(config_.num_layers);
  p.page_elements = page_bytes(config_) / 2 / config_.num_layers, p.layer_stride = pages_ * p.page_elements;
  p.table = table_.as<int32_t>(), p.table_stride = table_stride_;
  p.from = from, p.to = to, p.whole = whole, p.copy_from = copy_from, p.copy_to = copy_to;
  cuda::share_slot(p, stream);
}

}  // namespace cohort
