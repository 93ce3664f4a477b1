// The example of docs/rewards.md is what a reader copies, so it is what runs here.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "reward/grader.h"

namespace cohort {
namespace {

// The first fenced block of this language after the marker.
std::string block(const std::string& text, const std::string& language) {
  const size_t mark = text.find("process_example_test.cc runs exactly");
  const std::string fence = "```" + language + "\n";
  const size_t begin = text.find(fence, mark) + fence.size();
  return text.substr(begin, text.find("```", begin) - begin);
}

TEST(ProcessExample, OfTheDocs) {
  if (std::system("python3 -c 1 >/dev/null 2>&1") != 0) GTEST_SKIP() << "python3 is not there";
  std::ifstream in(COHORT_SOURCE_DIR "/docs/rewards.md");
  const std::string docs{std::istreambuf_iterator<char>(in), {}};
  const std::string program = block(docs, "python");
  EXPECT_LE(std::count(program.begin(), program.end(), '\n'), 11) << "it is a ten-line example";
  const std::string folder = ::testing::TempDir() + "/process_example_" + std::to_string(getpid());
  std::filesystem::create_directories(folder);
  std::ofstream(folder + "/keywords.py") << program;
  ASSERT_EQ(chdir(folder.c_str()), 0);
  RewardList list = make_reward_list(*TomlTable::parse(block(docs, "toml"), "docs").get_tables("reward"));
  GradeInput input;
  input.record_json = R"({"prompt": "p", "keywords": ["blue", "sky"]})";
  input.completion = "the blue sea";
  RewardPart part = list.grade(input, false).at(0);
  EXPECT_EQ(part.verdict.kind, VerdictKind::passed) << part.verdict.reason;
  EXPECT_EQ(part.verdict.score, 0.5);
  EXPECT_EQ(part.verdict.reason, "1 of 2 keywords");
  EXPECT_EQ(part.name, "process");
  input.completion = "grass";
  EXPECT_EQ(list.grade(input, false).at(0).verdict.kind, VerdictKind::failed);
  input.record_json = "{}";  // its KeyError is its own fault
  EXPECT_EQ(list.grade(input, false).at(0).verdict.kind, VerdictKind::infra_error);
  input.record_json = R"({"keywords": ["grass"]})";
  EXPECT_EQ(list.grade(input, false).at(0).verdict.score, 1);
}

}  // namespace
}  // namespace cohort
