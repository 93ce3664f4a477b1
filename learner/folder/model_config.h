// A Hugging Face model folder's config.json, for the dense decoders Cohort knows: llama, qwen2, qwen3. No Torch.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "transport/weights.h"

namespace cohort {

// RoPE as in transformers' modeling_rope_utils: default, linear, dynamic, yarn, llama3 (longrope: refused by name).
struct RopeScaling {
  std::string type = "default";
  double factor = 1;
  double low_freq_factor = 1, high_freq_factor = 4;       // llama3
  int64_t original_max_position_embeddings = 0;           // llama3, yarn, dynamic
  double beta_fast = 32, beta_slow = 1;                   // yarn
  std::optional<double> attention_factor, mscale, mscale_all_dim;
  bool truncate = true;                                   // yarn: round the correction range to whole dimensions
};

struct ModelConfig {
  std::string model_type;  // "llama", "qwen2", "qwen3"
  int64_t vocab_size = 0, hidden_size = 0, intermediate_size = 0, num_layers = 0;
  int64_t num_heads = 0, num_kv_heads = 0, head_dim = 0;
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6, rope_theta = 10000;
  RopeScaling rope;
  bool tie_word_embeddings = false;
  bool qkv_bias = false, o_bias = false, mlp_bias = false;  // qwen2: qkv only; llama: attention_bias means all four
  bool qk_norm = false;                                     // qwen3
  std::vector<int32_t> eos_token_ids;                       // generation_config.json first, then config.json
  int32_t bos_token_id = -1, pad_token_id = -1;
  double initializer_range = 0.02;
  DType dtype = DType::f32;                                 // torch_dtype/dtype: how the folder stores its weights

  // Throws Error naming the file and key: missing, of a wrong type, an unsupported model_type/activation/sliding window/
  // rope type (with the list of supported ones).
  static ModelConfig read(const std::string& folder);
  // config.json text that transformers reads back to the same model.
  std::string to_json() const;
  // Names, shapes of every tensor a checkpoint of this model holds, in a fixed order, with offsets in a flat buffer
  // of `dtype` (each 64-byte aligned). The one definition of the parameter order: weights on the wire, flat gradient
  // buffers and checkpoints use it.
  std::vector<TensorSpec> tensors(DType dtype) const;
  uint64_t num_parameters() const;
};

// Reads the folder's safetensors (single file or sharded index) into the flat layout of config.tensors(to), converting
// f32/f16/bf16. Throws Error naming file and tensor: missing file, truncated, header that does not parse, overlapping
// or out-of-range offsets, missing tensor, wrong shape, unsupported dtype.
WeightSet read_weights(const std::string& folder, const ModelConfig& config, DType to);

// The conversions both use, round to nearest even; `to` and `from` may not overlap.
void convert_elements(const std::byte* from, DType from_dtype, std::byte* to, DType to_dtype, uint64_t count);

// Writes model.safetensors (sharded with an index above max_shard_bytes), config.json and generation_config.json, and
// copies tokenizer files from `tokenizer_from` ("" for none). Atomic: a folder `folder + ".part"` is renamed at the end;
// an existing folder is replaced. Throws Error naming what could not be written (a full disk, …).
void write_model_folder(const std::string& folder, const ModelConfig& config, const WeightSet& weights, DType dtype,
                        const std::string& tokenizer_from, uint64_t max_shard_bytes = 5ull << 30);

}  // namespace cohort
