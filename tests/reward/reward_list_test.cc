#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "reward/grader.h"

namespace cohort {
namespace {

RewardList list_of(const std::string& toml) {
  return make_reward_list(*TomlTable::parse(toml, "run.toml").get_tables("reward"));
}
std::string error_of(const std::string& toml) {
  try {
    list_of(toml);
  } catch (const Error& e) {
    EXPECT_EQ(e.exit_code(), Error::kBadUsage);
    return e.what();
  }
  return "no error";
}

TEST(RewardList, GradesInOrderWithNamesAndWeights) {
  RewardList list = list_of(
      "[[reward]]\nkind = \"countdown\"\n[[reward]]\nkind = \"format\"\nname = \"shape\"\nweight = 0.1\n");
  GradeInput input;
  input.record_json = R"({"numbers": [3, 1, 6], "target": 9})";
  input.completion = "<think>a</think><answer>3*1+6</answer>";
  const std::vector<RewardPart> parts = list.grade(input, false);
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[0].name, "countdown");
  EXPECT_EQ(parts[0].weight, 1);
  EXPECT_EQ(parts[0].verdict.kind, VerdictKind::passed);
  EXPECT_EQ(parts[1].name, "shape");
  EXPECT_DOUBLE_EQ(parts[1].weight, 0.1);
  EXPECT_EQ(parts[1].verdict.kind, VerdictKind::passed);
}

TEST(RewardList, MistakesNameFileLineAndKey) {
  using testing::AllOf, testing::HasSubstr;
  EXPECT_THAT(error_of("[[reward]]\nkind = \"cuntdown\"\n"),
              AllOf(HasSubstr("run.toml:2"), HasSubstr("countdown")));
  EXPECT_THAT(error_of("[[reward]]\nweight = 1.0\n"), HasSubstr("kind"));
  EXPECT_THAT(error_of("[[reward]]\nkind = \"countdown\"\nuse_al = true\n"),
              AllOf(HasSubstr("run.toml:3"), HasSubstr("use_all")));
  EXPECT_THAT(error_of("[[reward]]\nkind = \"format\"\npartial_score = 2.0\n"), HasSubstr("from 0 to 1"));
  EXPECT_THAT(error_of("[[reward]]\nkind = \"format\"\n[[reward]]\nkind = \"format\"\n"),
              HasSubstr("two rewards"));
  EXPECT_THROW(make_reward_list({}), Error);
  try {
    check_kind("maths", "--reward");
    ADD_FAILURE() << "maths is no kind";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), AllOf(testing::StartsWith("--reward = \"maths\""), HasSubstr("\"math\"")));
  }
}

}  // namespace
}  // namespace cohort
