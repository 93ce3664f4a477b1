// ModelRunner on own CUDA kernels: slots, pages, steps and weight buffers. The arithmetic is cuda_model.cc's.
//
//   begin_step: rows -> pinned memory (by turns of two) -> a CUDA graph of the whole step, from reading those rows to the
//   sampled tokens in pinned memory -> an event;  end_step: waits for the oldest event, reads the tokens.
//
// A sampled token stays on the GPU for the next step (`continue_last`), so a step can be queued before the one before it is
// known: the GPU goes from one graph to the next without waiting for the CPU. All of it is one stream, so pages given back
// by a slot can be handed out at once: whoever gets them writes them later in stream order.
//
// A step of single tokens only runs as a graph for the next larger number of rows in kBuckets; steps with prompt chunks are
// launched kernel by kernel, their time is in the kernels.
//
// Weights: there are two buffers. stage_weights() fills the one that no step reads, on a stream of its own; from swap_weights()
// on, which costs nothing, steps read that one. A graph belongs to one of the two.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <utility>

#include "kernels/cuda_check.h"
#include "kernels/decode_attention.h"
#include "kernels/open_device.h"
#include "kernels/rows_kernels.h"
#include "rollout/cuda_model.h"
#include "rollout/model_runner.h"
#include "rollout/page_pool.h"
#include "rollout/weight_share.h"
#include "transport/base/error.h"
#include "transport/nccl.h"

namespace cohort {
namespace {

constexpr int32_t kMinSampled = 256;  // rows of logits, for score()

// Rows a step is padded to.
int32_t bucket_of(int32_t rows) {
  if (rows <= 8) return rows <= 1 ? 1 : rows <= 2 ? 2 : rows <= 4 ? 4 : 8;
  if (rows <= 128) return (rows + 15) / 16 * 16;
  if (rows <= 512) return (rows + 63) / 64 * 64;
  return (rows + 255) / 256 * 256;
}

class CudaRunner : public ModelRunner {
 public:
  CudaRunner(const ModelConfig& config, const RunnerOptions& options)
      : config_(config),
        options_(options),
        device_(cuda::open_device(options.device, fmt::format("device \"{}\"", options.device),
                                  cuda::Sharing::shared)) {
    if (options.max_slots < 1 || options.max_context < 1)
      fail_usage("a runner needs at least one slot and one token of context");
    if (options.dtype != "bfloat16")
      fail_usage("device \"{}\" computes in bfloat16: dtype = \"{}\" is not possible there", options.device,
                 options.dtype);
    CudaModel::check(config);
    CudaModelLimits limits;
    limits.decode_rows = bucket_of(options.max_slots);
    limits.rows = bucket_of(options.max_slots + std::max(1, options.max_step_tokens));
    limits.sampled = std::max(limits.decode_rows, kMinSampled);
    limits.slots = options.max_slots + CudaRunner::prompt_slots() + 1;  // one for score()
    limits.context = options.max_context;
    if (options.hopper_gemm_rows >= 0) limits.hopper_rows = options.hopper_gemm_rows;
    limits.early_launch = options.early_launch;
    limits.batch_invariant = options.batch_invariant;
    if (options.batch_invariant) {
      if (config.mlp_bias) fail("batch_invariant is not possible for a model with biases in its MLP");
      limits.hopper_rows = limits.rows;
    }
    const int64_t pages = pages_that_fit(limits);
    pool_.emplace(int32_t(pages), limits.slots, cuda::kPageTokens);
    model_.emplace(config, limits, pages);
    CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    CUDA_CHECK(cudaStreamCreateWithFlags(&side_stream_, cudaStreamNonBlocking));
    for (cudaEvent_t* e : {&done_[0], &done_[1], &staged_, &taken_})
      CUDA_CHECK(cudaEventCreateWithFlags(e, cudaEventDisableTiming));
    CUDA_CHECK(cudaDeviceSynchronize());  // the buffers' zeros, made on another stream
    share_device_ = cuda::share_device(device_);
  }
  ~CudaRunner() override {
    cudaSetDevice(device_);
    cudaStreamSynchronize(stream_);
    cudaStreamSynchronize(side_stream_);
    for (auto& [key, graph] : graphs_) cudaGraphExecDestroy(graph.runnable);
    for (cudaEvent_t e : {done_[0], done_[1], staged_, taken_}) cudaEventDestroy(e);
    cudaStreamDestroy(stream_);
    cudaStreamDestroy(side_stream_);
  }

