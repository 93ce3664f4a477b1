// Short ways to ask a judge in a test.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <string>

#include "reward/judge/judge.h"
#include "tests/reward/fake_judge.h"
#include "transport/base/measure.h"

namespace cohort::judge_testing {

using K = VerdictKind;
using testing::HasSubstr, testing::Not;
using Clock = std::chrono::steady_clock;

inline std::unique_ptr<Grader> make(const std::string& base_url, const std::string& more = "",
                                    const std::string& run = "run") {
  RewardSpec spec;
  spec.kind = spec.name = "judge";
  spec.run_id = run;
  const bool cache = more.find("cache =") != std::string::npos;
  spec.options = TomlTable::parse(fmt::format("kind = \"judge\"\nbase_url = \"{}\"\nmodel = \"m\"\n{}{}\n",
                                              base_url, cache ? "" : "cache = \"none\"\n", more),
                                  "t.toml");
  return make_judge_grader(spec);
}
inline std::unique_ptr<Grader> make(const FakeJudge& judge, const std::string& more = "",
                                    const std::string& run = "run") {
  return make(judge.base_url(), more, run);
}
inline GradeInput input_of(const std::string& completion) {
  GradeInput input;
  input.record_json = R"({"prompt": "What is 6 times 7?", "reference": "42"})";
  input.completion = completion;
  return input;
}
inline Verdict grade(Grader& g, const std::string& completion) {
  return g.grade(input_of(completion), false);
}
inline std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}
inline size_t count(const std::string& text, const std::string& what) {
  size_t n = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

}  // namespace cohort::judge_testing
