// The labelled pairs of math_pairs.jsonl, and properties that hold for any gold answer: a changed digit, sign or
// exponent never passes; the same value in another notation always does.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "reward/math/math_grader.h"

namespace cohort {
namespace {

using K = VerdictKind;

struct Pair {
  std::string gold, answer, label;
};
std::vector<Pair> read_pairs(const std::string& file = "math_pairs.jsonl") {
  std::vector<Pair> out;
  std::ifstream in(COHORT_SOURCE_DIR "/tests/reward/" + file);
  for (std::string line; std::getline(in, line);) {
    const nlohmann::json row = nlohmann::json::parse(line);
    out.push_back({row["gold"], row["answer"], row.value("label", "different")});
  }
  return out;
}
Verdict boxed(const std::string& gold, const std::string& answer) {
  return grade_math(gold, "Thus $\\boxed{" + answer + "}$", {});
}

TEST(MathPairs, EveryLabelledPair) {
  const std::vector<Pair> pairs = read_pairs();
  ASSERT_GT(pairs.size(), 1000u);
  size_t undecided = 0;
  for (const Pair& p : pairs) {
    const Verdict v = boxed(p.gold, p.answer);
    if (p.label == "equal") {
      EXPECT_EQ(v.kind, K::passed) << p.gold << " | " << p.answer << ": " << v.reason;
    } else {
      EXPECT_TRUE(v.kind == K::failed || v.kind == K::unknown)
          << p.gold << " | " << p.answer << ": " << v.reason;
      undecided += v.kind == K::unknown;
    }
  }
  EXPECT_LE(undecided, 40u);  // of pairs that differ: texts, times, what has two readings
}

// How people and models write the answers of MATH, AIME and Olympiad problems. "undecided": the same for a person, and
// not decided here: never said to be different.
TEST(MathPairs, AnswersAsTheyAreWritten) {
  const std::vector<Pair> pairs = read_pairs("math_answers.jsonl");
  ASSERT_GT(pairs.size(), 1000u);
  for (const Pair& p : pairs) {
    const Verdict v = boxed(p.gold, p.answer);
    if (p.label == "equal") {
      EXPECT_EQ(v.kind, K::passed) << p.gold << " | " << p.answer << ": " << v.reason;
    } else if (p.label == "different") {
      EXPECT_NE(v.kind, K::passed) << p.gold << " | " << p.answer << ": " << v.reason;
      EXPECT_NE(boxed(p.answer, p.gold).kind, K::passed) << p.answer << " | " << p.gold;
    } else {
      EXPECT_NE(v.kind, K::failed) << p.gold << " | " << p.answer << ": " << v.reason;
    }
  }
}

// Answers that look alike, or are read alike by a careless reader, and are not the same: hedged choices, lists with another
// multiplicity, names in another order, "3 fifths" for 3, |x+i|^2 for (x+i)^2 …
TEST(MathPairs, TrapsNeverPass) {
  const std::vector<Pair> pairs = read_pairs("math_traps.jsonl");
  ASSERT_GT(pairs.size(), 600u);
  for (const Pair& p : pairs) {
    EXPECT_NE(boxed(p.gold, p.answer).kind, K::passed) << p.gold << " | " << p.answer;
    EXPECT_NE(boxed(p.answer, p.gold).kind, K::passed) << p.answer << " | " << p.gold;
  }
}

// Units and notations that may still be the same are never said to be different.
TEST(MathPairs, WhatMayBeTheSameIsNotDifferent) {
  for (const auto& [gold, answer] : std::vector<std::pair<std::string, std::string>>{
           {"20^\\circ C", "68^\\circ F"},
           {"273.15\\text{ K}", "0^\\circ C"},
           {"\\pounds 5", "5\\text{ pounds}"},
           {"1\\text{ year}", "365\\text{ days}"},
           {"(10,3)", "C(10,3)"},
           {"(0,1)\\cup(2,4)", "\\{(0,1),(2,3)\\}"},
           {"[3,5]", "3\\text{ to }5"}})
    EXPECT_NE(boxed(gold, answer).kind, K::failed) << gold << " | " << answer;
}

// Which side is the gold one matters only where a decimal stands for an exact value, and never for a pass.
TEST(MathPairs, EqualityIsSymmetric) {
  for (const Pair& p : read_pairs()) {
    if (p.answer.find("B") != std::string::npos) continue;  // "B) seven" is no gold answer
    const Verdict v = boxed(p.answer, p.gold);
    if (p.label == "equal")
      EXPECT_EQ(v.kind, K::passed) << p.answer << " | " << p.gold << ": " << v.reason;
    else
      EXPECT_NE(v.kind, K::passed) << p.answer << " | " << p.gold << ": " << v.reason;
  }
}

// The same input, the same verdict: in another order, on another thread, on a used thread.
TEST(MathPairs, VerdictsDoNotDependOnThreadOrHistory) {
  const std::vector<Pair> pairs = read_pairs();
  std::vector<std::string> first(pairs.size());
  auto grade = [&](size_t i) {
    const Verdict v = boxed(pairs[i].gold, pairs[i].answer);
    return to_string(v.kind) + std::string(" ") + v.reason + v.evidence;
  };
  for (size_t i = 0; i < pairs.size(); ++i) first[i] = grade(i);
  std::vector<std::thread> threads;
  std::vector<size_t> wrong(4, 0);
  for (size_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (size_t k = 0; k < pairs.size(); ++k) {
        const size_t i = t % 2 ? pairs.size() - 1 - k : (k * 7 + t) % pairs.size();
        wrong[t] += grade(i) != first[i];
      }
    });
  for (std::thread& t : threads) t.join();
  for (size_t w : wrong) EXPECT_EQ(w, 0u);
}

TEST(MathPairs, ChangedGoldNeverPasses) {
  // what a changed digit leaves as it was
  const std::map<std::string, std::vector<std::string>> same = {
      {"[0,1]\\cup[1,2]", {"[0,2]\\cup[1,2]", "[0,1]\\cup[0,2]"}},
      {"\\sum_{i=1}^{3} i", {"\\sum_{i=0}^{3} i"}},
      {"\\sum_{k=1}^{10} k^2", {"\\sum_{k=0}^{10} k^2"}},
  };
  std::map<std::string, bool> golds;
  for (const Pair& p : read_pairs()) golds[p.gold] = true;
  size_t tried = 0;
  for (const auto& [gold, unused] : golds) {
    if (gold.find_first_of("0123456789") == std::string::npos || gold.find("overline") != std::string::npos)
      continue;
    for (size_t i = 0; i < gold.size(); ++i)
      for (char digit = '0'; gold[i] >= '0' && gold[i] <= '9' && digit <= '9'; ++digit) {
        std::string changed = gold;
        changed[i] = digit;
        if (changed == gold) continue;
        ++tried;
        if (boxed(gold, changed).kind != K::passed) continue;
        const auto known = same.find(gold);
        EXPECT_TRUE(known != same.end() && std::count(known->second.begin(), known->second.end(), changed))
            << gold << " | " << changed;
      }
    if (gold.find("pm") != std::string::npos) continue;                               // -(±2) is ±2
    const bool decimal = gold.find_first_not_of("0123456789.") == std::string::npos;  // rounds what is near
    for (const std::string& changed : {"-" + gold, "-(" + gold + ")", "2(" + gold + ")", "(" + gold + ")+1",
                                       "(" + gold + ")+10^{-40}", "(" + gold + ")\\cdot(1+10^{-50})",
                                       "\\frac{" + gold + "}{3}", "(" + gold + ")\\pi", "(" + gold + ") i"}) {
      if (decimal && changed.find("^{-") != std::string::npos) continue;
      EXPECT_NE(boxed(gold, changed).kind, K::passed) << gold << " | " << changed;
      ++tried;
    }
  }
  EXPECT_GT(tried, 3000u);
}

std::string grouped(const std::string& digits, const std::string& mark) {
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) out += mark;
    out += digits[i];
  }
  return out;
}

