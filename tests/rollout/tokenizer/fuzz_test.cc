// Properties on random text, and broken files: an Error each, never a crash and never silence about a wrong
// type.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "rollout/tokenizer/bpe.h"
#include "rollout/tokenizer/regex.h"
#include "rollout/tokenizer/unicode.h"
#include "tests/rollout/tokenizer/folders.h"
#include "transport/base/error.h"

namespace cohort::test {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;
using Ids = std::vector<int32_t>;

const std::string kTokenizers = std::string(COHORT_SOURCE_DIR) + "/tests/golden/tokenizers/";

std::vector<std::pair<std::string, std::string>> all_files() {
  std::vector<std::pair<std::string, std::string>> out;
  for (const char* name : {"qwen2", "llama3"})
    out.emplace_back(name, read_file(kTokenizers + name + "/tokenizer.json"));
  std::istringstream lines(read_file(kTokenizers + "odd.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const Json row = Json::parse(line);
    out.emplace_back(row["name"], row["tokenizer"].dump());
  }
  return out;
}

std::string random_text(std::mt19937& rng) {
  std::string out;
  const int length = static_cast<int>(rng() % 60);
  const int mood = static_cast<int>(rng() % 3);
  for (int i = 0; i < length; ++i) {
    static const char* const pieces[] = {" ",  "  ",  "\n", "\r\n", "\t",           "the",         "ing",
                                         "'s", "'LL", "12", "3",    "<|im_start|>", "<|im",        "😀",
                                         "é",  "中",  "_",  "...",  "\xCC\x81",     "\xE2\x80\x8D"};
    if (mood > 0 && rng() % 2 == 0) {
      out += pieces[rng() % std::size(pieces)];
      continue;
    }
    char32_t c;
    do c = mood == 0 ? rng() % 0x110000 : rng() % 0x400;
    while (c >= 0xD800 && c < 0xE000);
    tokenizer::append_utf8(out, c);
  }
  return out;
}

std::string random_bytes(std::mt19937& rng) {
  std::string out(rng() % 80, 0);
  for (char& c : out) c = static_cast<char>(rng());
  return out;
}

TEST(FuzzTest, ByteLevelDecodesWhatItEncoded) {
  std::mt19937 rng(1);
  const auto llama = Tokenizer::read(kTokenizers + "llama3");
  const auto qwen = Tokenizer::read(kTokenizers + "qwen2");
  for (int i = 0; i < 3000; ++i) {
    const std::string text = random_text(rng);
    ASSERT_EQ(llama->decode(llama->encode(text), false), text);
    ASSERT_EQ(qwen->decode(qwen->encode(text), false),
              tokenizer::normal_form(text, tokenizer::NormalForm::nfc));
    const std::string bytes = random_bytes(rng);
    ASSERT_EQ(llama->decode(llama->encode(bytes), false), tokenizer::replace_invalid(bytes));
  }
}

TEST(FuzzTest, EveryTokenizerTakesAnyBytesAndAnyIds) {
  std::mt19937 rng(2);
  for (const auto& [name, json] : all_files()) {
    SCOPED_TRACE(name);
    const auto t = tokenizer_of(json);
    for (int i = 0; i < 300; ++i) {
      for (int32_t id : t->encode(i % 2 == 0 ? random_text(rng) : random_bytes(rng), i % 3 == 0)) {
        ASSERT_GE(id, 0);
        ASSERT_LT(id, t->vocab_size());
      }
      Ids ids(rng() % 40);
      for (int32_t& id : ids) id = static_cast<int32_t>(rng() % (t->vocab_size() + 20)) - 10;
      ASSERT_TRUE(tokenizer::is_utf8(t->decode(ids)));
      ASSERT_TRUE(tokenizer::is_utf8(t->decode(ids, false)));
    }
  }
}

TEST(FuzzTest, StreamsTheSameText) {
  std::mt19937 rng(3);
  for (const auto& [name, json] : all_files()) {
    SCOPED_TRACE(name);
    const auto t = tokenizer_of(json);
    // What a stream cannot know: whether a token is the last (suffix) or a byte run will turn out invalid
    // (fallback).
    if (name == "suffix" || name == "fallback") continue;
    StreamDecoder stream(t);
    for (int i = 0; i < 200; ++i) {
      Ids ids(rng() % 40);
      for (int32_t& id : ids) id = static_cast<int32_t>(rng() % t->vocab_size());
      if (i % 2 == 0) ids = t->encode(random_text(rng));
      std::string streamed;
      for (int32_t id : ids) {
        streamed += stream.push(id);
        ASSERT_TRUE(tokenizer::is_utf8(streamed));
      }
      streamed += stream.finish();
      ASSERT_EQ(streamed, t->decode(ids));
    }
  }
}

TEST(FuzzTest, StreamHoldsBackOnlyUnfinishedCharacters) {
  const auto t = Tokenizer::read(kTokenizers + "llama3");
  StreamDecoder stream(t);
  std::string so_far;
  for (int b : {0xF0, 0x9F, 0x98}) so_far += stream.push(t->id_of(tokenizer::ByteAlphabet::get().text[b]));
  EXPECT_EQ(so_far, "");
  EXPECT_EQ(stream.push(t->id_of(tokenizer::ByteAlphabet::get().text[0x80])), "😀");
  EXPECT_EQ(stream.push(t->id_of(tokenizer::ByteAlphabet::get().text[0xFF])), "\xEF\xBF\xBD")
      << "no character begins so";
  stream.push(t->id_of(tokenizer::ByteAlphabet::get().text[0xE4]));
  EXPECT_EQ(stream.push(t->id_of("a")),
            "\xEF\xBF\xBD"
            "a");
}

TEST(FuzzTest, BothWaysToMergeAgree) {
  std::mt19937 rng(4);
  for (int round = 0; round < 200; ++round) {
    tokenizer::MergeTable merges;
    const int letters = 2 + static_cast<int>(rng() % 4);
    std::vector<std::pair<int, int>> seen;
    merges.reserve(60);
    int next = letters;
    for (uint32_t rank = 0; rank < 40; ++rank) {
      // ids may be reached by several pairs, as in real tables
      const int id =
          rng() % 5 == 0 && next > letters ? letters + static_cast<int>(rng() % (next - letters)) : next++;
      merges.set(static_cast<int>(rng() % next), static_cast<int>(rng() % next), {rank, id});
    }
    for (int i = 0; i < 50; ++i) {
      Ids a(rng() % 120);
      for (int32_t& s : a) s = static_cast<int32_t>(rng() % letters);
      Ids b = a;
      tokenizer::merge_short(merges, a);
      tokenizer::merge_long(merges, b);
      ASSERT_EQ(a, b);
    }
  }
}

TEST(FuzzTest, LongPiecesTakeNoQuadraticTime) {
  const auto t = Tokenizer::read(kTokenizers + "qwen2");
  const std::string text(1 << 19, 'a');
  const auto began = std::chrono::steady_clock::now();
  EXPECT_EQ(t->decode(t->encode(text)), text);
  const std::string spaces(1 << 19, ' ');
  EXPECT_EQ(t->decode(t->encode(spaces)), spaces);
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(20));
}

TEST(FuzzTest, ThreadsShareOneTokenizer) {
  const auto t = Tokenizer::read(kTokenizers + "qwen2");
  std::vector<std::string> texts;
  std::vector<Ids> expected;
  std::mt19937 rng(5);
  const auto alone = Tokenizer::read(kTokenizers + "qwen2");  // its cache is no other thread's
  for (int i = 0; i < 60; ++i) {
    texts.push_back(random_text(rng));
    expected.push_back(alone->encode(texts.back()));
  }
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int k = 0; k < 4; ++k)
    threads.emplace_back([&] {
      for (int round = 0; round < 50; ++round)
        for (size_t i = 0; i < texts.size(); ++i) wrong += t->encode(texts[i]) != expected[i];
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

// Broken files
// -------------------------------------------------------------------------------------------------------
// Reads the file; if that goes well by chance, uses it. Anything but an Error fails the test by escaping.
bool breaks(const std::string& json) {
  try {
    const auto t = tokenizer_of(json);
    t->decode(t->encode("the 12 é😀 <|im_end|>", true), false);
    return false;
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
    return true;
  }
}

TEST(BrokenFileTest, TruncatedAnywhereIsAnError) {
  std::mt19937 rng(6);
  for (const auto& [name, json] : all_files()) {
    SCOPED_TRACE(name);
    const size_t end = json.find_last_of('}');
    for (int i = 0; i < (json.size() > 50000 ? 8 : 24); ++i)
      ASSERT_TRUE(breaks(json.substr(0, rng() % (i < 6 ? std::min<size_t>(end, 200) : end))));
  }
}

TEST(BrokenFileTest, FlippedBytesNeverCrash) {
  std::mt19937 rng(7);
  for (const auto& [name, json] : all_files()) {
    SCOPED_TRACE(name);
    for (int i = 0; i < (json.size() > 50000 ? 8 : 30); ++i) {
      std::string flipped = json;
      for (int k = 0; k <= i % 3; ++k) flipped[rng() % flipped.size()] ^= static_cast<char>(1 << rng() % 8);
      breaks(flipped);
    }
  }
}

// Every value of the document replaced by ones of another type or size.
void mutate(const Json& at, const std::string& path, std::vector<std::string>& paths) {
  paths.push_back(path);
  size_t n = 0;
  if (at.is_object() || at.is_array())
    for (const auto& [key, value] : at.items()) {
      if (++n > 6) break;
      std::string step;
      for (char c : key) step += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
      mutate(value, path + "/" + step, paths);
    }
}

TEST(BrokenFileTest, WrongTypesNeverCrash) {
  const std::vector<Json> wrong = {nullptr,
                                   true,
                                   -1,
                                   3.5,
                                   1e300,
                                   4000000000u,
                                   "",
                                   "x",
                                   Json::array(),
                                   Json::object(),
                                   Json{{"type", "Nonsense"}}};
  for (const auto& [name, json] : all_files()) {
    if (json.size() > 50000) continue;
    SCOPED_TRACE(name);
    const Json document = Json::parse(json);
    std::vector<std::string> paths;
    mutate(document, "", paths);
    std::mt19937 rng(8);
    for (const std::string& path : paths) {
      Json copy = document;
      copy[Json::json_pointer(path)] = wrong[rng() % wrong.size()];
      breaks(copy.dump());
    }
  }
}

TEST(BrokenFileTest, SaysFileAndWhatIsWrong) {
  auto error = [](const std::string& json) {
    try {
      tokenizer_of(json);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("no error");
  };
  const std::string file = "/tokenizer.json: ";
  EXPECT_THAT(error("{\"model\": "), HasSubstr(file + "not valid JSON: parse error at line 1"));
  EXPECT_THAT(error("[]"), HasSubstr(file + "expected an object"));
  EXPECT_THAT(error("{}"), HasSubstr(file + "'model' is missing"));
  EXPECT_THAT(error(R"({"model": {"type": "Unigram", "vocab": []}})"),
              HasSubstr(file + "model: model type 'Unigram' is not supported"));
  EXPECT_THAT(error(R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 0}, "merges": []}})"),
              HasSubstr("model.vocab: id 0 belongs to two tokens"));
  EXPECT_THAT(error(R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": ["a b"]}})"),
              HasSubstr("model.merges: [0]: the merged token 'ab' is not in the vocabulary"));
  EXPECT_THAT(error(R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a  a"]}})"),
              HasSubstr("is not two tokens"));
  EXPECT_THAT(error(R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [], "unk_token": "?"}})"),
              HasSubstr("model.unk_token: '?' is not in the vocabulary"));
  EXPECT_THAT(error(R"({"normalizer": {"type": "Precompiled"}, "model": {}})"),
              HasSubstr("normalizer: normalizer 'Precompiled' is not supported"));
  EXPECT_THAT(
      error(
          R"({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "UnicodeScripts"}]}, "model": {}})"),
      HasSubstr("pre_tokenizer.pretokenizers[0]: pre-tokenizer 'UnicodeScripts' is not supported"));
  EXPECT_THAT(
      error(
          R"({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a"}, "behavior": "Isolated"}, "model": {}})"),
      HasSubstr("pre_tokenizer.pattern: regular expression '(a': missing closing parenthesis"));
  EXPECT_THAT(error(R"({"decoder": {"type": "CTC"}, "model": {}})"),
              HasSubstr("decoder 'CTC' is not supported"));
  EXPECT_THAT(
      error(
          R"({"added_tokens": [{"id": 3, "content": "a"}], "model": {"type": "WordLevel", "vocab": {"a": 0}}})"),
      HasSubstr("added_tokens[0]: 'a' has id 3 here but 0 in the vocabulary"));
  try {
    Tokenizer::read("/nonexistent");
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "/nonexistent/tokenizer.json: cannot open: No such file or directory");
  }
}

