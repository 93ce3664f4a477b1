#include "reward/format.h"

#include <gtest/gtest.h>

#include <random>

namespace cohort {
namespace {

TEST(Format, Table) {
  struct Row {
    std::string response;
    bool passed;
  };
  const std::vector<Row> rows = {
      {"<think>a</think><answer>b</answer>", true},
      {" <think>a</think>\n\n<answer>b</answer>\n", true},
      {"<think></think><answer></answer>", true},
      {"", false},
      {"<think>a</think>", false},
      {"<answer>b</answer>", false},
      {"<answer>b</answer><think>a</think>", false},
      {"x<think>a</think><answer>b</answer>", false},
      {"<think>a</think>x<answer>b</answer>", false},
      {"<think>a</think><answer>b</answer>x", false},
      {"<think>a<think>a</think><answer>b</answer>", false},
      {"<think>a</think></think><answer>b</answer>", false},
      {"<think>a</think><answer>b</answer><answer>b</answer>", false},
      {"<think>a<answer>b</think></answer>", false},
      {"</think>a<think><answer>b</answer>", false},
      {"<think>a</think></answer>b<answer>", false},
      {"<think>a</think><answer>b", false},
      {"<THINK>a</THINK><answer>b</answer>", false},
  };
  for (const Row& row : rows) {
    const Verdict v = grade_format(row.response, {});
    EXPECT_EQ(v.kind, row.passed ? VerdictKind::passed : VerdictKind::failed)
        << row.response << ": " << v.reason;
    EXPECT_EQ(v.score, row.passed ? 1 : 0);
  }
}

TEST(Format, Options) {
  FormatOptions o;
  o.think_in_prompt = true;
  EXPECT_EQ(grade_format("a</think><answer>b</answer>", o).kind, VerdictKind::passed);
  EXPECT_EQ(grade_format("<think>a</think><answer>b</answer>", o).kind, VerdictKind::failed);
  o = {};
  o.require_content = true;
  EXPECT_EQ(grade_format("<think> </think><answer>b</answer>", o).kind, VerdictKind::failed);
  EXPECT_EQ(grade_format("<think>a</think><answer>\n</answer>", o).kind, VerdictKind::failed);
  EXPECT_EQ(grade_format("<think>a</think><answer>b</answer>", o).kind, VerdictKind::passed);
  o = {};
  o.partial_score = 0.5;
  EXPECT_DOUBLE_EQ(grade_format("<think>a</think>x<answer>b</answer>", o).score, 0.5);
  EXPECT_DOUBLE_EQ(grade_format("<think>a</think>", o).score, 0.25);
  o.think_tag = "reasoning";
  EXPECT_EQ(grade_format("<reasoning>a</reasoning><answer>b</answer>", o).kind, VerdictKind::passed);
}

TEST(Format, RandomTagsNeverCrash) {
  std::mt19937 rng(3);
  const std::vector<std::string> pieces = {"<think>", "</think>", "<answer>", "</answer>", " ", "x", "\xff"};
  for (int i = 0; i < 20000; ++i) {
    std::string text;
    for (size_t n = rng() % 8; n > 0; --n) text += pieces[rng() % pieces.size()];
    FormatOptions o;
    o.think_in_prompt = i % 2;
    o.require_content = i % 3;
    const Verdict v = grade_format(text, o);
    EXPECT_TRUE(v.kind == VerdictKind::passed || v.kind == VerdictKind::failed);
  }
}

}  // namespace
}  // namespace cohort
