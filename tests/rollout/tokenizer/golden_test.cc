// Token ids equal those of Python's tokenizers: on hard text in full, on GSM8K and HumanEval by hash. The
// files are made by tests/golden/make_tokenizer_golden.py.
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "rollout/tokenizer/unicode.h"
#include "tests/rollout/tokenizer/golden_tokenizers.h"

namespace cohort::test {
namespace {

using Json = nlohmann::json;
using Ids = std::vector<int32_t>;

template <class Values>
uint64_t fnv1a(const Values& values) {
  uint64_t h = 0xCBF29CE484222325;
  for (auto v : values) h = (h ^ static_cast<uint32_t>(v)) * 0x100000001B3;
  return h;
}

uint64_t fnv1a_bytes(std::string_view text) {
  uint64_t h = 0xCBF29CE484222325;
  for (unsigned char v : text) h = (h ^ v) * 0x100000001B3;
  return h;
}

std::string hex64(uint64_t value) {
  return fmt::format("{:016x}", value);
}

std::vector<Json> read_lines(const std::string& path) {
  std::istringstream in(read_file(path));
  std::vector<Json> out;
  for (std::string line; std::getline(in, line);) out.push_back(Json::parse(line));
  EXPECT_FALSE(out.empty()) << path;
  return out;
}

std::string from_hex(const std::string& hex) {
  std::string out;
  for (size_t i = 0; i < hex.size(); i += 2)
    out += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return out;
}

const std::vector<std::string>& hard_texts() {
  static const std::vector<std::string> texts = [] {
    std::vector<std::string> out;
    for (const Json& line : read_lines(kGolden + "hard_text.jsonl")) out.push_back(from_hex(line["hex"]));
    return out;
  }();
  return texts;
}

void expect_golden(const Tokenizer& t, const Json& golden) {
  const std::string& text = hard_texts().at(golden["text"]);
  const Ids ids = t.encode(text);
  if (golden.contains("ids")) {
    ASSERT_EQ(ids, golden["ids"].get<Ids>()) << "text " << golden["text"];
  }
  ASSERT_EQ(ids.size(), golden["n"].get<size_t>()) << "text " << golden["text"];
  ASSERT_EQ(hex64(fnv1a(ids)), golden["hash"].get<std::string>()) << "text " << golden["text"];
  Ids whole = golden["before"].get<Ids>();
  whole.insert(whole.end(), ids.begin(), ids.end());
  for (int32_t id : golden["behind"]) whole.push_back(id);
  ASSERT_EQ(t.encode(text, true), whole);
  const std::string decoded = t.decode(ids);
  ASSERT_EQ(hex64(fnv1a_bytes(decoded)), golden["decoded"].get<std::string>())
      << "text " << golden["text"] << ": " << decoded;
  ASSERT_EQ(hex64(fnv1a_bytes(t.decode(whole, false))), golden["whole"].get<std::string>())
      << "text " << golden["text"];
  ASSERT_TRUE(tokenizer::is_utf8(decoded));
}

class FamilyTest : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(, FamilyTest, ::testing::Values("qwen2", "llama3", "smollm2"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(FamilyTest, HardText) {
  const auto t = family(GetParam());
  const auto lines = read_lines(kGolden + "tokenizer_ids/" + GetParam() + ".jsonl");
  ASSERT_EQ(lines.size(), hard_texts().size());
  for (const Json& line : lines) expect_golden(*t, line);
}

// All of GSM8K and HumanEval
// -----------------------------------------------------------------------------------------
std::string read_gz(const std::string& path) {
  gzFile file = gzopen(path.c_str(), "rb");
  std::string text;
  char buffer[1 << 16];
  for (int n; file != nullptr && (n = gzread(file, buffer, sizeof buffer)) > 0;) text.append(buffer, n);
  if (file != nullptr) gzclose(file);
  return text;
}

std::string data_folder() {
  const char* set = std::getenv("COHORT_TEST_DATA");
  return set != nullptr ? set : std::string(COHORT_SOURCE_DIR) + "/../shared/data";
}

std::vector<std::string> texts_of(const std::string& part) {
  const bool code = part == "humaneval";
  const std::string path =
      data_folder() + (code ? "/humaneval/HumanEval.jsonl.gz" : "/gsm8k/" + part.substr(6) + ".jsonl");
  std::istringstream in(read_gz(path));  // reads plain files too
  std::vector<std::string> out;
  const std::vector<const char*> keys = code
                                            ? std::vector<const char*>{"prompt", "canonical_solution", "test"}
                                            : std::vector<const char*>{"question", "answer"};
  for (std::string line; std::getline(in, line);) {
    const Json row = Json::parse(line);
    for (const char* key : keys) out.push_back(row[key]);
  }
  return out;
}

TEST_P(FamilyTest, AllOfGsm8kAndHumanEval) {
  const Json golden = Json::parse(read_file(kGolden + "tokenizer_hashes.json"))[GetParam()];
  const auto t = family(GetParam());
  for (const auto& [part, expected] : golden.items()) {
    const auto texts = texts_of(part);
    if (texts.empty()) GTEST_SKIP() << part << " is not in " << data_folder() << " (COHORT_TEST_DATA)";
    ASSERT_EQ(texts.size(), expected["texts"].get<size_t>());
    const std::string each = expected["each"];
    size_t count = 0;
    std::vector<uint32_t> words;
    for (size_t i = 0; i < texts.size(); ++i) {
      const Ids ids = t->encode(texts[i]);
      count += ids.size();
      const uint64_t hash = fnv1a(ids);
      ASSERT_EQ(fmt::format("{:04x}", hash & 0xFFFF), each.substr(i * 4, 4))
          << part << " text " << i << ": " << texts[i];
      words.push_back(static_cast<uint32_t>(hash));
      words.push_back(static_cast<uint32_t>(hash >> 32));
      if (i % 16 == 0) {
        ASSERT_EQ(t->decode(ids), texts[i]);
      }
    }
    EXPECT_EQ(count, expected["ids"].get<size_t>()) << part;
    EXPECT_EQ(hex64(fnv1a(words)), expected["hash"].get<std::string>()) << part;
  }
}

// The rarer parts of the format
// --------------------------------------------------------------------------------------
TEST(OddTokenizersTest, EqualPythons) {
  std::map<std::string, std::shared_ptr<const Tokenizer>> all;
  std::map<std::string, int> bad;
  for (const Json& line : read_lines(kGolden + "tokenizers/odd.jsonl"))
    all[line["name"]] = tokenizer_of(line["tokenizer"].dump());
  for (const Json& line : read_lines(kGolden + "tokenizer_ids/odd.jsonl")) {
    SCOPED_TRACE(line["tokenizer"].get<std::string>());
    expect_golden(*all.at(line["tokenizer"]), line);
  }
}

}  // namespace
}  // namespace cohort::test
