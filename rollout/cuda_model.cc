#include "rollout/cuda_model.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "kernels/copy_pieces.h"
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
  int64_t table, cos_sin, rows, sampled_rows, tiles, index, x, squares, sampled_y, sampled_squares, qkv, q,
      gate_up, h, logits, attention_partial, attention_counters, pieces, last_token;
  Sizes(const ModelConfig& c, const CudaModelLimits& l) {
    const int64_t width = (c.num_heads + 2 * c.num_kv_heads) * c.head_dim, q_width = c.num_heads * c.head_dim;
    const int64_t n = l.rows, s = l.sampled;
    table = int64_t(l.slots) * (l.context / cuda::kPageTokens + 1) * 4;
    cos_sin = int64_t(l.context) * c.head_dim / 2 * 8;
    rows = n * int64_t(sizeof(cuda::Row)), sampled_rows = s * int64_t(sizeof(cuda::Row));
    tiles = n * int64_t(sizeof(cuda::PrefillTile)), index = s * 4;
    x = n * c.hidden_size * 2, squares = n * square_parts(c) * 4;
    sampled_y = s * c.hidden_size * 2, sampled_squares = s * square_parts(c) * 4;
    qkv = n * width * 2, q = n * q_width * 2;
    gate_up = n * 2 * c.intermediate_size * 2, h = n * c.intermediate_size * 2;
    logits = s * round_up(c.vocab_size, 4) * 4;
    attention_partial =
        cuda::decode_attention_scratch(l.decode_rows, c.num_heads, c.head_dim, splits_of(l.context)) * 4;
    attention_counters = int64_t(l.decode_rows) * c.num_kv_heads * 4;
    pieces = s * pieces_of(c.vocab_size) * int64_t(sizeof(cuda::SamplerPiece));
    last_token = int64_t(l.slots) * 4;
  }
  int64_t total() const {
    return table + cos_sin + rows + sampled_rows + tiles + index + 2 * x + squares + sampled_y +
           sampled_squares + qkv + 2 * q + gate_up + h + logits + attention_partial + attention_counters +
           pieces + last_token;
  }
};

// At most; what CudaModel::make_pieces makes.
int64_t copy_pieces_of(const ModelConfig& c) {
  int64_t count = 0;
  for (const TensorSpec& t : c.tensors(DType::bf16)) count += int64_t(t.bytes) / cuda::kCopyPiece + 1;
  return count + c.num_layers * 2 * (c.intermediate_size / 8);
}
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
}

int64_t CudaModel::page_bytes(const ModelConfig& c) {
  return c.num_layers * 2 * c.num_kv_heads * cuda::kPageTokens * c.head_dim * 2;
}

int64_t CudaModel::memory_needed(const ModelConfig& c, const CudaModelLimits& l) {
  return 2 * flat_bytes(c) + copy_pieces_of(c) * int64_t(sizeof(cuda::CopyPiece)) + (4 << 20) * 2 +
         Sizes(c, l).total() + int64_t(kWorkspace) + (1 << 20) * 40;
}

CudaModel::CudaModel(const ModelConfig& config, const CudaModelLimits& limits, int64_t pages)
    : config_(config), limits_(limits), gemm_(kWorkspace), pages_(pages) {
  int device = 0;
  CUDA_CHECK(cudaGetDevice(&device));
  CUDA_CHECK(cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, device));
  const ModelConfig& c = config_;
  qkv_width_ = (c.num_heads + 2 * c.num_kv_heads) * c.head_dim;
  logits_stride_ = round_up(c.vocab_size, 4);
  table_stride_ = limits.context / cuda::kPageTokens + 1;
  lay_out_weights();
  const Sizes s(c, limits);
  kv_ = {pages * page_bytes(c), "the KV cache"};
  table_ = {s.table, "the page table"}, cos_sin_ = {s.cos_sin, "rotary tables"};
  rows_ = {s.rows, "rows"}, sampled_rows_ = {s.sampled_rows, "rows"};
  tiles_ = {s.tiles, "tiles"}, index_ = {s.index, "rows"};
  x_ = {s.x, "activations"}, y_ = {s.x, "activations"}, sampled_y_ = {s.sampled_y, "activations"};
  squares_ = {s.squares, "activations"}, sampled_squares_ = {s.sampled_squares, "activations"};
  qkv_ = {s.qkv, "activations"}, q_ = {s.q, "activations"}, attention_ = {s.q, "activations"};
  gate_up_ = {s.gate_up, "activations"}, h_ = {s.h, "activations"};
  logits_ = {s.logits, "logits"}, attention_partial_ = {s.attention_partial, "partial sums"};
  attention_counters_ = {s.attention_counters, "counters"}, pieces_ = {s.pieces, "partial sums"};
  last_token_ = {s.last_token, "tokens"}, turn_ = {16, "counters"};
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

