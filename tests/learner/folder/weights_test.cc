#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>

#include "learner/folder/model_config.h"
#include "learner/folder/safetensors.h"
#include "temp_folder.h"
#include "transport/base/error.h"

namespace cohort {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

ModelConfig tiny() {
  ModelConfig c;
  c.model_type = "llama";
  c.vocab_size = 19, c.hidden_size = 12, c.intermediate_size = 20, c.num_layers = 2;
  c.num_heads = 3, c.num_kv_heads = 1, c.head_dim = 4, c.max_position_embeddings = 64;
  c.eos_token_ids = {1};
  return c;
}

WeightSet random_weights(const ModelConfig& c, DType dtype = DType::f32, unsigned seed = 1) {
  WeightSet w;
  w.manifest.tensors = c.tensors(dtype);
  const TensorSpec& last = w.manifest.tensors.back();
  w.manifest.total_bytes = (last.offset + last.bytes + 63) / 64 * 64;
  w.data.resize(w.manifest.total_bytes);
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal;
  for (const TensorSpec& t : w.manifest.tensors)
    for (uint64_t i = 0; i < t.bytes / (dtype == DType::f32 ? 4 : 2); ++i) {
      float x = normal(rng);
      convert_elements(reinterpret_cast<std::byte*>(&x), DType::f32,
                       w.data.data() + t.offset + i * (dtype == DType::f32 ? 4 : 2), dtype, 1);
    }
  return w;
}

std::string read_error(const std::string& folder, const ModelConfig& c) {
  try {
    read_weights(folder, c, DType::f32);
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << "one line: " << e.what();
    return e.what();
  }
  return "no error";
}

TEST(Convert, Bf16AndF16RoundToNearestEven) {
  auto to16 = [](float x, DType d) {
    uint16_t h;
    convert_elements(reinterpret_cast<std::byte*>(&x), DType::f32, reinterpret_cast<std::byte*>(&h), d, 1);
    return h;
  };
  auto from16 = [](uint16_t h, DType d) {
    float x;
    convert_elements(reinterpret_cast<std::byte*>(&h), d, reinterpret_cast<std::byte*>(&x), DType::f32, 1);
    return x;
  };
  // ties: 1 + 2^-8 lies between two bf16, 1 + 2^-11 between two f16: both go to the even one, the next tie up
  EXPECT_EQ(to16(1 + 0x1p-8f, DType::bf16), 0x3f80);
  EXPECT_EQ(to16(1 + 3 * 0x1p-8f, DType::bf16), 0x3f82);
  EXPECT_EQ(to16(1 + 0x1p-11f, DType::f16), 0x3c00);
  EXPECT_EQ(to16(1 + 3 * 0x1p-11f, DType::f16), 0x3c02);
  EXPECT_EQ(to16(65519.f, DType::f16), 0x7bff);
  EXPECT_EQ(to16(65520.f, DType::f16), 0x7c00);
  EXPECT_EQ(to16(-INFINITY, DType::f16), 0xfc00);
  EXPECT_EQ(to16(0x1p-24f, DType::f16), 0x0001);
  EXPECT_EQ(to16(0x1p-25f, DType::f16), 0x0000);
  EXPECT_EQ(to16(3 * 0x1p-25f, DType::f16), 0x0002);
  EXPECT_TRUE(std::isnan(from16(to16(NAN, DType::bf16), DType::bf16)));
  EXPECT_TRUE(std::isnan(from16(to16(std::bit_cast<float>(0x7f800001u), DType::bf16), DType::bf16)));
  EXPECT_TRUE(std::isnan(from16(to16(NAN, DType::f16), DType::f16)));
  for (uint32_t h = 0; h < 65536; ++h)
    for (DType d : {DType::bf16, DType::f16}) {
      float x = from16(static_cast<uint16_t>(h), d);
      if (std::isnan(x)) continue;
      ASSERT_EQ(to16(x, d), h) << "value " << x;
#ifdef __FLT16_MANT_DIG__
      if (d == DType::f16) {
        ASSERT_EQ(x, static_cast<float>(std::bit_cast<_Float16>(static_cast<uint16_t>(h))));
      }
#endif
    }
#ifdef __FLT16_MANT_DIG__
  std::mt19937 rng(3);
  for (int i = 0; i < 200000; ++i) {
    float x = std::bit_cast<float>(static_cast<uint32_t>(rng() % 0x20000000u + 0x30000000u));
    ASSERT_EQ(to16(x, DType::f16), std::bit_cast<uint16_t>(static_cast<_Float16>(x))) << x;
  }
#endif
}

TEST(ModelFolder, RoundTripIsExactAlsoSharded) {
  const ModelConfig c = tiny();
  const WeightSet w = random_weights(c);
  for (uint64_t shard : {5ull << 30, 2000ull, 1ull}) {
    TempFolder folder;
    write_model_folder(folder / "m", c, w, DType::f32, "", shard);
    EXPECT_EQ(fs::exists(folder / "m/model.safetensors.index.json"), shard < (5ull << 30));
    EXPECT_FALSE(fs::exists(folder / "m.part"));
    ModelConfig back = ModelConfig::read(folder / "m");
    EXPECT_EQ(back.to_json(), c.to_json());
    WeightSet r = read_weights(folder / "m", back, DType::f32);
    EXPECT_EQ(r.data, w.data);
    EXPECT_NE(r.manifest.checksum, 0u);
  }
}

TEST(ModelFolder, StoredAsBf16AndF16) {
  const ModelConfig c = tiny();
  for (DType dtype : {DType::bf16, DType::f16}) {
    const WeightSet w = random_weights(c, dtype);
    TempFolder folder;
    write_model_folder(folder / "m", c, w, dtype, "");
    EXPECT_EQ(ModelConfig::read(folder / "m").dtype, dtype);
    EXPECT_EQ(read_weights(folder / "m", c, dtype).data, w.data);
    // through float32 and back: nothing changes
    write_model_folder(folder / "n", c, read_weights(folder / "m", c, DType::f32), dtype, "", 3000);
    EXPECT_EQ(read_weights(folder / "n", c, dtype).data, w.data);
  }
}

TEST(ModelFolder, ReplacesAModelFolderAndNothingElse) {
  const ModelConfig c = tiny();
  TempFolder folder;
  write_model_folder(folder / "m", c, random_weights(c), DType::f32, "", 2000);
  write_model_folder(folder / "m/", c, random_weights(c, DType::f32, 2), DType::f32, "");
  EXPECT_FALSE(fs::exists(folder / "m/model.safetensors.index.json"));
  EXPECT_EQ(read_weights(folder / "m", c, DType::f32).data, random_weights(c, DType::f32, 2).data);
  fs::create_directory(folder / "home");
  write_file(folder / "home/thesis.tex", "years of work");
  EXPECT_THROW(write_model_folder(folder / "home", c, random_weights(c), DType::f32, ""), Error);
  EXPECT_TRUE(fs::exists(folder / "home/thesis.tex"));
}

TEST(ModelFolder, CopiesTheTokenizerAndKeepsSamplingDefaults) {
  const ModelConfig c = tiny();
  TempFolder folder;
  fs::create_directory(folder / "from");
  write_file(folder / "from/tokenizer.json", "{\"x\": 1}");
  write_file(folder / "from/chat_template.jinja", "{{ x }}");
  write_file(folder / "from/optimizer.pt", "no");
  write_file(folder / "from/generation_config.json", "{\"temperature\": 0.6, \"eos_token_id\": 9}");
  write_model_folder(folder / "m", c, random_weights(c), DType::f32, folder / "from");
  EXPECT_EQ(read_file(folder / "m/tokenizer.json"), "{\"x\": 1}");
  EXPECT_TRUE(fs::exists(folder / "m/chat_template.jinja"));
  EXPECT_FALSE(fs::exists(folder / "m/optimizer.pt"));
  json g = json::parse(read_file(folder / "m/generation_config.json"));
  EXPECT_EQ(g["temperature"], 0.6);
  EXPECT_EQ(g["eos_token_id"], 1);
}

TEST(ModelFolder, AFullDiskIsOneLineAndLeavesTheOldFolder) {
  const ModelConfig c = tiny();
  TempFolder folder;
  write_model_folder(folder / "m", c, random_weights(c), DType::f32, "");
  signal(SIGXFSZ, SIG_IGN);
  rlimit old{}, small{};
  getrlimit(RLIMIT_FSIZE, &old);
  small = old;
  small.rlim_cur = 4096;
  setrlimit(RLIMIT_FSIZE, &small);
  std::string message;
  try {
    write_model_folder(folder / "m", c, random_weights(c, DType::f32, 2), DType::f32, "");
  } catch (const Error& e) {
    message = e.what();
  }
  setrlimit(RLIMIT_FSIZE, &old);
  EXPECT_THAT(message, HasSubstr("model.safetensors: cannot be written"));
  EXPECT_FALSE(fs::exists(folder / "m.part"));
  EXPECT_EQ(read_weights(folder / "m", c, DType::f32).data, random_weights(c).data);
}

// A safetensors file whose header is `header` and whose data are `data_bytes` zeros.
std::string raw_file(const std::string& header, size_t data_bytes) {
  std::string out(8, '\0');
  uint64_t n = header.size();
  std::memcpy(out.data(), &n, 8);
  return out + header + std::string(data_bytes, '\0');
}
std::string open_error(const std::string& bytes) {
  TempFolder folder;
  write_file(folder / "x.safetensors", bytes);
  try {
    SafetensorsFile file(folder / "x.safetensors");
    for (auto& [name, e] : file.entries())
      for (std::byte b : file.bytes(e)) EXPECT_LE(std::to_integer<int>(b), 255);  // every byte can be read
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos);
    return e.what();
  }
  return "";
}

