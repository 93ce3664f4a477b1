#include "reward/math/math_grader.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "reward/math/answer.h"
#include "reward/math/extract.h"

namespace cohort {
namespace {

using K = VerdictKind;
K kind_of(const std::string& gold, const std::string& response) {
  return grade_math(gold, response, {}).kind;
}
K boxed(const std::string& gold, const std::string& answer) {
  return kind_of(gold, "So \\boxed{" + answer + "}.");
}

TEST(Math, Values) {
  struct Row {
    std::string gold, answer;
    K kind;
  };
  const std::vector<Row> rows = {
      {"18", "18", K::passed},
      {"18", "18.0", K::passed},
      {"18", "18.", K::passed},
      {"18", "$18", K::passed},
      {"18", "\\$18.00", K::passed},
      {"18", "18 dollars", K::passed},
      {"18", "18\\text{ eggs}", K::passed},
      {"18", "19", K::failed},
      {"18", "-18", K::failed},
      {"18", "1.8", K::failed},
      {"-3", "−3", K::passed},
      {"1234", "1,234", K::passed},
      {"1234567", "1{,}234{,}567", K::passed},
      {"1000", "1\\,000", K::passed},
      {"1000000", "1 million", K::passed},
      {"1234", "1,23", K::unknown},
      {"1/2", "\\frac{1}{2}", K::passed},
      {"1/2", "\\dfrac12", K::passed},
      {"1/2", "0.5", K::passed},
      {"1/2", "-\\frac{-1}{2}", K::passed},
      {"\\frac{3}{6}", "1/2", K::passed},
      {"5/2", "2\\frac{1}{2}", K::passed},
      {"5/2", "2 1/2", K::passed},
      {"-5/2", "-2\\frac{1}{2}", K::passed},
      {"1", "2\\frac{1}{2}", K::failed},
      {"1/3", "0.3333", K::passed},
      {"1/3", "0.333", K::failed},   // too few digits
      {"1/3", "0.3334", K::failed},  // no rounding of it
      {"2/3", "0.6667", K::passed},
      {"2/3", "0.6666", K::passed},  // cut off
      {"1/12", "0.08333", K::passed},
      {"1/12", "0.1", K::failed},
      {"0.3333", "1/3", K::passed},
      {"0.3333", "0.33333", K::passed},
      {"1500", "1.5e3", K::passed},
      {"1500", "1.5 \\times 10^3", K::passed},
      {"0.0015", "1.5 \\cdot 10^{-3}", K::passed},
      {"50\\%", "50%", K::passed},
      {"50\\%", "0.5", K::passed},
      {"50", "50\\%", K::passed},
      {"50%", "51%", K::failed},
      {"4", "\\sqrt{16}", K::passed},
      {"4", "\\sqrt16", K::unknown},  // in LaTeX √1 and a 6
      {"4", "√16", K::passed},
      {"3/2", "\\sqrt{\\frac{9}{4}}", K::passed},
      {"2\\sqrt{3}", "\\sqrt{12}", K::passed},
      {"\\frac{\\sqrt{2}}{2}", "\\frac{1}{\\sqrt{2}}", K::passed},
      {"\\sqrt{2}+\\sqrt{3}", "\\frac{1}{\\sqrt{3}-\\sqrt{2}}", K::passed},
      {"\\sqrt{2}", "1.4142", K::passed},
      {"\\sqrt{2}", "1.4143", K::failed},
      {"4", "4\\sqrt{2}", K::failed},
      {"2", "\\sqrt[3]{8}", K::passed},
      {"90^\\circ", "90", K::passed},
      {"90", "90^{\\circ}", K::passed},
      {"90", "90°", K::passed},
      {"90^\\circ", "90 degrees", K::passed},
      {"10\\text{ cm}", "10\\text{ m}", K::failed},
      {"1 m", "100 cm", K::passed},
      {"10 cm", "10 centimeters", K::passed},
      {"10\\text{ cm}^2", "10 square centimeters", K::passed},
      {"10", "10\\text{ cm}", K::passed},
      {"5 apples", "5 oranges", K::unknown},
      {"1/2^{99}", "1/2^{98}", K::failed},
      {"1/2^{99}", "2^{-99}", K::passed},
      {"1000000007", "1000000006", K::failed},
      {"5", "x = 5", K::passed},
      {"x=5", "5", K::passed},
      {"5", "2+3=5", K::passed},
      {"5", "2+3=6", K::unknown},
      {"6", "2+3", K::failed},
      {"5", "5 or 6", K::failed},
      {"5", "5, 6", K::failed},
      {"5", "5x", K::failed},
      {"5", "5!", K::failed},
      {"5", "5 hundred", K::unknown},
      {"5", "5 dozen", K::unknown},
      {"5", "(1,234)", K::unknown},
      {"5", "1/0", K::unknown},
      {"5", "x", K::failed},
      {"5", "2 3", K::unknown},
      {"x^2+1", "x^{2} + 1", K::passed},
      {"x^2+1", "7", K::failed},
      {"\\frac{1}{23x}", "\\frac{12}{3x}", K::failed},
      {"\\text{(B)}", "B", K::passed},
      {"B", "C", K::failed},
      {"B", "B) seven", K::passed},
      {"East", "\\text{east}", K::passed},
      {"Yes", "no", K::failed},
      {"East", "West", K::unknown},
      {"５", "5", K::passed},
      {"(3)", "3", K::passed},
      {"7", "\\mathbf{7}", K::passed},
      {"7", "\\left( 7 \\right)", K::passed},
      {"0", "-0.0", K::passed},
  };
  for (const Row& row : rows) {
    const Verdict v = grade_math(row.gold, "So \\boxed{" + row.answer + "}.", {});
    EXPECT_EQ(v.kind, row.kind) << "gold " << row.gold << " answer " << row.answer << ": " << v.reason << " "
                                << v.evidence;
  }
}

TEST(Math, Extraction) {
  struct Row {
    std::string gold, response;
    K kind;
  };
  const std::vector<Row> rows = {
      {"18", "She makes 9 * 2 = $18.", K::passed},
      {"18", "She makes $18 every day.", K::passed},
      {"18", "It is 17, then 18", K::passed},
      {"17", "It is 17, then 18", K::failed},
      {"18", "Let me see.\n#### 18", K::passed},
      {"18", "The answer is 18.", K::passed},
      {"18", "**The answer is:** 18", K::passed},
      {"18", "The answer is therefore 18.", K::passed},
      {"18", "The answer is thus, $18$.", K::passed},
      {"18", "The answer is thus far 18.", K::unknown},
      {"8", "The answer is <<2*4=8>>8.\n#### 8", K::passed},
      {"8", "The answer is <<2*4=8>>9.\n#### 8", K::failed},
      {"8", "The answer is <<x>>8.", K::unknown},
      {"18", "Final answer: $18$", K::passed},
      {"18", "The answer is $18 because she sells all of them.", K::passed},
      {"18", "The answer is 18 or 19.", K::failed},
      {"18", "The answer is 3.5, so 18", K::unknown},
      {"18", "The answer is 17. \\boxed{18}", K::failed},  // contradiction
      {"18", "The answer is 18. #### 18 \\boxed{18}", K::passed},
      {"18", "\\boxed{17} no, \\boxed{18}", K::failed},
      {"18", "\\boxed{18} and again \\boxed{18.0}", K::passed},
      {"18", "\\boxed{18} and \\boxed{", K::passed},  // the last balanced one
      {"18", "<think>\\boxed{17}</think> \\boxed{18}", K::passed},
      {"18", "<think>17</think> <answer>18</answer>", K::passed},
      {"18", "<think>18</think> <answer></answer>", K::no_answer},
      {"18", "<think>18</think>", K::no_answer},
      {"18", "", K::no_answer},
      {"18", "I do not know.", K::no_answer},
      {"18", "18", K::passed},
      {"1/2", "$\\frac{1}{2}$", K::passed},
      {"-3", "x = -3", K::passed},
      {"3", "5-3", K::failed},
      {"-7", "so it drops to -7 in all", K::passed},
      {"2", "so 9-7 is what we have left: 2", K::passed},
      {"50", "that is 50% of them", K::passed},
      {"1234.5", "we get 1,234.5 in total", K::passed},
      {"3", "the values are 1, 2,3", K::passed},
      {"18", "\\boxed{\\text{eighteen or so}}", K::unknown},
      {"5 #### 18", "18", K::passed},
      {"Thus \\boxed{\\frac{1}{2}}.", "0.5", K::passed},
      {"18", "the answers are many: 18", K::passed},
      {"18", "\\boxed{\\boxed{18}}", K::passed},
  };
  for (const Row& row : rows) {
    const Verdict v = grade_math(row.gold, row.response, {});
    EXPECT_EQ(v.kind, row.kind) << "gold " << row.gold << " response " << row.response << ": " << v.reason
                                << " " << v.evidence;
  }
}

TEST(Math, HostileTextEndsAtOnce) {
  const auto began = std::clock();
  const std::string million(1000000, '9');
  auto repeat = [](const std::string& s, size_t n) {
    std::string out;
    for (size_t i = 0; i < n; ++i) out += s;
    return out;
  };
  const std::vector<std::string> bombs = {
      million,
      repeat("(", 3000) + "1" + repeat(")", 3000),
      repeat("-", 3000) + "1",
      repeat("{", 300000),
      repeat("\\boxed{", 100000),
      repeat("\\boxed{", 100000) + repeat("}", 100000),
      repeat("\\boxed{1}", 100000),
      repeat("\\frac{", 600),
      repeat("\\frac", 700) + "11",
      repeat("\\sqrt{", 600) + "2" + repeat("}", 600),
      "9^{9^{9^{9}}}",
      "9^9^9^9",
      "2^{100000}",
      "(1/3)^{99999}*(1/7)^{99999}",
      "1e999999999",
      "1e-5000",
      repeat("\\sqrt{2}+\\sqrt{3}+\\sqrt{5}+\\sqrt{7}+", 90) + "1",
      "(\\sqrt{2}+\\sqrt{3}+\\sqrt{5}+\\sqrt{7}+\\sqrt{11}+\\sqrt{13})^{9999}",
      "\\sqrt{999999999989}",
      "\\sqrt{99999999999999999999999999999999}",
      repeat("the answer is ", 50000) + "5",
      repeat("#### 5\n", 50000),
      repeat("1,", 300000),
      repeat("answer: 1e5000. ", 20000),
  };
  for (const std::string& bomb : bombs) {
    const auto start = std::clock();
    boxed("5", bomb);
    boxed(bomb.substr(0, 3900), bomb);
    kind_of("5", bomb);
    EXPECT_LT(std::clock() - start, 2 * CLOCKS_PER_SEC) << bomb.substr(0, 60);
  }
  std::mt19937 rng(11);
  const std::vector<std::string> pieces = {
      "\\frac",   "{",          "}",    "1",    "2",  "0", ".", ",", "\\sqrt", "^",       "-",
      "/",        "*",          "(",    ")",    " ",  "e", "%", "=", "x",      "\\text{", "cm",
      "\\boxed{", "answer is ", "####", "\xff", "\\", "°", "√", "[", "]"};
  for (int i = 0; i < 30000; ++i) {
    std::string text;
    for (size_t n = rng() % 14; n > 0; --n)
      text += i % 3 ? pieces[rng() % pieces.size()] : std::string(1, static_cast<char>(rng()));
    boxed(i % 2 ? text : "3", text);
    kind_of("3", text);
  }
  EXPECT_LT(std::clock() - began, 20 * CLOCKS_PER_SEC);
}

// Random expressions whose exact value is known another way, written in two spellings.
TEST(Math, RandomFractionsAgree) {
  std::mt19937 rng(5);
  for (int i = 0; i < 5000; ++i) {
    const long a = static_cast<long>(rng() % 2000) - 1000, b = 1 + static_cast<long>(rng() % 500),
               k = 1 + static_cast<long>(rng() % 20);
    const std::string gold = std::to_string(a) + "/" + std::to_string(b);
    const std::string same = "\\frac{" + std::to_string(a * k) + "}{" + std::to_string(b * k) + "}";
    const std::string other = "\\frac{" + std::to_string(a * k + 1) + "}{" + std::to_string(b * k) + "}";
    EXPECT_EQ(boxed(gold, same), K::passed) << gold << " " << same;
    EXPECT_EQ(boxed(gold, other), K::failed) << gold << " " << other;
  }
}

TEST(Math, Gsm8kGoldAnswersAgreeWithThemselves) {
  const char* data = std::getenv("COHORT_TEST_DATA");
  const std::string path =
      std::string(data ? data : COHORT_SOURCE_DIR "/../shared/data") + "/gsm8k/test.jsonl";
  std::ifstream in(path);
  if (!in) GTEST_SKIP() << path << " is not there";
  std::string line;
  size_t n = 0;
  std::string previous;
  while (std::getline(in, line)) {
    const std::string solution = nlohmann::json::parse(line)["answer"];
    const std::string gold = solution.substr(solution.find("####") + 5);
    EXPECT_EQ(kind_of(solution, solution), K::passed) << solution;
    EXPECT_EQ(boxed(gold, gold), K::passed) << gold;
    EXPECT_EQ(kind_of(gold, "The answer is $" + gold + "."), K::passed) << gold;
    EXPECT_NE(boxed(gold, gold + "1"), K::passed) << gold;
    EXPECT_EQ(boxed(gold, "1+" + gold), K::failed) << gold;
    ++n;
  }
  EXPECT_EQ(n, 1319u);
}

}  // namespace
}  // namespace cohort