  const ModelConfig& config() const override { return config_; }
  int32_t max_slots() const override { return options_.max_slots; }
  int32_t prompt_slots() const override { return std::max(1, options_.max_slots / 16); }
  int32_t max_context() const override { return options_.max_context; }
  Version version() const override { return version_; }
  int32_t slot_length(int32_t slot) const override { return pool_->length(slot); }
  void reset_slot(int32_t slot) override { pool_->release(slot); }
  bool reserve(int32_t slot, int32_t tokens) override { return pool_->reserve(slot, tokens); }

  bool copy_slot(int32_t from, int32_t to) override {
    if (from == to) return true;
    pool_->release(to);
    const auto copy = pool_->share(from, to);
    if (!copy) return false;
    on_device();
    model_->share_slot(from, to, copy->whole, copy->from, copy->to, stream_);
    return true;
  }

  bool overlaps() const override { return true; }
  void begin_step(std::span<const SequenceStep> steps) override;
  void end_step(std::span<Sampled> out) override;
  void step(std::span<const SequenceStep> steps, std::span<Sampled> out) override {
    if (steps.empty()) return;
    begin_step(steps);
    end_step(out);
  }
  std::vector<float> score(std::span<const int32_t> tokens) override;

  void stage_weights(std::shared_ptr<const WeightSet> weights) override;
  bool swap_weights() override;
  std::string share_device() const override { return share_device_; }
  bool stage_share(const WeightManifest& manifest, const DeviceShare& share) override;
  std::unique_ptr<Broadcaster> broadcaster() const override {
    return make_nccl_broadcaster(device_, "rollout.weight_transport");
  }
  void* open_stage(const WeightManifest& manifest) override;
  bool close_stage(const WeightManifest& manifest, uint64_t checksum) override;

 private:
  struct Begun {
    uint64_t turn = 0;
    size_t steps = 0;
    std::vector<std::pair<size_t, size_t>> sampled;  // step, place in the results
  };

  bool fits_as_it_is(const WeightManifest& manifest) const;
  // The device is a property of the calling thread.
  void on_device() const { CUDA_CHECK(cudaSetDevice(device_)); }
  int64_t pages_that_fit(const CudaModelLimits& limits) const;
  void check(int32_t token) const {
    if (token < 0 || token >= config_.vocab_size)
      fail("token {} is outside the model's vocabulary of {}", token, config_.vocab_size);
  }
  // The rows of a slot's next tokens, which it holds from then on.
  void fill_rows(cuda::Row* rows, int32_t slot, std::span<const int32_t> tokens);
  void add_tiles(CudaBatch& batch, const cuda::PrefillChunk& chunk);
  void launch(const CudaBatch& batch, bool graph);
  cudaGraphExec_t graph_of(const CudaBatch& batch);