TEST(RegexTest, SpeaksOnigurumasDialect) {
  auto first = [](const std::string& pattern, std::string_view text) {
    size_t begin = 0, end = 0;
    return tokenizer::Regex(pattern).find(text, 0, begin, end) ? std::string(text.substr(begin, end - begin))
                                                               : "none";
  };
  EXPECT_EQ(first(R"(\s+)", "a\xE1\xA0\x8E b"), " ") << "U+180E is no space";
  EXPECT_EQ(first(R"([^\s]+)", "\xC2\x85z"), "z");
  EXPECT_EQ(first(R"(\w+)", "e\xCC\x81t!"), "e\xCC\x81t") << "marks belong to words";
  EXPECT_EQ(first(R"(\h+)", "xyz0aF "), "0aF");
  EXPECT_EQ(first(R"((?m:.)+)", "a\nb"), "a\nb") << "Ruby's m is the dot's";
  EXPECT_EQ(first(R"(^b)", "a\nb"), "b");
  EXPECT_EQ(first(R"([]a]+)", "x]a"), "]a");
  EXPECT_EQ(first(R"(\d{,2}x)", "123x"), "23x");
  for (const char* refused : {R"([a[bc]])", R"([a&&b])", R"(\p{N}{1,3}+)", R"(\)", R"((a)", R"([\W])"})
    EXPECT_THROW(tokenizer::Regex{refused}, std::invalid_argument) << refused;
}

}  // namespace
}  // namespace cohort::test
