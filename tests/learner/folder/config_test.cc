#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "learner/folder/model_config.h"
#include "learner/folder/rope.h"
#include "temp_folder.h"
#include "transport/base/error.h"

namespace cohort {
namespace {

using nlohmann::json;
using testing::HasSubstr;

json tiny(const std::string& type) {
  return {{"model_type", type},     {"vocab_size", 40},
          {"hidden_size", 16},      {"intermediate_size", 24},
          {"num_hidden_layers", 2}, {"num_attention_heads", 4},
          {"head_dim", 4},          {"num_key_value_heads", 2},
          {"rms_norm_eps", 1e-5},   {"max_position_embeddings", 64}};
}
ModelConfig read(const json& config, const json& generation = nullptr) {
  TempFolder folder;
  write_file(folder / "config.json", config.dump());
  if (!generation.is_null()) write_file(folder / "generation_config.json", generation.dump());
  return ModelConfig::read(folder.path);
}
std::string error_of(const json& config) {
  try {
    read(config);
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(ModelConfig, FamiliesDifferInBiasAndNorm) {
  json llama = tiny("llama"), qwen2 = tiny("qwen2"), qwen3 = tiny("qwen3");
  llama["attention_bias"] = llama["mlp_bias"] = true;
  EXPECT_TRUE(read(llama).qkv_bias && read(llama).o_bias && read(llama).mlp_bias);
  EXPECT_FALSE(read(tiny("llama")).qkv_bias);
  EXPECT_TRUE(read(qwen2).qkv_bias);
  EXPECT_FALSE(read(qwen2).o_bias || read(qwen2).qk_norm);
  EXPECT_TRUE(read(qwen3).qk_norm);
  EXPECT_FALSE(read(qwen3).qkv_bias);
  qwen3.erase("head_dim");
  EXPECT_EQ(read(qwen3).head_dim, 128);
  llama.erase("head_dim"), llama.erase("num_key_value_heads");
  EXPECT_EQ(read(llama).head_dim, 4);
  EXPECT_EQ(read(llama).num_kv_heads, 4);
}

TEST(ModelConfig, GenerationConfigDecidesTheEndTokens) {
  json c = tiny("llama");
  c["eos_token_id"] = 2;
  EXPECT_EQ(read(c).eos_token_ids, std::vector<int32_t>{2});
  EXPECT_EQ(read(c, {{"eos_token_id", {5, 6}}, {"pad_token_id", 7}}).eos_token_ids,
            (std::vector<int32_t>{5, 6}));
  EXPECT_EQ(read(c, {{"eos_token_id", {5, 6}}, {"pad_token_id", 7}}).pad_token_id, 7);
}

TEST(ModelConfig, BothSpellingsOfRope) {
  json old = tiny("llama"), now = tiny("llama");
  old["rope_theta"] = 5e5;
  old["rope_scaling"] = {{"type", "linear"}, {"factor", 4}};
  now["rope_parameters"] = {{"rope_type", "linear"}, {"factor", 4}, {"rope_theta", 5e5}};
  for (const json& c : {old, now}) {
    EXPECT_EQ(read(c).rope_theta, 5e5);
    EXPECT_EQ(read(c).rope.type, "linear");
    EXPECT_EQ(read(c).rope.factor, 4);
  }
}

TEST(ModelConfig, BadInputGetsOneLineWithFileAndKey) {
  auto with = [](const std::string& key, const json& value) {
    json c = tiny("llama");
    c[key] = value;
    return error_of(c);
  };
  EXPECT_THAT(with("model_type", "mamba"), HasSubstr("config.json: \"model_type\" is \"mamba\""));
  EXPECT_THAT(with("model_type", "mamba"), HasSubstr("llama, qwen2 or qwen3"));
  EXPECT_THAT(with("model_type", nullptr), HasSubstr("\"model_type\" is missing"));
  EXPECT_THAT(with("hidden_size", "big"), HasSubstr("\"hidden_size\" is \"big\""));
  EXPECT_THAT(with("hidden_size", -3), HasSubstr("expected an integer from 1"));
  EXPECT_THAT(with("hidden_size", 1e300), HasSubstr("hidden_size"));
  EXPECT_THAT(with("vocab_size", 18446744073709551615ull), HasSubstr("vocab_size"));
  EXPECT_THAT(with("hidden_act", "gelu"), HasSubstr("\"hidden_act\" is \"gelu\""));
  EXPECT_THAT(with("use_sliding_window", true), HasSubstr("sliding-window"));
  EXPECT_THAT(with("layer_types", {"sliding_attention"}), HasSubstr("layer_types"));
  EXPECT_THAT(with("num_key_value_heads", 3), HasSubstr("divisor of num_attention_heads"));
  EXPECT_THAT(with("rope_scaling", {{"rope_type", "longrope"}}),
              HasSubstr("linear, dynamic, yarn or llama3"));
  EXPECT_THAT(with("rope_scaling", {{"rope_type", "linear"}}), HasSubstr("\"factor\" is missing"));
  EXPECT_THAT(with("quantization_config", json::object()), HasSubstr("quantized"));
  EXPECT_THAT(with("torch_dtype", "int8"), HasSubstr("torch_dtype"));
  EXPECT_THAT(with("eos_token_id", "</s>"), HasSubstr("eos_token_id"));
  for (const char* key :
       {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"})
    EXPECT_THAT(with(key, nullptr), HasSubstr(std::string("\"") + key + "\" is missing"));
  TempFolder folder;
  try {
    ModelConfig::read(folder / "absent");
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("no such model folder"));
  }
  write_file(folder / "config.json", "{\"model_type\": ");
  try {
    ModelConfig::read(folder.path);
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("not valid JSON"));
  }
}

TEST(ModelConfig, SurvivesItsOwnJson) {
  std::vector<json> ropes = {nullptr,
                             {{"rope_type", "linear"}, {"factor", 2.5}},
                             {{"rope_type", "dynamic"}, {"factor", 2}},
                             {{"rope_type", "yarn"},
                              {"factor", 4},
                              {"original_max_position_embeddings", 16},
                              {"beta_fast", 20},
                              {"mscale", 0.7},
                              {"mscale_all_dim", 0.3},
                              {"truncate", false}},
                             {{"rope_type", "llama3"},
                              {"factor", 8},
                              {"low_freq_factor", 1},
                              {"high_freq_factor", 4},
                              {"original_max_position_embeddings", 32}}};
  for (const char* type : {"llama", "qwen2", "qwen3"})
    for (const json& rope : ropes) {
      json c = tiny(type);
      c["rope_scaling"] = rope;
      c["eos_token_id"] = {1, 2};
      c["bos_token_id"] = 3;
      c["tie_word_embeddings"] = true;
      c["torch_dtype"] = "bfloat16";
      ModelConfig a = read(c), b = read(json::parse(a.to_json()));
      EXPECT_EQ(a.to_json(), b.to_json());
      EXPECT_EQ(rope_inverse_frequencies(a), rope_inverse_frequencies(b));
      EXPECT_EQ(rope_attention_factor(a), rope_attention_factor(b));
      EXPECT_EQ(b.dtype, DType::bf16);
    }
}

TEST(ModelConfig, TensorsAreAlignedAndDoNotOverlap) {
  json c = tiny("llama");
  c["attention_bias"] = c["mlp_bias"] = true;
  c["vocab_size"] = 37;
  for (DType dtype : {DType::f32, DType::bf16}) {
    uint64_t at = 0, parameters = 0;
    for (const TensorSpec& t : read(c).tensors(dtype)) {
      EXPECT_EQ(t.offset % 64, 0u) << t.name;
      EXPECT_EQ(t.offset, (at + 63) / 64 * 64) << t.name;
      at = t.offset + t.bytes;
      parameters += t.bytes / (dtype == DType::f32 ? 4 : 2);
    }
    EXPECT_EQ(parameters, read(c).num_parameters());
  }
}

}  // namespace
}  // namespace cohort
