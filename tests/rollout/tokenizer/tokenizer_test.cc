#include "rollout/tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/rollout/tokenizer/folders.h"
#include "transport/base/error.h"

namespace cohort::test {
namespace {

using ::testing::ElementsAre;
using Ids = std::vector<int32_t>;

constexpr std::string_view kCountdown = R"({
  "added_tokens": [
    {"id": 0, "content": "<pad>", "special": true},
    {"id": 1, "content": "<eos>", "special": true},
    {"id": 2, "content": "<think>", "special": false, "normalized": false}
  ],
  "normalizer": null,
  "pre_tokenizer": {"type": "WhitespaceSplit"},
  "post_processor": null,
  "decoder": null,
  "model": {"type": "WordLevel", "unk_token": "<pad>",
            "vocab": {"<pad>": 0, "<eos>": 1, "<think>": 2, "3": 3, "+": 4, "12": 5, "=": 6}}
})";

TEST(WordLevelTest, SplitsAtWhiteSpaceAndJoinsWithSpaces) {
  auto t = tokenizer_of(kCountdown);
  EXPECT_EQ(t->vocab_size(), 7);
  EXPECT_EQ(t->encode("<think> 12 + 3\n=\t12<eos>"), (Ids{2, 5, 4, 3, 6, 5, 1}));
  EXPECT_EQ(t->encode("<think>12"), (Ids{2, 5}));
  EXPECT_EQ(t->encode("12+3"), (Ids{0})) << "an unknown word";
  EXPECT_EQ(t->encode(""), Ids{});
  EXPECT_EQ(t->decode(Ids{2, 5, 4, 3, 1}), "<think> 12 + 3");
  EXPECT_EQ(t->decode(Ids{5, 1}, false), "12 <eos>");
  EXPECT_EQ(t->id_of("="), 6);
  EXPECT_EQ(t->id_of("?"), -1);
  EXPECT_TRUE(t->is_special(1));
  EXPECT_FALSE(t->is_special(2));
}

TEST(WordLevelTest, StreamsWithTheSpacesBetween) {
  auto t = tokenizer_of(kCountdown);
  StreamDecoder stream(t);
  EXPECT_EQ(stream.push(2), "<think>");
  EXPECT_EQ(stream.push(5), " 12");
  EXPECT_EQ(stream.push(1), "");
  EXPECT_EQ(stream.push(4), " +");
  EXPECT_EQ(stream.finish(), "");
  EXPECT_EQ(stream.push(4), "+");
}

}  // namespace
}  // namespace cohort::test
