// The quickstart's data: problems that can be solved, a split without overlap, a teacher as weak as said.
#include "launch/data/countdown.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "launch/data/jsonl.h"

namespace cohort {
namespace {

TEST(CountdownTries, AreTheLegalOnesOfTheDefinition) {
  // 1 2 3 with values up to 6, by hand: z = 3: 2+1=3 (then 3+3=6, 3*3=9 too big, 3-3=0 no), 2-1=1 (1+3=4,
  // 3-1=2, 1*3=3), 2*1=2 (2+3=5, 3-2=1, 2*3=6); and so on for z = 2 and z = 1.
  std::multiset<std::string> found;
  for (const CountdownTry& t : countdown_tries({1, 2, 3}, 6))
    if (t.z == 3) found.insert(t.expression() + " = " + std::to_string(t.s));
  const std::multiset<std::string> expected = {"( 2 + 1 ) + 3 = 6", "( 2 - 1 ) + 3 = 4", "3 - ( 2 - 1 ) = 2",
                                               "( 2 - 1 ) * 3 = 3", "( 2 * 1 ) + 3 = 5", "3 - ( 2 * 1 ) = 1",
                                               "( 2 * 1 ) * 3 = 6"};
  EXPECT_EQ(found, expected);
}

TEST(CountdownTries, EveryValueIsLegalAndEveryNumberUsedOnce) {
  for (int a = 1; a < 12; ++a)
    for (int b = a + 1; b < 12; ++b)
      for (int c = b + 1; c < 12; ++c)
        for (const CountdownTry& t : countdown_tries({a, b, c}, 30)) {
          EXPECT_EQ((std::multiset<int>{t.x, t.y, t.z}), (std::multiset<int>{a, b, c}));
          EXPECT_GT(t.x, t.y);
          EXPECT_TRUE(t.r >= 1 && t.r <= 30 && t.s >= 1 && t.s <= 30);
        }
}

TEST(CountdownProblems, TheTenNumberSettingHas1065) {
  const CountdownOptions o{.max_number = 10, .max_value = 30, .hold_out = 10};
  EXPECT_EQ(countdown_problems(o, false).size() + countdown_problems(o, true).size(), 1065u);
}

TEST(CountdownSplit, HoldsOutWholeNumberSets) {
  for (int max_number : {10, 14, 20, 30})
    for (int hold_out : {2, 4, 10}) {
      const CountdownOptions o{.max_number = max_number, .max_value = 40, .hold_out = hold_out};
      std::set<Numbers> training, held_out;
      std::set<std::string> ids;
      for (bool side : {false, true})
        for (const auto& p : countdown_problems(o, side)) {
          (side ? held_out : training).insert(p.numbers);
          EXPECT_TRUE(ids.insert(p.id()).second);
        }
      for (const Numbers& n : held_out) EXPECT_FALSE(training.contains(n));
      const double share = double(held_out.size()) / double(held_out.size() + training.size());
      EXPECT_NEAR(share, 1.0 / hold_out, 0.1) << max_number;
    }
}

TEST(CountdownSplit, DoesNotDependOnTheSeed) {
  auto ids = [](uint64_t seed) {
    std::set<std::string> out;
    for (const auto& p : countdown_problems({.seed = seed}, true)) out.insert(p.id());
    return out;
  };
  EXPECT_EQ(ids(1), ids(2));
  EXPECT_GE(ids(1).size(), 512u) << "the default setting must have enough held-out problems";
}

TEST(CountdownTeacher, IsWeakAndSaysWhatItDoes) {
  const CountdownOptions o{.max_number = 10, .max_value = 30};
  const auto problems = countdown_problems(o, false);
  const auto list = countdown_words(o);
  const std::set<std::string> words(list.begin(), list.end());
  EXPECT_EQ(words.size(), list.size()) << "a word twice in the vocabulary";
  Draw draw(7);
  int right = 0, n = 4000;
  for (int i = 0; i < n; ++i) {
    const auto& problem = problems[draw.below(problems.size())];
    const Demonstration d = countdown_demonstration(problem, o, draw);
    right += d.right;
    EXPECT_LE(d.tries, o.max_tries);
    std::istringstream text(d.prompt + " " + d.completion);
    for (std::string w; text >> w;) ASSERT_TRUE(words.contains(w)) << w;
    // the answer is the last try, and right exactly when the thought ends with yes
    const bool yes = d.completion.find(" yes </think>") != std::string::npos;
    EXPECT_EQ(yes, d.right);
    const size_t begin = d.completion.find("<answer> ") + 9;
    const std::string answer = d.completion.substr(begin, d.completion.find(" </answer>") - begin);
    bool found = false;
    for (const CountdownTry& t : countdown_tries(problem.numbers, o.max_value))
      if (t.expression() == answer) {
        found = true;
        EXPECT_EQ(t.s == problem.target, d.right);
      }
    EXPECT_TRUE(found) << answer;
  }
  EXPECT_NEAR(double(right) / n, 0.45, 0.05);
}

TEST(CountdownTeacher, APatientOneGoesOn) {
  const CountdownOptions o{.max_number = 10, .max_value = 30, .patient = 1, .patient_tries = 12};
  const auto problems = countdown_problems(o, false);
  Draw draw(7);
  int longest = 0;
  for (int i = 0; i < 500; ++i) {
    const auto& problem = problems[draw.below(problems.size())];
    const Demonstration d = countdown_demonstration(problem, o, draw);
    longest = std::max(longest, d.tries);
    if (!d.right) {
      EXPECT_EQ(d.tries, std::min(o.patient_tries, problem.tries)) << d.completion;
    }
  }
  EXPECT_EQ(longest, o.patient_tries);
}

// The command itself: what lies in the files is disjoint, whatever the library says.
TEST(CountdownCommand, WritesDisjointFiles) {
  char folder[] = "/tmp/cohort_data_XXXXXX";
  ASSERT_TRUE(mkdtemp(folder));
  const std::string dir = folder;
  const std::string command = std::string(COHORT_BIN_DIR) + "/cohort data countdown --output " + dir +
                              " --max-number 12 --eval 300 --demonstrations 500 > /dev/null";
  ASSERT_EQ(system(command.c_str()), 0);
  std::set<std::multiset<int>> training, held_out, shown;
  auto numbers = [](const std::string& prompt) {
    std::istringstream text(prompt);
    int a, b, c;
    text >> a >> b >> c;
    return std::multiset<int>{a, b, c};
  };
  size_t evals = 0;
  read_jsonl(dir + "/train.jsonl", [&](const auto& row, size_t) {
    training.insert(numbers(row["prompt"]));
    EXPECT_EQ(numbers(row["prompt"]), row["numbers"].template get<std::multiset<int>>());
  });
  read_jsonl(dir + "/eval.jsonl",
             [&](const auto& row, size_t) { held_out.insert(numbers(row["prompt"])), ++evals; });
  read_jsonl(dir + "/sft.jsonl", [&](const auto& row, size_t) { shown.insert(numbers(row["prompt"])); });
  EXPECT_EQ(evals, 300u);
  for (const auto& n : held_out) EXPECT_FALSE(training.contains(n) || shown.contains(n));
  for (const char* file :
       {"config.json", "tokenizer.json", "generation_config.json", "tokenizer_config.json"})
    EXPECT_TRUE(std::filesystem::exists(dir + "/model/" + file)) << file;
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace cohort