TEST(Safetensors, RefusesWhatDoesNotFit) {
  auto entry = [](const std::string& dtype, const std::string& shape, uint64_t b, uint64_t e) {
    return fmt::format(R"({{"dtype":"{}","shape":{},"data_offsets":[{},{}]}})", dtype, shape, b, e);
  };
  auto one = [&](const std::string& e, size_t bytes) {
    return open_error(raw_file("{\"a\":" + e + "}", bytes));
  };
  EXPECT_EQ(one(entry("F32", "[2,3]", 0, 24), 24), "");
  EXPECT_EQ(one(entry("I64", "[]", 0, 8), 8), "");
  EXPECT_THAT(one(entry("F32", "[2,3]", 0, 24), 20), HasSubstr("truncated"));
  EXPECT_THAT(one(entry("F32", "[2,3]", 0, 24), 25), HasSubstr("after the last tensor"));
  EXPECT_THAT(one(entry("F32", "[2,3]", 0, 20), 24), HasSubstr("do not fit its shape"));
  EXPECT_THAT(one(entry("F32", "[2,3]", 4, 28), 28), HasSubstr("belong to no tensor"));
  EXPECT_THAT(one(entry("F32", "[2,3]", 24, 0), 24), HasSubstr("do not fit"));
  EXPECT_THAT(one(entry("F31", "[2,3]", 0, 24), 24), HasSubstr("unknown dtype"));
  EXPECT_THAT(one(entry("F32", "[-2,-3]", 0, 24), 24), HasSubstr("needs dtype, shape"));
  EXPECT_THAT(one(entry("F32", "[4611686018427387904,4]", 0, 0), 0), HasSubstr("overflows"));
  EXPECT_THAT(open_error(raw_file("[]", 0)), HasSubstr("not a JSON object"));
  EXPECT_THAT(open_error(raw_file("{\"a\":", 0)), HasSubstr("not a JSON object"));
  EXPECT_THAT(open_error(std::string(8, '\xff')), HasSubstr("not a safetensors file"));
  EXPECT_THAT(open_error("abc"), HasSubstr("truncated"));
  EXPECT_THAT(open_error(""), HasSubstr("truncated"));
  std::string a = "\"a\":" + entry("F32", "[2]", 0, 8);
  EXPECT_THAT(open_error(raw_file("{" + a + ",\"b\":" + entry("F32", "[2]", 4, 12) + "}", 12)),
              HasSubstr("overlaps"));
  EXPECT_THAT(open_error(raw_file("{" + a + "," + a + "}", 8)), HasSubstr("twice"));
}

