// Imported problem sets and the files they come from.
#include "launch/data/imports.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "launch/data/jsonl.h"
#include "transport/base/error.h"

namespace cohort {
namespace {

using Json = nlohmann::ordered_json;
using testing::HasSubstr;

std::string error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

std::string temporary(const std::string& text) {
  const std::string path = testing::TempDir() + "cohort_import.jsonl";
  std::ofstream(path, std::ios::binary) << text;
  return path;
}

TEST(Gsm8k, DemonstrationsEndWithTheBoxedAnswer) {
  const Json row = {{"question", "How many?"},
                    {"answer", "He has 48/2 = <<48/2=24>>24 dogs.\nSo <<24*100=2400>>2400.\n#### 2,400"}};
  const Json record = import_gsm8k(row, "gsm8k-1", {true, "Think.", true}, "f:1");
  EXPECT_EQ(record["messages"][0]["content"], "How many?\nThink.");
  EXPECT_EQ(record["messages"][1]["role"], "assistant");
  EXPECT_EQ(record["messages"][1]["content"],
            "He has 48/2 = 24 dogs.\nSo 2400.\nThe answer is \\boxed{2400}.");
  EXPECT_FALSE(record.contains("gold"));
}

TEST(Gsm8k, GoldIsTheNumberWithoutSeparators) {
  const Json row = {{"question", "How many?"}, {"answer", "so\n#### 1,234"}};
  const Json record = import_gsm8k(row, "gsm8k-1", {true, "Think."}, "f:1");
  EXPECT_EQ(record["gold"], "1234");
  EXPECT_EQ(record["messages"][0]["content"], "How many?\nThink.");
  EXPECT_EQ(import_gsm8k(row, "x", {false, ""}, "f:1")["prompt"], "How many?");
  EXPECT_THAT(error_of([&] {
                import_gsm8k({{"question", "q"}, {"answer", "none"}}, "x", {}, "f:3");
              }),
              HasSubstr("f:3"));
}

TEST(Jsonl, ErrorsNameFileAndLine) {
  const std::string path = temporary("{\"a\": 1}\n\n{\"a\": \n");
  EXPECT_THAT(error_of([&] { read_jsonl(path, [](const Json&, size_t) {}); }), HasSubstr(path + ":3: "));
  EXPECT_THAT(error_of([] { read_jsonl("/nowhere/x.jsonl", [](const Json&, size_t) {}); }),
              HasSubstr("/nowhere/x.jsonl"));
  EXPECT_THAT(error_of([] { read_jsonl("/tmp", [](const Json&, size_t) {}); }), HasSubstr("folder"));
}

TEST(Jsonl, ACutGzipIsAnErrorAndNotAShorterFile) {
  const char* data = std::getenv("COHORT_TEST_DATA");
  const std::string whole =
      std::string(data ? data : COHORT_SOURCE_DIR "/../shared/data") + "/humaneval/HumanEval.jsonl.gz";
  if (!std::filesystem::exists(whole)) GTEST_SKIP() << whole << " is not there";
  size_t rows = 0;
  read_jsonl(whole, [&](const Json& row, size_t line) {
    const Json record = import_humaneval(row, {}, "f:" + std::to_string(line));
    EXPECT_TRUE(record.contains("test_code") && record.contains("entry_point"));
    ++rows;
  });
  EXPECT_EQ(rows, 164u);
  const std::string bytes = read_text(whole);
  const std::string cut = testing::TempDir() + "cohort_cut.jsonl.gz";
  std::ofstream(cut, std::ios::binary) << bytes.substr(0, bytes.size() / 2);
  EXPECT_THAT(error_of([&] { read_jsonl(cut, [](const Json&, size_t) {}); }),
              HasSubstr("cannot be unpacked"));
}

}  // namespace
}  // namespace cohort
