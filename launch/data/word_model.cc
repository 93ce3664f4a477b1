#include "launch/data/word_model.h"

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numbers>

#include "launch/data/countdown.h"
#include "launch/data/jsonl.h"
#include "learner/folder/model_config.h"
#include "transport/base/error.h"

namespace cohort {
namespace {

using Json = nlohmann::ordered_json;
constexpr int kPad = 0, kEos = 1, kUnknown = 2;
const char* const kSpecial[] = {"<pad>", "<eos>", "<unk>"};

Json tokenizer_json(const std::vector<std::string>& words) {
  Json added = Json::array(), vocab = Json::object();
  for (int id = 0; id < 3; ++id) {
    added.push_back({{"id", id},
                     {"content", kSpecial[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
    vocab[kSpecial[id]] = id;
  }
  for (size_t i = 0; i < words.size(); ++i) vocab[words[i]] = i + 3;
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added},
          {"normalizer", nullptr},
          {"pre_tokenizer", {{"type", "WhitespaceSplit"}}},
          {"post_processor", nullptr},
          {"decoder", nullptr},
          {"model", {{"type", "WordLevel"}, {"vocab", vocab}, {"unk_token", kSpecial[kUnknown]}}}};
}

WeightSet random_weights(const ModelConfig& model, const WordModelOptions& o) {
  WeightSet weights;
  weights.manifest.tensors = model.tensors(DType::f32);
  lay_out(weights.manifest);
  weights.data.resize(weights.manifest.total_bytes);
  Draw draw(o.seed);
  for (const TensorSpec& tensor : weights.manifest.tensors) {
    auto* values = reinterpret_cast<float*>(weights.data.data() + tensor.offset);
    for (uint64_t i = 0; i < tensor.bytes / sizeof(float); ++i) {
      const double radius = std::sqrt(-2 * std::log(1 - draw.uniform()));  // Box and Muller
      const double normal = radius * std::cos(2 * std::numbers::pi * draw.uniform());
      values[i] = tensor.shape.size() == 1 ? 1.0f : static_cast<float>(o.init_std * normal);
    }
  }
  weights.manifest.checksum = weight_checksum(weights.data);
  return weights;
}

}  // namespace

void write_word_model(const std::string& folder, const std::vector<std::string>& words,
                      const WordModelOptions& o) {
  if (o.hidden_size % o.heads != 0)
    fail_usage("--hidden {} is not a multiple of --heads {}", o.hidden_size, o.heads);
  if (o.hidden_size / o.heads % 2 != 0)
    fail_usage("--hidden / --heads = {} must be even", o.hidden_size / o.heads);
  if (o.heads % o.kv_heads != 0)
    fail_usage("--heads {} is not a multiple of --kv-heads {}", o.heads, o.kv_heads);
  const Json config = {{"architectures", {"LlamaForCausalLM"}},
                       {"model_type", "llama"},
                       {"vocab_size", words.size() + 3},
                       {"hidden_size", o.hidden_size},
                       {"intermediate_size", o.intermediate_size},
                       {"num_hidden_layers", o.layers},
                       {"num_attention_heads", o.heads},
                       {"num_key_value_heads", o.kv_heads},
                       {"head_dim", o.hidden_size / o.heads},
                       {"max_position_embeddings", o.max_context},
                       {"hidden_act", "silu"},
                       {"rms_norm_eps", 1e-6},
                       {"rope_theta", 10000.0},
                       {"attention_bias", false},
                       {"mlp_bias", false},
                       {"attention_dropout", 0.0},
                       {"initializer_range", o.init_std},
                       {"tie_word_embeddings", true},
                       {"use_cache", true},
                       {"bos_token_id", nullptr},
                       {"eos_token_id", kEos},
                       {"pad_token_id", kPad},
                       {"dtype", "float32"}};
  const Json generation = {
      {"eos_token_id", kEos}, {"pad_token_id", kPad}, {"do_sample", true}, {"temperature", 1.0}};
  const Json tokenizer = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                          {"eos_token", kSpecial[kEos]},
                          {"pad_token", kSpecial[kPad]},
                          {"unk_token", kSpecial[kUnknown]},
                          {"clean_up_tokenization_spaces", false},
                          {"model_max_length", o.max_context}};
  const std::string plain = folder + ".tokenizer";
  make_folder(plain);
  write_text(plain + "/config.json", config.dump(2) + "\n");
  write_text(plain + "/generation_config.json", generation.dump(2) + "\n");
  write_text(plain + "/tokenizer_config.json", tokenizer.dump(2) + "\n");
  write_text(plain + "/tokenizer.json", tokenizer_json(words).dump(2) + "\n");
  const ModelConfig model = ModelConfig::read(plain);
  write_model_folder(folder, model, random_weights(model, o), DType::f32, plain);
  std::filesystem::remove_all(plain);
}

}  // namespace cohort
