// The tasks of `cohort data programs`: what the teacher writes without slips is right, with slips sometimes not, and
// nothing of the held-out side is in training.
#include "launch/data/programs.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "reward/code.h"

namespace cohort {
namespace {

VerdictKind graded(const ProgramTask& task, const ProgramOptions& options, const std::string& program) {
  static const auto grader = make_code_grader(TomlTable::parse("whole_completion = true", "t.toml"));
  nlohmann::json tests = nlohmann::json::array();
  for (const ProgramTest& t : program_tests(task, options)) {
    nlohmann::json test;
    test["stdin"] = t.input, test["stdout"] = t.output;
    tests.push_back(test);
  }
  nlohmann::json record;
  record["language"] = "c", record["driver"] = kProgramDriver, record["tests"] = tests;
  GradeInput input;
  input.record_json = record.dump();
  input.completion = program;
  return grader->grade(input, false).kind;
}

TEST(Programs, WithoutSlipsTheTeacherIsRight) {
  const ProgramOptions options;
  Draw draw(1);
  std::set<ProgramTask::Form> forms;
  for (const ProgramTask& task : program_tasks(options, false, 30)) {
    const ProgramDemonstration d = program_demonstration(task, 0, draw);
    EXPECT_EQ(d.slips, 0);
    EXPECT_EQ(graded(task, options, d.completion), VerdictKind::passed) << task.prompt() << "\n"
                                                                        << d.completion;
    forms.insert(task.form);
  }
  EXPECT_EQ(forms.size(), 8u);
}

TEST(Programs, SlipsAreMostlyWrong) {
  const ProgramOptions options;
  Draw draw(2);
  int wrong = 0, slipped = 0;
  for (const ProgramTask& task : program_tasks(options, false, 20)) {
    const ProgramDemonstration d = program_demonstration(task, 0.3, draw);
    if (d.slips == 0) continue;
    ++slipped;
    wrong += graded(task, options, d.completion) != VerdictKind::passed;
  }
  EXPECT_GT(slipped, 10);
  EXPECT_GT(wrong, slipped / 2);
}

TEST(Programs, SplitAndVocabulary) {
  ProgramOptions options;
  const auto train = program_tasks(options, false, 1000), eval = program_tasks(options, true, 200);
  std::set<std::string> seen;
  for (const ProgramTask& task : train) EXPECT_TRUE(seen.insert(task.prompt()).second);
  for (const ProgramTask& task : eval) {
    EXPECT_TRUE(program_held_out(task, options.hold_out));
    EXPECT_FALSE(seen.contains(task.prompt()));
  }
  options.seed = 2;  // another order, the same split
  for (const ProgramTask& task : program_tasks(options, false, 100))
    EXPECT_FALSE(program_held_out(task, options.hold_out));
  const auto list = program_words();
  const std::set<std::string> words(list.begin(), list.end());
  EXPECT_EQ(words.size(), list.size());
  Draw draw(3);
  for (const ProgramTask& task : train) {
    std::istringstream text(task.prompt() + " " + program_demonstration(task, 0.2, draw).completion);
    for (std::string word; text >> word;) EXPECT_TRUE(words.contains(word)) << word;
  }
}

}  // namespace
}  // namespace cohort
