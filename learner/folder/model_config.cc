#include "learner/folder/model_config.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include "learner/folder/json_fields.h"

namespace cohort {
namespace {

using nlohmann::json;
constexpr int64_t kMaxDim = int64_t{1}
                            << 24;  // of one dimension: no real model is near it, and products stay small

int64_t element_bytes(DType dtype) {
  return dtype == DType::f32 ? 4 : 2;
}

std::vector<int32_t> token_ids(const JsonFields& fields, const std::string& key) {
  std::vector<int32_t> out;
  if (!fields.has(key)) return out;
  const json& v = fields.value(key);
  auto add = [&](const json& id) {
    if (!id.is_number_integer() || id < 0 || id > INT32_MAX) fields.bad(key, "a token id or a list of them");
    out.push_back(id.get<int32_t>());
  };
  if (v.is_array()) {
    for (const json& id : v) add(id);
  } else {
    add(v);
  }
  return out;
}

// rope_parameters (transformers 5) or rope_theta with rope_scaling (4).
void read_rope(const JsonFields& fields, ModelConfig& c) {
  c.rope_theta = fields.number("rope_theta").value_or(10000);
  const std::optional<JsonFields> section =
      fields.object(fields.has("rope_scaling") ? "rope_scaling" : "rope_parameters");
  if (c.rope_theta <= 1) fields.bad("rope_theta", "a number above 1");
  if (!section) return;
  const JsonFields& s = *section;
  if (auto theta = s.number("rope_theta")) c.rope_theta = *theta;
  if (c.rope_theta <= 1) s.bad("rope_theta", "a number above 1");
  if (s.number("partial_rotary_factor").value_or(1) != 1)
    s.bad("partial_rotary_factor", "1 (others are not supported)");
  RopeScaling& r = c.rope;
  const std::string type_key = s.has("rope_type") ? "rope_type" : "type";
  r.type = s.text(type_key).value_or("default");
  static const std::array<const char*, 5> known = {"default", "linear", "dynamic", "yarn", "llama3"};
  if (std::find(known.begin(), known.end(), r.type) == known.end())
    s.bad(type_key, "a supported RoPE type: default, linear, dynamic, yarn or llama3");
  if (r.type == "default") return;
  r.original_max_position_embeddings =
      s.integer("original_max_position_embeddings", 1, INT32_MAX).value_or(c.max_position_embeddings);
  if (r.type == "yarn" && !s.has("factor"))
    r.factor = double(c.max_position_embeddings) / double(r.original_max_position_embeddings);
  else
    r.factor = s.need_number("factor");
  if (r.factor <= 0) s.bad("factor", "a number above 0");
  if (r.type == "dynamic" && c.head_dim <= 2) fields.bad("head_dim", "more than 2 with dynamic RoPE");
  if (r.type == "llama3") {
    r.low_freq_factor = s.need_number("low_freq_factor");
    r.high_freq_factor = s.need_number("high_freq_factor");
    if (r.low_freq_factor <= 0) s.bad("low_freq_factor", "a number above 0");
    if (r.high_freq_factor <= r.low_freq_factor) s.bad("high_freq_factor", "a number above low_freq_factor");
  }
  if (r.type == "yarn") {
    // zero counts as absent, as in transformers
    if (double x = s.number("beta_fast").value_or(0); x != 0) r.beta_fast = x;
    if (double x = s.number("beta_slow").value_or(0); x != 0) r.beta_slow = x;
    r.attention_factor = s.number("attention_factor");
    r.mscale = s.number("mscale");
    r.mscale_all_dim = s.number("mscale_all_dim");
    r.truncate = s.boolean("truncate").value_or(true);
  }
}

void refuse_unsupported(const JsonFields& fields) {
  if (fields.has("hidden_act") && fields.need_text("hidden_act") != "silu")
    fields.bad("hidden_act", "\"silu\", the only supported activation");
  if (fields.boolean("use_sliding_window").value_or(false))
    fields.bad("use_sliding_window", "false: sliding-window attention is not supported");
  if (fields.has("layer_types")) {
    const json& types = fields.value("layer_types");
    for (const json& t : types)
      if (t != "full_attention")
        fields.bad("layer_types", "\"full_attention\" only: others are not supported");
  }
  if (fields.has("quantization_config"))
    fail("{}: \"quantization_config\": quantized checkpoints are not supported, use the unquantized model",
         fields.where());
}

DType read_dtype(const JsonFields& fields) {
  for (const char* key : {"dtype", "torch_dtype"}) {
    auto name = fields.text(key);
    if (!name) continue;
    if (*name == "float32") return DType::f32;
    if (*name == "bfloat16") return DType::bf16;
    if (*name == "float16") return DType::f16;
    fields.bad(key, "float32, bfloat16 or float16");
  }
  return DType::f32;
}

const char* dtype_name(DType dtype) {
  return dtype == DType::f32 ? "float32" : dtype == DType::bf16 ? "bfloat16" : "float16";
}

}  // namespace

ModelConfig ModelConfig::read(const std::string& folder) {
  const std::string path = folder + "/config.json";
  if (!std::filesystem::is_directory(folder)) fail("{}: no such model folder", folder);
  const json root = read_json_file(path);
  const JsonFields f(root, path);
  ModelConfig c;
  c.model_type = f.need_text("model_type");
  const bool llama = c.model_type == "llama", qwen2 = c.model_type == "qwen2",
             qwen3 = c.model_type == "qwen3";
  if (!llama && !qwen2 && !qwen3) f.bad("model_type", "a supported one: llama, qwen2 or qwen3");
  refuse_unsupported(f);
  c.vocab_size = f.need_integer("vocab_size", 1, kMaxDim);
  c.hidden_size = f.need_integer("hidden_size", 1, kMaxDim);
  c.intermediate_size = f.need_integer("intermediate_size", 1, kMaxDim);
  c.num_layers = f.need_integer("num_hidden_layers", 1, 10000);
  c.num_heads = f.need_integer("num_attention_heads", 1, 65536);
  // absent means "as many as heads" to Llama; the Qwen families have another default, so it must be written
  // there
  c.num_kv_heads = llama || f.has("num_key_value_heads") || root.contains("num_key_value_heads")
                       ? f.integer("num_key_value_heads", 1, 65536).value_or(c.num_heads)
                       : f.need_integer("num_key_value_heads", 1, 65536);
  if (c.num_heads % c.num_kv_heads != 0)
    f.bad("num_key_value_heads", fmt::format("a divisor of num_attention_heads ({})", c.num_heads));
  if (auto head_dim = f.integer("head_dim", 2, 65536)) {
    c.head_dim = *head_dim;
  } else if (qwen3 && !root.contains("head_dim")) {
    c.head_dim = 128;  // transformers' default for this family
  } else {
    if (c.hidden_size % c.num_heads != 0)
      f.bad("hidden_size",
            fmt::format("a multiple of num_attention_heads ({}), or head_dim given", c.num_heads));
    c.head_dim = c.hidden_size / c.num_heads;
  }
  if (c.head_dim % 2 != 0) fail("{}: head_dim is {}, RoPE needs an even one", path, c.head_dim);
  c.max_position_embeddings =
      f.integer("max_position_embeddings", 1, INT32_MAX).value_or(llama ? 2048 : 32768);
  c.rms_norm_eps = f.number("rms_norm_eps").value_or(1e-6);
  if (c.rms_norm_eps < 0) f.bad("rms_norm_eps", "a number not below 0");
  read_rope(f, c);
  c.tie_word_embeddings = f.boolean("tie_word_embeddings").value_or(false);
  const bool attention_bias = f.boolean("attention_bias").value_or(false);
  c.qkv_bias = qwen2 || attention_bias;
  c.o_bias = !qwen2 && attention_bias;
  c.mlp_bias = llama && f.boolean("mlp_bias").value_or(false);
  c.qk_norm = qwen3;
  c.initializer_range = f.number("initializer_range").value_or(0.02);
  c.dtype = read_dtype(f);
  c.eos_token_ids = token_ids(f, "eos_token_id");
  c.bos_token_id = static_cast<int32_t>(f.integer("bos_token_id", -1, INT32_MAX).value_or(-1));
  c.pad_token_id = static_cast<int32_t>(f.integer("pad_token_id", -1, INT32_MAX).value_or(-1));
  const std::string generation = folder + "/generation_config.json";
  if (std::filesystem::exists(generation)) {
    const json g_root = read_json_file(generation);
    const JsonFields g(g_root, generation);
    if (auto eos = token_ids(g, "eos_token_id"); !eos.empty()) c.eos_token_ids = eos;
    if (c.pad_token_id < 0)
      c.pad_token_id = static_cast<int32_t>(g.integer("pad_token_id", -1, INT32_MAX).value_or(-1));
    if (c.bos_token_id < 0)
      c.bos_token_id = static_cast<int32_t>(g.integer("bos_token_id", -1, INT32_MAX).value_or(-1));
  }
  return c;
}

std::string ModelConfig::to_json() const {
  json j;
  j["architectures"] = {model_type == "llama"   ? "LlamaForCausalLM"
                        : model_type == "qwen2" ? "Qwen2ForCausalLM"
                                                : "Qwen3ForCausalLM"};
  j["model_type"] = model_type;
  j["vocab_size"] = vocab_size;
  j["hidden_size"] = hidden_size;
  j["intermediate_size"] = intermediate_size;
  j["num_hidden_layers"] = num_layers;
  j["num_attention_heads"] = num_heads;
  j["num_key_value_heads"] = num_kv_heads;
  j["head_dim"] = head_dim;
  j["hidden_act"] = "silu";
  j["max_position_embeddings"] = max_position_embeddings;
  j["rms_norm_eps"] = rms_norm_eps;
  j["tie_word_embeddings"] = tie_word_embeddings;
  j["attention_dropout"] = 0.0;
  j["initializer_range"] = initializer_range;
  j["use_cache"] = true;
  j["torch_dtype"] = dtype_name(dtype);
  if (model_type != "qwen2") j["attention_bias"] = qkv_bias;
  if (model_type == "llama") j["mlp_bias"] = mlp_bias;
  if (model_type != "llama") j["use_sliding_window"] = false;
  // the older pair of keys: every transformers since Llama reads it, the newest included
  j["rope_theta"] = rope_theta;
  j["rope_scaling"] = nullptr;
  if (rope.type != "default") {
    json s = {{"rope_type", rope.type}, {"factor", rope.factor}};
    if (rope.type == "llama3" || rope.type == "yarn")
      s["original_max_position_embeddings"] = rope.original_max_position_embeddings;
    if (rope.type == "llama3") {
      s["low_freq_factor"] = rope.low_freq_factor;
      s["high_freq_factor"] = rope.high_freq_factor;
    }
    if (rope.type == "yarn") {
      s["beta_fast"] = rope.beta_fast;
      s["beta_slow"] = rope.beta_slow;
      if (rope.attention_factor) s["attention_factor"] = *rope.attention_factor;
      if (rope.mscale) s["mscale"] = *rope.mscale;
      if (rope.mscale_all_dim) s["mscale_all_dim"] = *rope.mscale_all_dim;
      if (!rope.truncate) s["truncate"] = false;
    }
    j["rope_scaling"] = s;
  }
  // written even when absent: some families' defaults in transformers are not "none"
  j["bos_token_id"] = bos_token_id < 0 ? json(nullptr) : json(bos_token_id);
  j["pad_token_id"] = pad_token_id < 0 ? json(nullptr) : json(pad_token_id);
  j["eos_token_id"] = eos_token_ids.empty()       ? json(nullptr)
                      : eos_token_ids.size() == 1 ? json(eos_token_ids[0])
                                                  : json(eos_token_ids);
  return j.dump(2) + "\n";
}

std::vector<TensorSpec> ModelConfig::tensors(DType dtype) const {
  std::vector<TensorSpec> out;
  uint64_t offset = 0;
  auto add = [&](const std::string& name, std::vector<int64_t> shape) {
    uint64_t count = 1;
    for (int64_t n : shape) count *= static_cast<uint64_t>(n);
    uint64_t bytes = count * static_cast<uint64_t>(element_bytes(dtype));
    out.push_back({name, dtype, std::move(shape), offset, bytes});
    offset = (offset + bytes + 63) / 64 * 64;
  };
  add("model.embed_tokens.weight", {vocab_size, hidden_size});
  for (int64_t i = 0; i < num_layers; ++i) {
    const std::string layer = fmt::format("model.layers.{}.", i), attn = layer + "self_attn.",
                      mlp = layer + "mlp.";
    const int64_t q = num_heads * head_dim, kv = num_kv_heads * head_dim;
    // q, k, v next to each other, and gate and up: each group is one matrix product where the padding allows
    add(layer + "input_layernorm.weight", {hidden_size});
    add(attn + "q_proj.weight", {q, hidden_size});
    add(attn + "k_proj.weight", {kv, hidden_size});
    add(attn + "v_proj.weight", {kv, hidden_size});
    if (qkv_bias) {
      add(attn + "q_proj.bias", {q});
      add(attn + "k_proj.bias", {kv});
      add(attn + "v_proj.bias", {kv});
    }
    if (qk_norm) {
      add(attn + "q_norm.weight", {head_dim});
      add(attn + "k_norm.weight", {head_dim});
    }
    add(attn + "o_proj.weight", {hidden_size, q});
    if (o_bias) add(attn + "o_proj.bias", {hidden_size});
    add(layer + "post_attention_layernorm.weight", {hidden_size});
    add(mlp + "gate_proj.weight", {intermediate_size, hidden_size});
    add(mlp + "up_proj.weight", {intermediate_size, hidden_size});
    if (mlp_bias) {
      add(mlp + "gate_proj.bias", {intermediate_size});
      add(mlp + "up_proj.bias", {intermediate_size});
    }
    add(mlp + "down_proj.weight", {hidden_size, intermediate_size});
    if (mlp_bias) add(mlp + "down_proj.bias", {hidden_size});
  }
  add("model.norm.weight", {hidden_size});
  if (!tie_word_embeddings) add("lm_head.weight", {vocab_size, hidden_size});
  return out;
}

uint64_t ModelConfig::num_parameters() const {
  uint64_t n = 0;
  for (const TensorSpec& t : tensors(DType::f32)) n += t.bytes / 4;
  return n;
}

}  // namespace cohort
