// Supervised data from chat messages: the tokens, and which of them are learnt, equal transformers'
// apply_chat_template with return_assistant_tokens_mask; tests/golden/make_sft_chat_golden.py made the values.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "learner/packing.h"
#include "learner/sft_data.h"
#include "tests/rollout/tokenizer/golden_tokenizers.h"
#include "transport/base/error.h"

namespace cohort::test {
namespace {

using nlohmann::json;
using Ids = std::vector<int32_t>;

json golden_of(const std::string& file) {
  return json::parse(read_file(kGolden + file));
}

// A model folder with the chat template of that name, and the conversations as a file of lines in it.
class ChatFolder {
 public:
  ChatFolder(const std::string& name, const std::string& tokenizer) : tokenizer_(family(tokenizer)) {
    const json file = golden_of("chat_templates.json");
    for (const json& known : file["known"])
      if (known["name"] == name) {
        folder_.write("chat_template.jinja", known["template"].get<std::string>());
        folder_.write("tokenizer_config.json", json{{"bos_token", known["bos"]}}.dump());
      }
  }
  SftData read(const json& conversations, int64_t max_length = 0) {
    std::string lines;
    for (const json& conversation : conversations) {
      json messages = json::array();
      for (const json& turn : conversation) messages.push_back({{"role", turn[0]}, {"content", turn[1]}});
      lines += json{{"messages", messages}, {"id", 7}}.dump() + "\n";
    }
    folder_.write("chat.jsonl", lines);
    SftDataOptions o;
    o.path = folder_.path() + "/chat.jsonl";
    o.model_folder = folder_.path();
    o.max_length = max_length;
    o.vocab_size = 1 << 20;
    return read_sft_data(o, *tokenizer_);
  }

 private:
  Folder folder_;
  std::shared_ptr<const Tokenizer> tokenizer_;
};

// "1" where a token is learnt, from [[begin, end), …].
std::vector<uint8_t> mask_of(const json& runs, size_t tokens) {
  std::vector<uint8_t> mask(tokens, 0);
  for (const json& run : runs)
    for (size_t i = run[0]; i < run[1].get<size_t>(); ++i) mask.at(i) = 1;
  return mask;
}

TEST(SftChat, TokensAndMaskEqualTransformers) {
  const json file = golden_of("sft_chat.json");
  size_t seen = 0, whole_turns = 0;
  for (const json& family : file["families"]) {
    SCOPED_TRACE(family["name"].get<std::string>());
    ChatFolder folder(family["name"], family["tokenizer"]);
    for (const auto& [title, expected] : family["samples"].items()) {
      SCOPED_TRACE(title);
      const SftData data = folder.read(json::array({file["conversations"][title]}));
      ASSERT_EQ(data.samples.size(), 1u);
      const SftSample& sample = data.samples[0];
      ASSERT_EQ(sample.tokens, expected["ids"].get<Ids>());
      EXPECT_EQ(sample.learnt, mask_of(expected["learnt"], sample.tokens.size()));
      whole_turns += expected["learnt"].size();
      ++seen;
    }
  }
  EXPECT_EQ(seen, 68u);
  EXPECT_GT(whole_turns, 90u) << "every turn of the assistant is learnt, not the last alone";
}

TEST(SftChat, PackedTogetherEachSampleLearnsItsOwnTokensOnly) {
  const json file = golden_of("sft_chat.json");
  ChatFolder folder("qwen3", "qwen2");
  json all = json::array();
  for (const auto& [title, conversation] : file["conversations"].items()) all.push_back(conversation);
  const SftData data = folder.read(all);
  ASSERT_EQ(data.samples.size(), all.size());
  PackedBatch pack;
  Ids learnt;
  int64_t targets = 0;
  for (const SftSample& s : data.samples) {
    pack.add_masked(s.tokens, s.learnt);
    targets += s.targets();
    for (size_t i = 0; i < s.tokens.size(); ++i)
      if (s.learnt[i]) learnt.push_back(s.tokens[i]);
  }
  EXPECT_EQ(Ids(pack.targets.begin(), pack.targets.end()), learnt);
  EXPECT_EQ(targets, static_cast<int64_t>(learnt.size()));
  ASSERT_EQ(pack.cu_seqlens.size(), data.samples.size() + 1);
  for (size_t s = 0; s < data.samples.size(); ++s) {
    EXPECT_EQ(pack.positions[static_cast<size_t>(pack.cu_seqlens[s])], 0);
    for (int64_t t = pack.cu_targets[s]; t < pack.cu_targets[s + 1]; ++t) {
      const int64_t row = pack.rows[static_cast<size_t>(t)];
      ASSERT_GE(row, pack.cu_seqlens[s]);
      ASSERT_LT(row + 1, pack.cu_seqlens[s + 1]) << "a token predicted from another conversation";
      ASSERT_EQ(pack.tokens[static_cast<size_t>(row + 1)], pack.targets[static_cast<size_t>(t)]);
    }
  }
}

TEST(SftChat, WhatIsCutAndWhatCannotBeLearnt) {
  ChatFolder folder("chatml", "qwen2");
  const auto talk = [](std::initializer_list<std::pair<const char*, const char*>> turns) {
    json out = json::array();
    for (const auto& [role, content] : turns) out.push_back({role, content});
    return out;
  };
  const json two = json::array(
      {talk({{"user", "1"}, {"assistant", "2"}}), talk({{"user", "a b c d e f"}, {"assistant", "x"}})});
  const SftData whole = folder.read(two);
  const auto length = static_cast<int64_t>(whole.samples.at(0).tokens.size());
  const SftData cut = folder.read(two, length);
  EXPECT_EQ(cut.samples.size(), 1u);
  EXPECT_EQ(cut.cut, 1);
  EXPECT_EQ(cut.dropped, 1) << "the cut took its answer";
  const auto refusal = [&](const json& conversation) {
    try {
      folder.read(json::array({two[0], conversation}));
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("taken");
  };
  using ::testing::HasSubstr;
  EXPECT_THAT(refusal(talk({{"user", "1"}})), HasSubstr("chat.jsonl:2: has no message of the assistant"));
  EXPECT_THAT(refusal(talk({{"judge", "1"}, {"assistant", "2"}})), HasSubstr("no role 'judge'"));
}

}  // namespace
}  // namespace cohort::test
