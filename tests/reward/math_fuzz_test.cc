// Any bytes end soon, in bounded memory and stack, with a verdict that is the same every time.
// COHORT_FUZZ_SECONDS=N runs the random part for so long instead of for a fixed number of rounds.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "reward/math/compare.h"
#include "reward/math/math_grader.h"
#include "transport/base/measure.h"

namespace cohort {
namespace {

std::string repeat(const std::string& s, size_t n) {
  std::string out;
  out.reserve(s.size() * n);
  for (size_t i = 0; i < n; ++i) out += s;
  return out;
}

std::vector<std::string> bombs() {
  std::vector<std::string> out = {
      repeat("9", 1000000),
      "0." + repeat("3", 1000000),
      repeat("9", 3900),
      "1/" + repeat("7", 3900),
      repeat("(", 3000) + "1" + repeat(")", 3000),
      repeat("{", 1900) + "1" + repeat("}", 1900),
      repeat("-", 3900) + "1",
      repeat("|", 3900),
      repeat("\\frac{1}{", 400) + "2" + repeat("}", 400),
      repeat("\\sqrt{", 600) + "2" + repeat("}", 600),
      repeat("\\sqrt{1+", 70) + "2" + repeat("}", 70),
      repeat("\\sqrt{2+", 12) + "2" + repeat("}", 12),
      "9^{9^{9^{9}}}",
      "9^9^9^9^9^9",
      "2^{100000000}",
      "2^{2^{2^{2^{2}}}}",
      "((2^{1000})^{1000})^{1000}",
      "(1/3)^{99999}*(1/7)^{99999}",
      "1e999999999",
      "1e-999999999",
      "(" + repeat("9", 3000) + ")^{60}",
      repeat("(x+1)", 500),
      "(x+y+z+w)^{40}",
      "(x+y)^{99999}",
      "(\\sqrt{2}+\\sqrt{3}+\\sqrt{5}+\\sqrt{7}+\\sqrt{11}+\\sqrt{13})^{9999}",
      repeat("\\sqrt{2}+\\sqrt{3}+\\sqrt{5}+\\sqrt{7}+", 90) + "1",
      "\\sqrt{2}+\\sqrt{3}+\\sqrt{5}+\\sqrt{7}+\\sqrt{11}+\\sqrt{13}+\\sqrt{17}+\\sqrt{19}+\\sqrt{23}+\\sqrt["
      "7]{29}",
      "\\sqrt{\\sqrt{\\sqrt{2}+\\sqrt{3}}+\\sqrt{\\sqrt{5}+\\sqrt{7}}}+\\sqrt{\\sqrt{11}+\\sqrt[3]{13}}",
      "\\sqrt[997]{2}+\\sqrt[991]{3}",
      "\\sqrt{" + repeat("9", 3000) + "}",
      "\\ln " + repeat("9", 3000),
      "e^{e^{e^{e^{e^{10}}}}}",
      "e^{10^{4000}}",
      "\\sin(10^{4000})",
      "\\sin(e^{e^{100}})",
      "\\tan(\\frac{\\pi}{2})",
      "\\frac{1}{\\sin\\pi}",
      "\\cos(\\frac{\\pi}{99991})+\\cos(\\frac{\\pi}{99989})",
      "\\cos(\\frac{1}{10^{400}}\\pi)",
      "99999999999!",
      "20000!",
      "19999!+20000!",
      "((5!)!)!",
      "\\binom{10^{300}}{3000}",
      "\\binom{2000000}{1000000}",
      "\\sum_{k=1}^{10000} \\frac{1}{k}",
      "\\sum_{k=1}^{10000} \\sqrt{k}",
      "\\sum_{k=1}^{9999}\\sum_{j=1}^{9999}\\sum_{m=1}^{9999} 1",
      "\\sum_{k=1}^{1000} x^k",
      "\\prod_{k=1}^{10000} (x+k)",
      "\\prod_{k=1}^{3000} k^k",
      "\\lfloor e^{1000}\\rfloor",
      "\\lfloor \\frac{1}{3-e^{\\ln 3}}\\rfloor",
      "|" + repeat("x|", 900),
      "\\arctan(\\arctan(\\arctan(\\arctan(2))))",
      repeat("\\sin(", 60) + "x" + repeat(")", 60),
      repeat("\\cos ", 700) + "x",
      repeat("1+", 700) + "1",
      repeat("1,", 1900),
      "\\{" + repeat("\\sqrt{2},", 59) + "1\\}",
      repeat("(1,", 100) + "2" + repeat(")", 100),
      "\\begin{pmatrix}" + repeat("1&", 200) + "1\\end{pmatrix}",
      repeat("\\begin{pmatrix}", 100),
      repeat("x=", 1900) + "1",
      repeat("\\text{", 900),
      repeat("\\boxed{", 600),
      repeat("a_", 1900),
      repeat("2^", 1900) + "2",
      repeat("\xef\xbc\x91", 1300),
      repeat("²", 1900),
      repeat("½", 400),
      repeat("\xff", 3900),
      "x^{y^{z^{x^{y^{z}}}}}",
      "\\gcd(" + repeat("9", 1900) + "," + repeat("8", 1900) + ")",
      "(2^{\\sqrt{2}})^{\\sqrt{2}}",
      "0^{0^{0}}",
      "\\log_{1} 5",
      "\\log_{0}{0}",
      "\\frac{1}{\\sqrt{2}+\\sqrt{3}-\\sqrt{5+2\\sqrt{6}}}",
      "\\sqrt[0]{2}",
      "\\sqrt[-1]{2}",
      "\\sqrt[1000000000000000000000]{2}",
  };
  return out;
}

// Milliseconds each; the limit leaves room for sanitizers on a busy machine, processor time is what counts.
TEST(MathFuzz, BombsEndAtOnce) {
  double worst = 0;
  std::string slowest;
  for (const std::string& bomb : bombs()) {
    for (int form = 0; form < 4; ++form) {
      const double began = cpu_seconds(RUSAGE_THREAD);
      Verdict v;
      if (form == 0) v = grade_math("5", "\\boxed{" + bomb + "}", {});
      if (form == 1) v = grade_math(bomb, "\\boxed{(" + bomb + ")+10^{-60}}", {});
      if (form == 2) v = grade_math(bomb.substr(0, 3900), "The answer is " + bomb, {});
      if (form == 3) v = grade_math("(" + bomb + ")\\cdot 1", "\\boxed{2(" + bomb + ")-" + bomb + "}", {});
      const double took = cpu_seconds(RUSAGE_THREAD) - began;
      EXPECT_LT(took, 2.0) << form << " " << bomb.substr(0, 80);
      if (took > worst) worst = took, slowest = std::to_string(form) + " " + bomb.substr(0, 60);
      if (form <= 1) {
        EXPECT_NE(v.kind, VerdictKind::passed) << form << " " << bomb.substr(0, 80);
      }
    }
  }
  RecordProperty("slowest", slowest);
  std::printf("slowest: %.1f ms, %s\n", worst * 1000, slowest.c_str());
}

TEST(MathFuzz, AMegabyteIsReadAtOnce) {
  for (const std::string& piece :
       {std::string("\\frac{1}{2}+"), std::string("\\boxed{1}"), std::string("{"),
        std::string("the answer is "), std::string("#### 5\n"), std::string("\\boxed{"),
        std::string("answer: 1e5000. "), std::string("1,"), std::string("\\sqrt{"), std::string("</think>"),
        std::string("<answer>"), std::string("-"), std::string("\\"), std::string("w")}) {
    const std::string text = repeat(piece, 1000000 / piece.size());
    const double began = cpu_seconds(RUSAGE_THREAD);
    grade_math("5", text, {});
    grade_math("5", "\\boxed{" + text + "}", {});
    grade_math(text, "\\boxed{5}", {});
    EXPECT_LT(cpu_seconds(RUSAGE_THREAD) - began, 2.0) << piece;
  }
  EXPECT_EQ(grade_math("5", "\\boxed{" + repeat("\\frac{1}{2}+", 80000) + "1}", {}).kind,
            VerdictKind::unknown);
  EXPECT_EQ(grade_math("5", "\\boxed{" + repeat("7", 900000) + "}", {}).kind, VerdictKind::unknown);
}

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : rng_(seed) {
    std::ifstream in(COHORT_SOURCE_DIR "/tests/reward/math_pairs.jsonl");
    for (std::string line; std::getline(in, line);) {
      const nlohmann::json row = nlohmann::json::parse(line);
      seeds_.push_back(row["gold"]);
      seeds_.push_back(row["answer"]);
    }
  }
  std::string text() {
    switch (rng_() % 5) {
      case 0: {  // pieces
        std::string out;
        for (size_t n = rng_() % 16; n > 0; --n) out += piece();
        return out;
      }
      case 1: {  // bytes
        std::string out;
        for (size_t n = rng_() % 30; n > 0; --n) out += static_cast<char>(rng_());
        return out;
      }
      default:
        return mutated();
    }
  }

