// The decoder on a GPU: weights, activations, and one step enqueued on a stream as kernels of kernels/ and cuBLASLt
// products. No slots and no scheduling: that is cuda_runner.cc.
//
// A step, for each layer:
//   QKV product | q/k norm, RoPE, KV write and attention over the pages | output product | gate-up product | down product
// Up to hopper_rows rows the products are those of kernels/hopper_gemm.h, which have residual, norms and SwiGLU in them (only
// gate-up may be cuBLASLt's with SwiGLU as a kernel after it), each by the tile that measurements at the first use of a number
// of rows found to be fastest (cuda_choices.cc). With more rows all are cuBLASLt's, with the residual in its epilogue,
// norms and SwiGLU are kernels.
// The residual stream and the QKV product are float32: nothing is rounded to bf16 but what the next product or attention reads
// (and gate and up where they are cuBLASLt's).
// Then the LM head on the rows that are sampled, in fp32, and the sampler. Logits go to memory only where sampling truncates or
// the head is cuBLASLt's.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <compare>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "kernels/gemm.h"
#include "kernels/hopper_gemm.h"
#include "kernels/prefill_attention.h"
#include "kernels/rows.h"
#include "learner/folder/model_config.h"

namespace cohort {

// Device memory, zeroed. `what` is for the message when there is not enough.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  DeviceMemory(int64_t bytes, const char* what);
  ~DeviceMemory();
  DeviceMemory(DeviceMemory&& other) noexcept;
  DeviceMemory& operator=(DeviceMemory&& other) noexcept;
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  int64_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  int64_t bytes_ = 0;
};

struct CudaModelLimits {
  int32_t rows = 0;         // of a step
  int32_t sampled = 0;      // rows of a step that are sampled
  int32_t decode_rows = 0;  // rows of a step that are one token of their sequence
  int32_t slots = 0;        // of the page table
  int32_t context = 0;
  int32_t hopper_rows = 512;  // up to here products are kernels/hopper_gemm.h
  bool early_launch = true;
  bool batch_invariant = false;
};

// What a step consists of. Rows 0 .. decode_rows-1 are single tokens; the rows of prompt chunks follow, then padding.
struct CudaBatch {
  int32_t rows = 0, decode_rows = 0;
  int32_t splits = 1;   // of the longest single-token row's context
  int32_t tiles = 0;    // of prefill attention
  int32_t sampled = 0;  // rows in sample_index, -1 for padding; 0 with all_sampled
  bool all_sampled = false;
  bool truncation = false;
  auto operator<=>(const CudaBatch&) const = default;
};

class CudaModel {
 public:
  CudaModel(const ModelConfig& config, const CudaModelLimits& limits, int64_t pages);
  // Throws Error for a shape the kernels do not have.
  static void check(const ModelConfig& config);
  static int64_t page_bytes(const ModelConfig& config);
  // All but the pages.
  static int64_t memory_needed(const ModelConfig& config, const CudaModelLimits& limits);

  // bf16, in the layout of ModelConfig::tensors: the buffer of the two that steps do not read.
  std::byte* staged() const { return buffers_[1 - front_].as<std::byte>(); }
  // Steps enqueued from here on read the other buffer.
  void flip() { front_ = 1 - front_; }
  int front() const { return front_; }

  // Before each step. Chooses the products of this many rows by measurement at their first step, where the activations are
  // overwritten, no slot's pages are. Of single tokens only once it pays: until then false, and the choices are those of more rows.
  bool prepare(const CudaBatch& batch, cudaStream_t stream);
  void enqueue(const CudaBatch& batch, cudaStream_t stream);
  void share_slot(int32_t from, int32_t to, int32_t whole, int32_t copy_from, int32_t copy_to,
                  cudaStream_t stream);

  static constexpr int32_t kSplitTokens = 1024;  // of a context, a block of the attention
  const CudaModelLimits& limits() const { return limits_; }
  // By turns, see kernels/rows_kernels.h. Pinned.
  cuda::Row* rows(uint64_t turn) const { return pinned_rows_ + (turn & 1) * uint64_t(limits_.rows); }
  const cuda::SampledToken* results(uint64_t turn) const {
    return pinned_results_ + (turn & 1) * uint64_t(limits_.sampled);
  }
  // Copied by upload() before an enqueue() that has tiles or a sample_index.
  cuda::PrefillTile* tiles(uint64_t turn) const {
    return pinned_tiles_ + (turn & 1) * uint64_t(limits_.rows);
  }
  int32_t* sample_index(uint64_t turn) const {
    return pinned_index_ + (turn & 1) * uint64_t(limits_.sampled);
  }
  void upload(const CudaBatch& batch, uint64_t turn, cudaStream_t stream);