  ModelConfig config_;
  RunnerOptions options_;
  int device_ = 0;
  std::optional<PagePool> pool_;
  std::optional<CudaModel> model_;
  cudaStream_t stream_ = nullptr, side_stream_ = nullptr;
  cudaEvent_t done_[2] = {}, staged_ = nullptr, taken_ = nullptr;
  uint64_t turn_ = 0;  // steps begun, as the device counts them
  std::deque<Begun> begun_;
  struct Graph {
    cudaGraphExec_t runnable = nullptr;
    bool chosen = false;  // see CudaModel::prepare()
  };
  std::map<std::pair<int, CudaBatch>, Graph> graphs_;  // by the buffer of weights, too
  std::string share_device_;
  cuda::ShareReader shared_;  // under staging_
  std::mutex staging_;        // held while the second buffer is filled
  std::atomic<bool> staged_ready_ = false;
  bool has_weights_ = false;
  Version version_ = 0, staged_version_ = 0;
};

int64_t CudaRunner::pages_that_fit(const CudaModelLimits& limits) const {
  size_t free = 0, total = 0;
  CUDA_CHECK(cudaMemGetInfo(&free, &total));
  const double gib = double(1 << 30);
  const int64_t page = CudaModel::page_bytes(config_), others = CudaModel::memory_needed(config_, limits);
  const int64_t slot_pages = (limits.context + cuda::kPageTokens - 1) / cuda::kPageTokens;
  const int64_t wanted =
      slot_pages * (options_.max_slots + 1);  // prompts ahead give way where all contexts are full
  int64_t room =
      (int64_t(free) - others - (int64_t{512} << 20)) / page;  // what the libraries and graphs take
  const double two = double(2 * slot_pages * page) / gib;
  if (options_.kv_memory_gib > 0) {
    const int64_t given = int64_t(options_.kv_memory_gib * gib) / page;
    if (given < 2 * slot_pages)
      fail(
          "kv_memory_gib = {}: the KV cache of two sequences of {} tokens needs {:.4f} GiB: raise it or "
          "lower max_context",
          options_.kv_memory_gib, limits.context, two);
    room = std::min(room, given);
  }
  if (room < 2 * slot_pages)
    fail(
        "not enough GPU memory: weights (twice), activations and logits need {:.2f} GiB and the KV cache of "
        "two sequences of "
        "{} tokens {:.2f} GiB, of which {:.2f} GiB can be had: lower max_num_seqs or max_context, or use a "
        "larger GPU",
        double(others) / gib, limits.context, two, double(free) / gib);
  return std::min(room, wanted);
}

void CudaRunner::fill_rows(cuda::Row* rows, int32_t slot, std::span<const int32_t> tokens) {
  const int32_t past = pool_->length(slot);
  if (past + int64_t(tokens.size()) > options_.max_context)
    fail("slot {} would hold {} tokens, the context is {}", slot, past + tokens.size(), options_.max_context);
  if (!pool_->reserve(slot, int32_t(tokens.size())))
    fail("the KV cache has no room for {} more tokens ({} pages are free)", tokens.size(),
         pool_->free_pages());
  pool_->append(slot, int32_t(tokens.size()));
  const std::vector<int32_t>& pages = pool_->pages(slot);
  for (size_t i = 0; i < tokens.size(); ++i) {
    cuda::Row& row = rows[i] = {};
    row.slot = slot;
    row.position = past + int32_t(i);
    row.token = tokens[i];
    if (row.position % cuda::kPageTokens == 0) row.new_page = pages[size_t(row.position / cuda::kPageTokens)];
  }
}

void CudaRunner::add_tiles(CudaBatch& batch, const cuda::PrefillChunk& chunk) {
  const auto group = int32_t(config_.num_heads / config_.num_kv_heads);
  for (int32_t first = 0; first < chunk.tokens * group; first += cuda::kPrefillTileRows) {
    if (batch.tiles == model_->limits().rows) fail("more prompt chunks in one step than it has rows");
    model_->tiles(turn_)[batch.tiles++] = {chunk.slot, chunk.first_row, chunk.tokens, chunk.past, first};
  }
}

void CudaRunner::begin_step(std::span<const SequenceStep> steps) {
  if (!has_weights_) fail("the runner has no weights yet");
  if (begun_.size() > 1) throw std::logic_error("begin_step: two steps are begun and not ended");
  on_device();
  const CudaModelLimits& limits = model_->limits();
  int64_t total = 0;
  for (const SequenceStep& s : steps) total += s.continue_last ? 1 : int64_t(s.tokens.size());
  if (total > limits.rows)
    fail("a step of {} tokens; this runner takes {} (max_num_batched_tokens + max_num_seqs)", total,
         limits.rows);

  Begun begun{turn_, steps.size(), {}};
  CudaBatch batch;
  cuda::Row* rows = model_->rows(turn_);
  int32_t at = 0, longest = 0;
  const auto add = [&](size_t i) {
    const SequenceStep& s = steps[i];
    static constexpr int32_t unknown = -1;
    const auto tokens = s.continue_last ? std::span(&unknown, 1) : s.tokens;
    if (!s.continue_last)
      for (int32_t token : tokens) check(token);
    const cuda::PrefillChunk chunk{s.slot, at, int32_t(tokens.size()), pool_->length(s.slot)};
    fill_rows(rows + at, s.slot, tokens);
    at += int32_t(tokens.size());
    if (tokens.size() == 1 && s.sample)
      longest = std::max(longest, chunk.past + 1);
    else
      add_tiles(batch, chunk);
    if (!s.sample) return;
    cuda::Row& row = rows[at - 1];
    row.sample = 1;
    row.uniform = uniform_at(s.sampling->seed, s.group, s.index, s.position);
    row.greedy = s.sampling->temperature <= 0;
    row.inverse_temperature = row.greedy ? 1.0f : float(1.0 / s.sampling->temperature);
    row.top_p = float(s.sampling->top_p), row.min_p = float(s.sampling->min_p), row.top_k = s.sampling->top_k;
    batch.truncation |= row.truncates(config_.vocab_size);
    if (batch.sampled == limits.sampled)
      fail("{} sequences sampled in one step, this runner takes {}", batch.sampled + 1, limits.sampled);
    model_->sample_index(turn_)[batch.sampled] = at - 1;
    begun.sampled.emplace_back(i, size_t(batch.sampled++));
  };
  // A prompt's chunk is one even if it has one token left: a token's arithmetic does not depend on where chunks end.
  const auto single = [](const SequenceStep& s) {
    return s.sample && (s.continue_last || s.tokens.size() == 1);
  };
  for (size_t i = 0; i < steps.size(); ++i)
    if (single(steps[i])) add(i);
  batch.decode_rows = at;
  if (batch.decode_rows > limits.decode_rows)
    fail("{} sequences in one step, this runner takes {}", batch.decode_rows, limits.decode_rows);
  for (size_t i = 0; i < steps.size(); ++i)
    if (!single(steps[i])) add(i);
  batch.rows = bucket_of(at);
  for (int32_t i = at; i < batch.rows; ++i) rows[i] = {};
  while (batch.splits * CudaModel::kSplitTokens < longest) batch.splits *= 2;

  const bool plain = batch.decode_rows == at && batch.sampled == at;
  if (plain) batch.all_sampled = true, batch.sampled = 0, batch.decode_rows = batch.rows;
  for (const int32_t padded = batch.sampled > 0 ? bucket_of(batch.sampled) : 0; batch.sampled < padded;
       ++batch.sampled)
    model_->sample_index(turn_)[batch.sampled] = -1;
  launch(batch, plain && options_.cuda_graphs);
  begun_.push_back(std::move(begun));
}

// Enqueues the step whose rows are in place for this turn.
void CudaRunner::launch(const CudaBatch& batch, bool graph) {
  if (graph) {
    CUDA_CHECK(cudaGraphLaunch(graph_of(batch), stream_));
  } else {
    model_->prepare(batch, stream_);
    model_->upload(batch, turn_, stream_);
    model_->enqueue(batch, stream_);
  }
  CUDA_CHECK(cudaEventRecord(done_[turn_ & 1], stream_));
  ++turn_;
}

cudaGraphExec_t CudaRunner::graph_of(const CudaBatch& batch) {
  const bool chosen = model_->prepare(batch, stream_);
  Graph& kept = graphs_[{model_->front(), batch}];
  if (kept.runnable && kept.chosen == chosen) return kept.runnable;
  if (kept.runnable) {
    CUDA_CHECK(cudaStreamSynchronize(stream_));
    CUDA_CHECK(cudaGraphExecDestroy(std::exchange(kept.runnable, nullptr)));
  }
  cudaGraph_t graph = nullptr;
  CUDA_CHECK(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed));
  model_->enqueue(batch, stream_);
  CUDA_CHECK(cudaStreamEndCapture(stream_, &graph));
  CUDA_CHECK(cudaGraphInstantiate(&kept.runnable, graph, 0));
  CUDA_CHECK(cudaGraphDestroy(graph));
  CUDA_CHECK(cudaGraphUpload(kept.runnable, stream_));
  kept.chosen = chosen;
  return kept.runnable;
}

void CudaRunner::end_step(std::span<Sampled> out) {
  if (begun_.empty()) throw std::logic_error("end_step: no step is begun");
  const Begun begun = std::move(begun_.front());
  begun_.pop_front();
  CUDA_CHECK(cudaEventSynchronize(done_[begun.turn & 1]));
  const cuda::SampledToken* results = model_->results(begun.turn);
  for (const auto& [step, place] : begun.sampled) {
    if (results[place].token < 0)
      fail("the model gave no finite logit to sample from: its weights hold NaN or infinities");
    out[step] = {results[place].token, results[place].logprob};
  }
}

std::vector<float> CudaRunner::score(std::span<const int32_t> tokens) {
  if (!has_weights_) fail("the runner has no weights yet");
  if (!begun_.empty()) throw std::logic_error("score: a step is begun and not ended");
  const size_t n = tokens.size();
  if (n < 2) return {};
  for (int32_t token : tokens) check(token);
  on_device();
  const int32_t slot = model_->limits().slots - 1;
  pool_->release(slot);
  std::vector<float> logprobs;
  const auto most = size_t(std::min(model_->limits().sampled, model_->limits().rows));
  for (size_t at = 0; at + 1 < n;) {
    const size_t count = std::min(most, n - 1 - at);
    CudaBatch batch;
    cuda::Row* rows = model_->rows(turn_);
    if (!pool_->reserve(slot, int32_t(count)))
      fail("the KV cache has no room to score {} tokens beside what it holds", n);
    add_tiles(batch, {slot, 0, int32_t(count), int32_t(at)});
    fill_rows(rows, slot, tokens.subspan(at, count));
    for (size_t i = 0; i < count; ++i) {
      rows[i].sample = 1;
      rows[i].forced = tokens[at + i + 1];
    }
    batch.rows = std::min(bucket_of(int32_t(count)), int32_t(most));
    for (auto i = int32_t(count); i < batch.rows; ++i) rows[i] = {};
    batch.all_sampled = true;
    const uint64_t turn = turn_;
    launch(batch, false);
    CUDA_CHECK(cudaEventSynchronize(done_[turn & 1]));
    for (size_t i = 0; i < count; ++i) logprobs.push_back(model_->results(turn)[i].logprob);
    at += count;
  }
  pool_->release(slot);
  return logprobs;
}

void CudaRunner::stage_weights(std::shared_ptr<const WeightSet> weights) {
  std::lock_guard lock(staging_);
  staged_ready_ = false;
  on_device();
  CUDA_CHECK(cudaStreamWaitEvent(side_stream_, taken_, 0));  // no step reads the buffer any more
  const std::vector<TensorSpec> specs = config_.tensors(DType::bf16);
  const std::vector<TensorSpec>& given = weights->manifest.tensors;
  if (given.size() != specs.size())
    fail("weights of version {} have {} tensors, the model has {}", weights->manifest.version, given.size(),
         specs.size());
  std::vector<std::byte> converted;
  for (size_t i = 0; i < specs.size(); ++i) {
    if (given[i].name != specs[i].name || given[i].shape != specs[i].shape)
      fail("weights of version {}: tensor {} is \"{}\", expected \"{}\" (or its shape differs)",
           weights->manifest.version, i, given[i].name, specs[i].name);
    const std::byte* from = weights->data.data() + given[i].offset;
    if (given[i].dtype != DType::bf16) {
      converted.resize(specs[i].bytes);
      convert_elements(from, given[i].dtype, converted.data(), DType::bf16, specs[i].bytes / 2);
      from = converted.data();
    }
    CUDA_CHECK(cudaMemcpyAsync(model_->staged() + specs[i].offset, from, specs[i].bytes,
                               cudaMemcpyHostToDevice, side_stream_));
    CUDA_CHECK(cudaStreamSynchronize(side_stream_));  // `converted` is used again
  }
  CUDA_CHECK(cudaEventRecord(staged_, side_stream_));
  staged_version_ = weights->manifest.version;
  staged_ready_ = true;
}

// Can the flat buffer be copied into the second one? Weights in another type, or another model's, cannot: stage_weights converts
// them or says what is wrong.
bool CudaRunner::fits_as_it_is(const WeightManifest& manifest) const {
  const std::vector<TensorSpec> specs = config_.tensors(DType::bf16);
  bool same = manifest.tensors.size() == specs.size() &&
              manifest.total_bytes <= (specs.back().offset + specs.back().bytes + 63) / 64 * 64;
  for (size_t i = 0; same && i < specs.size(); ++i) {
    const TensorSpec& given = manifest.tensors[i];
    same = given.name == specs[i].name && given.shape == specs[i].shape && given.dtype == DType::bf16 &&
           given.offset == specs[i].offset;
  }
  return same;
}

bool CudaRunner::stage_share(const WeightManifest& manifest, const DeviceShare& share) {
  if (!fits_as_it_is(manifest)) return false;
  std::lock_guard lock(staging_);
  on_device();
  staged_ready_ = false;
  CUDA_CHECK(cudaStreamWaitEvent(side_stream_, taken_, 0));  // no step reads the buffer any more
  if (!shared_.copy(share, model_->staged(), manifest.total_bytes, side_stream_)) return false;
  CUDA_CHECK(cudaEventRecord(staged_, side_stream_));
  staged_version_ = manifest.version;
  staged_ready_ = true;
  return true;
}

void* CudaRunner::open_stage(const WeightManifest& manifest) {
  if (!fits_as_it_is(manifest)) return nullptr;
  std::lock_guard lock(staging_);
  on_device();
  staged_ready_ = false;
  CUDA_CHECK(cudaEventSynchronize(taken_));  // no step reads the buffer any more
  return model_->staged();
}

bool CudaRunner::close_stage(const WeightManifest& manifest, uint64_t checksum) {
  std::lock_guard lock(staging_);
  on_device();
  if (!shared_.holds(model_->staged(), manifest.total_bytes, checksum, side_stream_)) return false;
  CUDA_CHECK(cudaEventRecord(staged_, side_stream_));
  staged_version_ = manifest.version;
  staged_ready_ = true;
  return true;
}

bool CudaRunner::swap_weights() {
  if (!staged_ready_) return false;
  std::unique_lock lock(staging_, std::try_to_lock);  // held: a newer version is on its way, take that one
  if (!lock || !staged_ready_) return false;
  on_device();
  CUDA_CHECK(cudaStreamWaitEvent(stream_, staged_, 0));
  model_->flip();
  CUDA_CHECK(
      cudaEventRecord(taken_, stream_));  // behind the last step that reads what is the second buffer now
  version_ = staged_version_;
  staged_ready_ = false;
  has_weights_ = true;
  return true;
}

}  // namespace

std::unique_ptr<ModelRunner> make_cuda_runner(const ModelConfig& config,
                                              std::shared_ptr<const WeightSet> weights,
                                              const RunnerOptions& options) {
  auto runner = std::make_unique<CudaRunner>(config, options);
  if (weights) {
    runner->stage_weights(std::move(weights));
    runner->swap_weights();
  }
  return runner;
}

}  // namespace cohort