 private:
  std::string piece() {
    static const std::vector<std::string> pieces = {"\\frac",
                                                    "{",
                                                    "}",
                                                    "1",
                                                    "2",
                                                    "0",
                                                    "7",
                                                    "12",
                                                    ".",
                                                    ",",
                                                    "\\sqrt",
                                                    "^",
                                                    "-",
                                                    "+",
                                                    "/",
                                                    "*",
                                                    "(",
                                                    ")",
                                                    " ",
                                                    "e",
                                                    "i",
                                                    "%",
                                                    "=",
                                                    "x",
                                                    "y",
                                                    "n",
                                                    "\\text{",
                                                    "cm",
                                                    "m",
                                                    "\\boxed{",
                                                    "answer is ",
                                                    "####",
                                                    "\xff",
                                                    "\\",
                                                    "°",
                                                    "√",
                                                    "[",
                                                    "]",
                                                    "\\pi",
                                                    "\\sin",
                                                    "\\log_",
                                                    "\\ln",
                                                    "!",
                                                    "|",
                                                    "\\binom",
                                                    "\\sum_{k=1}^{9}",
                                                    "\\cup",
                                                    "\\{",
                                                    "\\}",
                                                    "\\infty",
                                                    "<",
                                                    "\\le",
                                                    "\\pm",
                                                    "or",
                                                    "\\begin{pmatrix}",
                                                    "\\end{pmatrix}",
                                                    "&",
                                                    "\\\\",
                                                    "_2",
                                                    "\\overline{3}",
                                                    ":",
                                                    ";",
                                                    "½",
                                                    "²",
                                                    "１",
                                                    "B",
                                                    "\\circ",
                                                    "^\\circ",
                                                    "\\ne",
                                                    "\\setminus",
                                                    "\\mathbb{R}",
                                                    "9999999999",
                                                    "1e99",
                                                    "\\lfloor",
                                                    "\\rfloor",
                                                    "'",
                                                    "_",
                                                    "\\arctan",
                                                    "\\max(",
                                                    "sqrt(",
                                                    "\\left",
                                                    "\\right",
                                                    "\\choose",
                                                    "\\over",
                                                    "\\approx",
                                                    "\\pmod",
                                                    "...",
                                                    "\\ldots",
                                                    "\\in",
                                                    "\\mathbb{Z}",
                                                    "C_5^2",
                                                    "(101)_2",
                                                    "x10^",
                                                    "\\mu",
                                                    "\\text{ hours }",
                                                    "\\begin{cases}",
                                                    "\\end{cases}",
                                                    "\\angle",
                                                    "f(x)=",
                                                    "(x,y)=",
                                                    ", k\\in\\mathbb{Z}",
                                                    "\\frac{\\text{m}}{\\text{s}}"};
    return pieces[rng_() % pieces.size()];
  }
  std::string mutated() {
    std::string out = seeds_[rng_() % seeds_.size()];
    for (size_t n = 1 + rng_() % 4; n > 0; --n) {
      const size_t at = out.empty() ? 0 : rng_() % (out.size() + 1);
      switch (rng_() % 6) {
        case 0:
          out.insert(at, piece());
          break;
        case 1:
          out.erase(at, 1 + rng_() % 3);
          break;
        case 2:
          if (at < out.size()) out[at] = static_cast<char>(rng_());
          break;
        case 3:
          out.insert(at, out.substr(rng_() % (out.size() + 1), rng_() % 12));
          break;
        case 4: {
          const std::string& other = seeds_[rng_() % seeds_.size()];
          out.insert(at, other.substr(0, rng_() % (other.size() + 1)));
          break;
        }
        default:
          out = out.substr(0, at);
      }
    }
    return out;
  }
  std::mt19937_64 rng_;
  std::vector<std::string> seeds_;
};

TEST(MathFuzz, RandomTexts) {
  const char* seconds = std::getenv("COHORT_FUZZ_SECONDS");
  const char* seed = std::getenv("COHORT_FUZZ_SEED");
  Mutator make(seed ? std::strtoull(seed, nullptr, 10) : 1);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds ? std::atol(seconds) : 0);
  size_t rounds = 0, counts[3] = {0, 0, 0};
  double worst = 0;
  for (; seconds ? std::chrono::steady_clock::now() < end : rounds < 15000; ++rounds) {
    const std::string a = make.text(), b = rounds % 3 == 0 ? a : make.text();
    const std::string response = rounds % 2 ? "\\boxed{" + b + "}" : "The answer is " + b;
    const double began = cpu_seconds(RUSAGE_THREAD);
    const Verdict v = grade_math(a, response, {});
    const double took = cpu_seconds(RUSAGE_THREAD) - began;
    worst = std::max(worst, took);
    EXPECT_LT(took, 2.0) << a << " | " << b;
    counts[v.kind == VerdictKind::passed ? 0 : v.kind == VerdictKind::failed ? 1 : 2]++;
    if (rounds % 16 == 0) {
      const Verdict again = grade_math(a, response, {});
      EXPECT_EQ(v.kind, again.kind) << a << " | " << b;
      EXPECT_EQ(v.reason, again.reason) << a << " | " << b;
    }
    // equal and different are never both found: what passes one way does not fail the other way round
    const std::optional<math::Answer> x = math::read_answer(a), y = math::read_answer(b);
    if (x && y) {
      math::Budget budget(400000);
      const math::Equality forth = math::compare(*x, *y, {}, budget),
                           back = math::compare(*y, *x, {}, budget);
      const bool clash = (forth == math::Equality::equal && back == math::Equality::different) ||
                         (back == math::Equality::equal && forth == math::Equality::different);
      const bool choice = x->choice != 0 || y->choice != 0;
      EXPECT_TRUE(!clash || choice) << a << " | " << b;
      if (rounds % 3 == 0) {
        EXPECT_NE(forth, math::Equality::different) << a;
      }
    }
  }
  std::printf("%zu rounds: %zu passed, %zu failed, %zu other; slowest %.1f ms\n", rounds, counts[0],
              counts[1], counts[2], worst * 1000);
}

}  // namespace
}  // namespace cohort