  ~CudaModel();
  CudaModel(const CudaModel&) = delete;
  CudaModel& operator=(const CudaModel&) = delete;

 private:
  using bf16 = __nv_bfloat16;
  struct Layer {
    const bf16 *input_norm, *qkv, *qkv_bias, *q_norm, *k_norm, *o, *o_bias, *post_norm, *gate_up,
        *gate_up_bias, *down, *down_bias;
  };
  // Where they lie in a buffer. q, k and v are one matrix, gate and up as well: their tensors are neighbours.
  struct Weights {
    std::vector<Layer> layers;
    const bf16 *embedding = nullptr, *final_norm = nullptr, *head = nullptr;
  };
  enum Product { kQkv, kOutput, kGateUp, kDown, kHead };
  Weights lay_out(const std::byte* buffer) const;
  const Weights& weights() const { return weights_[front_]; }
  // Whether products have residual and norms in them, see above.
  bool fused(int64_t rows) const { return rows <= limits_.hopper_rows && !config_.mlp_bias; }
  // Which kernel a product of so many rows takes.
  struct Choice {
    cuda::HopperGemmTile tile;
    int splits = 1;
    bool hopper = false;
    auto operator<=>(const Choice&) const = default;
  };
  using Key = std::pair<int, int64_t>;  // product, rows
  Choice choice(int which, int64_t rows) const;
  // The fastest first.
  std::vector<Choice> candidates(const CudaBatch& batch, int which, cudaStream_t stream);
  using ChoiceSet = std::array<Choice, kHead>;  // of a layer's products
  std::vector<ChoiceSet> between_neighbours(const CudaBatch& batch, std::vector<ChoiceSet> sets, float most,
                                            cudaStream_t stream);
  void choose(int64_t rows, const ChoiceSet& set);
  void settle(const CudaBatch& batch, cudaStream_t stream);
  void borrow(const CudaBatch& batch, int32_t rows, cudaStream_t stream);
  void warm_up(const CudaBatch& batch, cudaStream_t stream);
  void fill_trial(const CudaBatch& batch, cudaStream_t stream);
  void prepare_blas(const CudaBatch& batch, int which, cudaStream_t stream);
  cuda::HopperGemmParams hopper(const CudaBatch& batch, int which, size_t layer, const Choice& choice) const;
  cuda::RowScale scale_of(const DeviceMemory& squares, int64_t rows) const;
  void multiply(const CudaBatch& batch, int which, size_t layer, const Choice& choice, cudaStream_t stream);
  void normalise(const CudaBatch& batch, const bf16* bias, const bf16* weight, cudaStream_t stream);
  void sample(const CudaBatch& batch, const cuda::GemmParams& head, cudaStream_t stream);
  cuda::GemmParams product(const CudaBatch& batch, int which, size_t layer) const;
  void enqueue_embedding(const CudaBatch& batch, cudaStream_t stream);
  void enqueue_layer(const CudaBatch& batch, size_t layer, cudaStream_t stream);
  void enqueue_attention(const CudaBatch& batch, size_t layer, cudaStream_t stream);

  ModelConfig config_;
  CudaModelLimits limits_;
  cuda::Gemm gemm_;
  int multiprocessors_ = 132;
  int64_t qkv_width_ = 0, logits_stride_ = 0, table_stride_ = 0;
  int64_t pages_ = 0;  // the last one is no slot's: trials write to it
  std::map<Key, Choice> choices_;
  std::set<int32_t> settled_;        // rows of which the products were chosen between their neighbours
  std::map<int32_t, int> borrowed_;  // rows: steps with the choices of more rows
  DeviceMemory buffers_[2];
  Weights weights_[2];
  int front_ = 0;
  DeviceMemory kv_, table_, cos_sin_, rows_, sampled_rows_, tiles_, index_, x_, y_, squares_, sampled_y_,
      sampled_squares_, qkv_, q_, attention_, gate_up_, h_, logits_, attention_partial_, attention_counters_,
      pieces_, last_token_, turn_, trial_rows_, trial_table_;
  cuda::Row* pinned_rows_ = nullptr;
  cuda::SampledToken* pinned_results_ = nullptr;
  cuda::PrefillTile* pinned_tiles_ = nullptr;
  int32_t* pinned_index_ = nullptr;
};

}  // namespace cohort