void CudaModel::lay_out_weights() {
  const ModelConfig& c = config_;
  staged_ = {flat_bytes(c), "the weights' second buffer"};
  int64_t at = 0;
  struct Place {
    int64_t offset;
    const bf16** pointer;
  };
  std::vector<Place> places;
  const std::vector<TensorSpec> specs = c.tensors(DType::bf16);
  size_t next = 0;
  // The next tensor of the flat layout, `blocks` runs of it `pitch` bytes apart from `to` on; the layout's order is this order.
  const auto put = [&](int64_t to, int64_t pitch = 0, int64_t blocks = 1) {
    const TensorSpec& t = specs.at(next++);
    copies_.push_back({int64_t(t.offset), to, int64_t(t.bytes) / blocks, pitch, blocks});
    return int64_t(t.bytes);
  };
  const auto place = [&](const bf16*& pointer, int64_t bytes) {
    places.push_back({at, &pointer});
    at = round_up(at + bytes, 256);
  };
  const auto plain = [&](const bf16*& pointer) { place(pointer, put(at)); };
  const auto joined = [&](const bf16*& pointer, int parts) {  // one after the other
    int64_t bytes = 0;
    for (int i = 0; i < parts; ++i) bytes += put(at + bytes);
    place(pointer, bytes);
  };
  const auto interleaved = [&](const bf16*& pointer) {  // eight rows of gate, eight of up
    const int64_t blocks = c.intermediate_size / 8;
    const int64_t run = int64_t(specs.at(next).bytes) / blocks;
    place(pointer, put(at, 2 * run, blocks) + put(at + run, 2 * run, blocks));
  };
  layers_.assign(size_t(c.num_layers), Layer{});
  plain(embedding_);
  for (Layer& l : layers_) {
    plain(l.input_norm);
    joined(l.qkv, 3);
    if (c.qkv_bias) joined(l.qkv_bias, 3);
    if (c.qk_norm) plain(l.q_norm), plain(l.k_norm);
    plain(l.o);
    if (c.o_bias) plain(l.o_bias);
    plain(l.post_norm);
    interleaved(l.gate_up);
    if (c.mlp_bias) interleaved(l.gate_up_bias);
    plain(l.down);
    if (c.mlp_bias) plain(l.down_bias);
  }
  plain(final_norm_);
  if (!c.tie_word_embeddings) plain(head_);
  if (next != specs.size()) throw std::logic_error("the weights' layout is not the one this file knows");
  active_ = {at, "the weights"};
  for (const Place& p : places)
    *p.pointer = reinterpret_cast<const bf16*>(active_.as<std::byte>() + p.offset);
  if (c.tie_word_embeddings) head_ = embedding_;
  make_pieces();
}

// The copies of take_staged as pieces for one launch; what does not lie on 16 bytes stays in copies_.
void CudaModel::make_pieces() {
  std::vector<cuda::CopyPiece> pieces;
  std::erase_if(copies_, [&](const PackedCopy& c) {
    if ((c.from | c.to | c.bytes | c.pitch) % 16 != 0) return false;
    for (int64_t block = 0; block < c.blocks; ++block)
      for (int64_t done = 0; done < c.bytes; done += cuda::kCopyPiece)
        pieces.push_back({c.from + block * c.bytes + done, c.to + block * c.pitch + done,
                          int32_t(std::min<int64_t>(cuda::kCopyPiece, c.bytes - done))});
    return true;
  });
  copy_count_ = int64_t(pieces.size());
  copy_pieces_ = {copy_count_ * int64_t(sizeof(cuda::CopyPiece)), "the weights' layout"};
  CUDA_CHECK(cudaMemcpy(copy_pieces_.as<void>(), pieces.data(), pieces.size() * sizeof(cuda::CopyPiece),
                        cudaMemcpyHostToDevice));
}

void CudaModel::take_staged(cudaStream_t stream) {
  cuda::copy_pieces(copy_pieces_.as<cuda::CopyPiece>(), copy_count_, staged(), active_.as<void>(), stream);
  for (const PackedCopy& c : copies_) {
    std::byte* to = active_.as<std::byte>() + c.to;
    const std::byte* from = staged() + c.from;
    if (c.blocks == 1)
      CUDA_CHECK(cudaMemcpyAsync(to, from, size_t(c.bytes), cudaMemcpyDeviceToDevice, stream));
    else
      CUDA_CHECK(cudaMemcpy2DAsync(to, size_t(c.pitch), from, size_t(c.bytes), size_t(c.bytes),
                                   size_t(c.blocks), cudaMemcpyDeviceToDevice, stream));
  }
}