TEST(MathPairs, OtherNotationsOfWholeNumbersPass) {
  std::mt19937_64 rng(4);
  for (int i = 0; i < 400; ++i) {
    const long n = 1 + static_cast<long>(rng() % (i % 2 ? 900 : 90000000)),
               k = 2 + static_cast<long>(rng() % 40);
    const std::string gold = std::to_string(n), digits = gold;
    std::string binary, wide;
    for (long b = n; b > 0; b /= 2) binary.insert(binary.begin(), static_cast<char>('0' + b % 2));
    for (char c : digits) wide += std::string("\xef\xbc") + static_cast<char>(0x90 + (c - '0'));
    for (const std::string& same :
         {digits + ".0",
          "+" + digits,
          grouped(digits, ","),
          grouped(digits, "{,}"),
          grouped(digits, "\\,"),
          wide,
          "\\frac{" + std::to_string(n * k) + "}{" + std::to_string(k) + "}",
          std::to_string(n * k) + "/" + std::to_string(k),
          "\\sqrt{" + std::to_string(n * n) + "}",
          std::to_string(n - 1) + "+1",
          binary + "_2",
          "\\frac{" + digits + "\\sqrt{" + std::to_string(k) + "}}{\\sqrt{" + std::to_string(k) + "}}",
          "\\log_3 3^{" + std::to_string(n % 1000) + "}+" + std::to_string(n - n % 1000),
          "x = " + digits,
          "\\text{" + digits + "}",
          digits + "\\text{ units}",
          "\\$" + digits,
          "-(-" + digits + ")",
          digits.substr(0, 1) + "." + (digits.size() > 1 ? digits.substr(1) : "0") + "e" +
              std::to_string(digits.size() - 1),
          digits.substr(0, 1) + "." + (digits.size() > 1 ? digits.substr(1) : "0") + " \\times 10^{" +
              std::to_string(digits.size() - 1) + "}",
          digits + "(\\sin^2 x+\\cos^2 x)",
          digits + "+i^2+1"}) {
      const Verdict v = boxed(gold, same);
      EXPECT_EQ(v.kind, K::passed) << gold << " | " << same << ": " << v.reason;
    }
  }
}