TEST(Safetensors, EveryTruncationIsAnError) {
  const ModelConfig c = tiny();
  TempFolder folder;
  write_model_folder(folder / "m", c, random_weights(c), DType::f32, "");
  const std::string path = folder / "m/model.safetensors", whole = read_file(path);
  for (size_t n = 0; n < whole.size(); n += n < 4000 ? 13 : 501) {
    write_file(path, whole.substr(0, n));
    EXPECT_THAT(read_error(folder / "m", c), HasSubstr("model.safetensors")) << n;
  }
}

TEST(Safetensors, FlippedHeaderBytesNeverReadOutsideOrWrongly) {
  const ModelConfig c = tiny();
  TempFolder folder;
  write_model_folder(folder / "m", c, random_weights(c), DType::f32, "");
  const std::string path = folder / "m/model.safetensors", whole = read_file(path);
  const WeightSet good = read_weights(folder / "m", c, DType::f32);
  uint64_t header = 0;
  std::memcpy(&header, whole.data(), 8);
  std::mt19937 rng(11);
  int refused = 0, tried = 0;
  for (size_t at = 0; at < 8 + header; at += 1 + rng() % 3) {
    std::string bad = whole;
    bad[at] = static_cast<char>(bad[at] ^ (1 << rng() % 8));
    write_file(path, bad);
    ++tried;
    std::string error = read_error(folder / "m", c);
    if (error != "no error") {
      EXPECT_THAT(error, HasSubstr("model.safetensors"));
      ++refused;
    }
  }
  // what may pass: __metadata__, which nobody reads, and a dtype of the same size (F16 for BF16)
  EXPECT_GT(refused, tried * 9 / 10);
}

