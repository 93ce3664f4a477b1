#include "reward/countdown.h"

#include <gtest/gtest.h>

#include <ctime>
#include <fstream>
#include <random>
#include <sstream>

namespace cohort {
namespace {

VerdictKind kind_of(const CountdownProblem& p, const std::string& response, CountdownOptions options = {}) {
  return grade_countdown(p, response, options).kind;
}
std::string in_tags(const std::string& answer) {
  return "<think> hm </think> <answer>" + answer + "</answer>";
}

TEST(Countdown, Table) {
  const CountdownProblem p{{3, 1, 6}, 9};
  struct Row {
    std::string response;
    VerdictKind kind;
  };
  const VerdictKind passed = VerdictKind::passed, failed = VerdictKind::failed, none = VerdictKind::no_answer;
  const std::vector<Row> rows = {
      {in_tags("(3*1)+6"), passed},
      {in_tags(" ( 3 * 1 )\n + 6 "), passed},
      {in_tags("3×1+6"), passed},
      {in_tags("6−−3*1"), passed},
      {in_tags("3÷1+6"), passed},
      {in_tags("6+3/1"), passed},
      {in_tags("6+3"), failed},         // 1 not used
      {in_tags("6+3+1-1"), failed},     // 1 twice
      {in_tags("9"), failed},           // foreign number
      {in_tags("3+1+6"), failed},       // makes 10
      {in_tags("3*1+6=9"), failed},     // no expression
      {in_tags("9*1**3-6+6"), failed},  // no powers
      {in_tags("6+3//1"), failed},
      {in_tags("6+3 1"), failed},  // no concatenation
      {in_tags("(6)(3)+1"), failed},
      {in_tags("6+3%1"), failed},
      {in_tags("6+3/(1-1)"), failed},
      {in_tags("6+3*1e0"), failed},
      {in_tags("6+3*1.0"), failed},
      {in_tags("06+3*1"), failed},
      {in_tags("6+3*1,"), failed},
      {in_tags("__import__('os').system('true')"), failed},
      {in_tags("6+3*1 # yes"), failed},
      {in_tags(std::string("6+3*1\0", 6)), failed},
      {in_tags(""), none},
      {in_tags("  "), none},
      {"6+3*1", none},
      {"<answer>6+3*1", none},
      {"6+3*1</answer>", none},
      {"", none},
      {"<think><answer>6+3*1</answer>", passed},        // thinking never closed
      {"<think><answer>6+3*1</answer></think>", none},  // tried while thinking only
      {"<think><answer>1</answer></think><answer>6+3*1</answer>", passed},
      {"<answer>6+3*1</answer><answer>6+3+1</answer>", failed},  // several answers
      {"<answer>6+3+1</answer><answer>6+3*1</answer>", failed},
      {"<answer>6+3*1</answer> so <answer> 6 + 3 * 1 </answer>", passed},  // the same one twice
      {"<answer><answer>6+3*1</answer>", passed},
      {"<answer>6+3*1</answer></answer>", passed},
  };
  for (const Row& row : rows)
    EXPECT_EQ(kind_of(p, row.response), row.kind)
        << row.response << ": " << grade_countdown(p, row.response, {}).reason;
}

TEST(Countdown, ExactFractionsAndOptions) {
  EXPECT_EQ(kind_of({{8, 3, 8, 3}, 24}, in_tags("8/(3-8/3)")), VerdictKind::passed);  // thirds on the way
  EXPECT_EQ(kind_of({{1, 3, 3}, 1}, in_tags("1/3*3")), VerdictKind::passed);
  CountdownOptions some;
  some.use_all = false;
  EXPECT_EQ(kind_of({{3, 1, 6}, 9}, in_tags("6+3"), some), VerdictKind::passed);
  EXPECT_EQ(kind_of({{3, 1, 6}, 9}, in_tags("3+3+3"), some), VerdictKind::failed);
  CountdownOptions partial;
  partial.format_score = 0.1;
  EXPECT_DOUBLE_EQ(grade_countdown({{3, 1, 6}, 9}, in_tags("6+3+1"), partial).score, 0.1);
  EXPECT_DOUBLE_EQ(grade_countdown({{3, 1, 6}, 9}, in_tags("6+3"), partial).score, 0);
  // 10^18-sized operands many times over: exact all the same
  const std::string big = "999999999999999999";
  EXPECT_EQ(kind_of({std::vector<int64_t>(6, 999999999999999999), 3},
                    in_tags(big + "*" + big + "/" + big + "/" + big + "+" + big + "/" + big)),
            VerdictKind::failed);
}

TEST(Countdown, AgreesWithPython) {
  std::ifstream in(COHORT_SOURCE_DIR "/tests/golden/countdown.tsv");
  ASSERT_TRUE(in);
  std::string line;
  size_t n = 0;
  while (std::getline(in, line)) {
    std::stringstream fields(line);
    std::string numbers, target, answer, verdict;
    std::getline(fields, numbers, '\t');
    std::getline(fields, target, '\t');
    std::getline(fields, answer, '\t');
    std::getline(fields, verdict, '\t');
    CountdownProblem p;
    std::stringstream list(numbers);
    for (int64_t x; list >> x;) p.numbers.push_back(x);
    p.target = std::stoll(target);
    EXPECT_EQ(to_string(kind_of(p, in_tags(answer))), verdict) << line;
    ++n;
  }
  EXPECT_GT(n, 5000u);
}

TEST(Countdown, HostileTextEndsAtOnce) {
  const CountdownProblem p{{3, 1, 6}, 9};
  std::mt19937 rng(7);
  const std::string alphabet = "0123456789+-*/() <answer></answer>\xc3\x97\xe2\x88\x92\n=^";
  for (int i = 0; i < 20000; ++i) {
    std::string text(rng() % 60, ' ');
    for (char& c : text) c = i % 2 ? static_cast<char>(rng()) : alphabet[rng() % alphabet.size()];
    EXPECT_NE(kind_of(p, i % 3 ? in_tags(text) : text), VerdictKind::infra_error);
  }
  const auto began = std::clock();
  CountdownOptions wide;
  wide.max_chars = 100000;
  wide.max_depth = 1000;
  for (const std::string& bomb :
       {std::string(90000, '('), std::string(90000, '-'), std::string(90000, '9'), std::string(5000000, '('),
        std::string(40000, '(') + "3" + std::string(40000, ')')}) {
    EXPECT_EQ(kind_of(p, in_tags(bomb), wide), VerdictKind::failed);
    EXPECT_EQ(kind_of(p, in_tags(bomb)), VerdictKind::failed);
  }
  std::string tags;
  for (int i = 0; i < 100000; ++i) tags += "<answer>1</answer>";
  kind_of(p, tags);
  std::string product = "9";
  while (product.size() < 90000) product += "*999999999999999999";
  EXPECT_EQ(kind_of(p, in_tags(product), wide), VerdictKind::failed);
  EXPECT_LT(std::clock() - began, 5 * CLOCKS_PER_SEC);
}

TEST(Countdown, RecordsAndHash) {
  auto grader = make_countdown_grader(TomlTable::parse("kind = \"countdown\"\nweight = 2.0\n", "run.toml"));
  std::atomic<bool> cancelled = false;
  GradeInput input;
  input.record_json = R"({"numbers": [3, 1, 6], "target": 9})";
  input.completion = in_tags("3*1+6");
  const Verdict v = grader->grade(input, cancelled);
  EXPECT_EQ(v.kind, VerdictKind::passed);
  EXPECT_EQ(v.hash.size(), 32u);
  EXPECT_EQ(grader->grade(input, cancelled).hash, v.hash);
  input.completion += " ";
  EXPECT_NE(grader->grade(input, cancelled).hash, v.hash);
  auto other = make_countdown_grader(TomlTable::parse("kind = \"countdown\"\nuse_all = false\n", "run.toml"));
  EXPECT_NE(other->grade(input, cancelled).hash, grader->grade(input, cancelled).hash);
  for (const char* broken :
       {"", "[]", "{", R"({"numbers": [1]})", R"({"target": 1})", R"({"numbers": 3, "target": 1})",
        R"({"numbers": [1.5], "target": 1})", R"({"numbers": ["1"], "target": 1})"}) {
    input.record_json = broken;
    const Verdict w = grader->grade(input, cancelled);
    EXPECT_EQ(w.kind, VerdictKind::infra_error) << broken;
    EXPECT_EQ(w.score, 0);
  }
  cancelled = true;
  EXPECT_EQ(grader->grade(input, cancelled).kind, VerdictKind::cancelled);
}

}  // namespace
}  // namespace cohort