TEST(MathPairs, OtherNotationsOfFractionsPass) {
  std::mt19937_64 rng(5);
  for (int i = 0; i < 300; ++i) {
    const long a = 1 + static_cast<long>(rng() % 400), b = 2 + static_cast<long>(rng() % 300),
               k = 2 + static_cast<long>(rng() % 9);
    if (a % b == 0) continue;
    const std::string A = std::to_string(a), B = std::to_string(b), gold = "\\frac{" + A + "}{" + B + "}";
    std::vector<std::string> same = {
        A + "/" + B,
        "\\dfrac{" + std::to_string(a * k) + "}{" + std::to_string(b * k) + "}",
        "\\frac{-" + A + "}{-" + B + "}",
        A + "\\cdot " + B + "^{-1}",
        "\\frac{\\frac{" + A + "}{" + std::to_string(k) + "}}{\\frac{" + B + "}{" + std::to_string(k) + "}}",
        "\\frac{100\\cdot " + A + "}{" + B + "}\\%",
        "1-\\frac{" + std::to_string(b - a) + "}{" + B + "}",
        A + " \\div " + B};
    if (a > b) same.push_back(std::to_string(a / b) + "\\frac{" + std::to_string(a % b) + "}{" + B + "}");
    // its decimals: rounded and cut off, at 4 significant digits and more; one digit less never
    const double value = static_cast<double>(a) / static_cast<double>(b);
    for (int digits : {4, 6, 9}) {
      int places = digits;
      for (double v = value; v >= 1; v /= 10) --places;
      for (double v = value; v < 0.1; v *= 10) ++places;
      if (places < 1) continue;
      char text[64];
      std::snprintf(text, sizeof text, "%.*f", places, value);
      same.emplace_back(text);
    }
    for (const std::string& s : same) EXPECT_EQ(boxed(gold, s).kind, K::passed) << gold << " | " << s;
    for (const std::string& other : {std::to_string(a + 1) + "/" + B, A + "/" + std::to_string(b + 1),
                                     B + "/" + A, "-" + gold, A + "," + B, "(" + A + "," + B + ")"})
      EXPECT_NE(boxed(gold, other).kind, K::passed) << gold << " | " << other;
  }
}

// Random constants built from radicals, written expanded and factored.
TEST(MathPairs, RandomRadicalsAgree) {
  std::mt19937_64 rng(6);
  auto n = [&](long low, long high) {
    return std::to_string(low + static_cast<long>(rng() % static_cast<uint64_t>(high - low + 1)));
  };
  for (int i = 0; i < 150; ++i) {
    const std::string a = n(1, 9), b = n(2, 30), c = n(1, 9), d = n(2, 30);
    const std::string x = "(" + a + "+\\sqrt{" + b + "})", y = "(" + c + "-\\sqrt{" + d + "})";
    const std::string product = x + y;
    const std::string expanded = a + "\\cdot " + c + "-" + a + "\\sqrt{" + d + "}+" + c + "\\sqrt{" + b +
                                 "}-\\sqrt{" + b + "\\cdot " + d + "}";
    EXPECT_EQ(boxed(expanded, product).kind, K::passed) << expanded << " | " << product;
    EXPECT_EQ(boxed(expanded, product + "+10^{-30}").kind, K::failed) << product;
    const std::string nested = "\\sqrt{" + x + "^2}";
    EXPECT_EQ(boxed(x, nested).kind, K::passed) << nested;
    const std::string cube = "\\sqrt[3]{" + x + "^3}";
    EXPECT_EQ(boxed(x, cube).kind, K::passed) << cube;
    const std::string squares = "\\sqrt{" + a + "+" + b + "+2\\sqrt{" + a + "\\cdot " + b + "}}";
    EXPECT_EQ(boxed("\\sqrt{" + a + "}+\\sqrt{" + b + "}", squares).kind, K::passed) << squares;
  }
}

TEST(MathPairs, OptionsCount) {
  MathOptions two;
  two.decimal_digits = 2;
  EXPECT_EQ(grade_math("\\frac13", "\\boxed{0.33}", two).kind, K::passed);
  EXPECT_EQ(grade_math("\\frac13", "\\boxed{0.34}", two).kind, K::failed);
  EXPECT_EQ(grade_math("\\frac13", "\\boxed{0.33}", {}).kind, K::failed);
  MathOptions ordered;
  ordered.ordered_lists = true;
  EXPECT_EQ(grade_math("1, 2", "\\boxed{2, 1}", ordered).kind, K::failed);
  EXPECT_EQ(grade_math("1, 2", "\\boxed{2, 1}", {}).kind, K::passed);
  MathOptions poor;
  poor.max_steps = 100;
  EXPECT_EQ(grade_math("\\sqrt{2}+\\sqrt{3}", "\\boxed{\\sqrt{5+2\\sqrt{6}}}", poor).kind, K::unknown);
}

}  // namespace
}  // namespace cohort