void CudaModel::enqueue_attention(const CudaBatch& batch, size_t layer, cudaStream_t stream) {
  const ModelConfig& c = config_;
  const bool early = limits_.early_launch;
  cuda::KvPages kv;
  kv.base = kv_.as<bf16>() + int64_t(layer) * pages_ * (page_bytes(c) / 2 / c.num_layers);
  kv.table = table_.as<int32_t>(), kv.table_stride = table_stride_;
  kv.kv_heads = int32_t(c.num_kv_heads), kv.head_dim = int32_t(c.head_dim);
  const cuda::RopeParams rope{cos_sin_.as<float2>(), layers_[layer].q_norm, layers_[layer].k_norm,
                              float(c.rms_norm_eps)};
  const auto scale = float(1 / std::sqrt(double(c.head_dim)));
  const auto heads = int(c.num_heads);
  const cuda::QkvSource qkv{qkv_.as<bf16>(), int(qkv_width_)};
  const int chunk_rows = batch.rows - batch.decode_rows;
  if (chunk_rows > 0 && batch.tiles > 0) {
    cuda::QkvSource rest = qkv;
    rest.rows += batch.decode_rows * qkv_width_;
    cuda::rope_write({rows_.as<cuda::Row>() + batch.decode_rows, chunk_rows, rest, rope, heads, kv,
                      q_.as<bf16>() + batch.decode_rows * c.num_heads * c.head_dim},
                     stream, early);
    cuda::prefill_attention(
        {tiles_.as<cuda::PrefillTile>(), batch.tiles, q_.as<bf16>(), heads, kv, scale, attention_.as<bf16>()},
        stream, early);
  }
  if (batch.decode_rows > 0) {
    cuda::DecodeAttentionParams p;
    p.rows = rows_.as<cuda::Row>(), p.count = batch.decode_rows;
    p.qkv = qkv, p.rope = rope, p.heads = heads, p.kv = kv, p.scale = scale, p.out = attention_.as<bf16>();
    p.split_tokens = kSplitTokens, p.splits = batch.splits;
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

// Nothing to do where the products around it do it.
void CudaModel::normalise(const CudaBatch& batch, const bf16* weight, cudaStream_t stream) {
  if (fused(batch.rows)) return;
  cuda::RmsNormParams p;
  p.x = x_.as<bf16>(), p.y = y_.as<bf16>(), p.weight = weight;
  p.rows = batch.rows, p.hidden = int(config_.hidden_size), p.eps = float(config_.rms_norm_eps);
  cuda::rms_norm(p, stream, limits_.early_launch);
}

void CudaModel::enqueue_layer(const CudaBatch& batch, size_t layer, cudaStream_t stream) {
  const Layer& l = layers_[layer];
  normalise(batch, l.input_norm, stream);
  multiply(batch, kQkv, layer, choice(kQkv, batch.rows), stream);
  enqueue_attention(batch, layer, stream);
  multiply(batch, kOutput, layer, choice(kOutput, batch.rows), stream);
  normalise(batch, l.post_norm, stream);
  multiply(batch, kGateUp, layer, choice(kGateUp, batch.rows), stream);
  multiply(batch, kDown, layer, choice(kDown, batch.rows), stream);
}

void CudaModel::upload(const CudaBatch& batch, uint64_t turn, cudaStream_t stream) {
  const auto copy = [&](const DeviceMemory& to, const void* from, size_t bytes) {
    if (bytes > 0) CUDA_CHECK(cudaMemcpyAsync(to.as<void>(), from, bytes, cudaMemcpyHostToDevice, stream));
  };
  copy(tiles_, tiles(turn), size_t(batch.tiles) * sizeof(cuda::PrefillTile));
  copy(index_, sample_index(turn), size_t(batch.sampled) * sizeof(int32_t));
}

void CudaModel::enqueue(const CudaBatch& batch, cudaStream_t stream) {
  const bool early = limits_.early_launch;
  cuda::PrepareParams prepare;
  prepare.pinned = pinned_rows_, prepare.capacity = limits_.rows, prepare.rows = rows_.as<cuda::Row>();
  prepare.table = table_.as<int32_t>(), prepare.table_stride = table_stride_;
  prepare.last_token = last_token_.as<int32_t>(), prepare.turn = turn_.as<uint32_t>(),
  prepare.count = batch.rows;
  cuda::prepare_rows(prepare, stream);
  const bool fused_step = fused(batch.rows);
  cuda::EmbedParams first;
  first.rows = rows_.as<cuda::Row>(), first.count = batch.rows, first.hidden = int(config_.hidden_size);
  first.embedding = embedding_, first.x = x_.as<bf16>();
  if (fused_step)
    first.norm = layers_[0].input_norm, first.scaled = y_.as<bf16>(), first.squares = squares_.as<float>();
  cuda::embed(first, stream, early);
  for (size_t layer = 0; layer < layers_.size(); ++layer) enqueue_layer(batch, layer, stream);
  const cuda::GemmParams head = product(batch, kHead, 0);
  if (head.m == 0) return;
  normalise(batch, final_norm_, stream);
  if (!batch.all_sampled) {
    cuda::GatherParams p;
    p.index = index_.as<int32_t>(), p.count = batch.sampled, p.hidden = int(config_.hidden_size);
    p.from = y_.as<bf16>(), p.to = sampled_y_.as<bf16>();
    p.rows = rows_.as<cuda::Row>(), p.rows_to = sampled_rows_.as<cuda::Row>();
    if (fused_step) p.scale = scale_of(squares_, batch.rows), p.squares_to = sampled_squares_.as<float>();
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