TEST(Safetensors, FuzzedFilesNeverCrash) {
  const ModelConfig c = tiny();
  TempFolder folder;
  write_model_folder(folder / "m", c, random_weights(c), DType::f32, "");
  const std::string whole = read_file(folder / "m/model.safetensors");
  std::mt19937 rng(5);
  for (int i = 0; i < 600; ++i) {
    std::string bad = whole.substr(0, rng() % 4 == 0 ? rng() % whole.size() : whole.size());
    for (int k = 0; k < 1 + int(rng() % 8) && !bad.empty(); ++k)
      bad[rng() % std::min<size_t>(bad.size(), 2600)] = static_cast<char>("0123456789[]{},:\"x"[rng() % 18]);
    open_error(bad);
  }
}

TEST(ReadWeights, NamesTheTensorAndBothShapes) {
  ModelConfig c = tiny();
  TempFolder folder;
  write_model_folder(folder / "m", c, random_weights(c), DType::f32, "");
  ModelConfig wide = c;
  wide.intermediate_size = 24;
  EXPECT_THAT(read_error(folder / "m", wide),
              AllOf(HasSubstr("mlp.gate_proj.weight"), HasSubstr("[20, 12]"), HasSubstr("[24, 12]")));
  ModelConfig deep = c;
  deep.num_layers = 3;
  EXPECT_THAT(read_error(folder / "m", deep),
              HasSubstr("tensor model.layers.2.input_layernorm.weight is missing"));
  fs::remove(folder / "m/model.safetensors");
  EXPECT_THAT(read_error(folder / "m", c), HasSubstr("no model.safetensors"));
}

TEST(ReadWeights, BadIndex) {
  const ModelConfig c = tiny();
  TempFolder folder;
  write_model_folder(folder / "m", c, random_weights(c), DType::f32, "", 2000);
  const std::string index = folder / "m/model.safetensors.index.json";
  const json good = json::parse(read_file(index));
  const std::string first_shard = good["weight_map"]["model.norm.weight"];
  auto with = [&](const std::function<void(json&)>& edit) {
    json j = good;
    edit(j);
    write_file(index, j.dump());
    return read_error(folder / "m", c);
  };
  EXPECT_EQ(with([](json&) {}), "no error");
  EXPECT_THAT(with([](json& j) { j.erase("weight_map"); }), HasSubstr("\"weight_map\" is missing"));
  EXPECT_THAT(with([](json& j) { j["weight_map"]["model.norm.weight"] = 3; }), HasSubstr("weight_map"));
  EXPECT_THAT(with([](json& j) { j["weight_map"]["model.norm.weight"] = "../../x"; }),
              HasSubstr("leaves the folder"));
  EXPECT_THAT(with([](json& j) { j["weight_map"]["model.norm.weight"] = "nope.safetensors"; }),
              HasSubstr("nope"));
  EXPECT_THAT(with([](json& j) { j["weight_map"].erase("model.norm.weight"); }),
              HasSubstr("model.norm.weight is missing"));
  EXPECT_THAT(with([](json& j) {
                j["weight_map"]["model.norm.weight"] = j["weight_map"]["model.embed_tokens.weight"];
              }),
              HasSubstr("says it is here"));
  write_file(index, good.dump());
  fs::remove(folder / ("m/" + first_shard));
  EXPECT_THAT(read_error(folder / "m", c), HasSubstr(first_shard));
}

}  // namespace
}  // namespace cohort
