// Short ways to grade a program in a test.
#pragma once

#include <gtest/gtest.h>

#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "reward/code.h"
#include "reward/grader.h"

namespace cohort::code_testing {

using nlohmann::json;
using K = VerdictKind;

inline std::unique_ptr<Grader> make(const std::string& options = "") {
  return make_code_grader(TomlTable::parse("whole_completion = true\n" + options +
                                               "\n[limits]\nwall_s = 20\ncpu_s = 2\nmemory_mb = "
                                               "256\noutput_kb = 256\nfile_mb = 8\nprocesses = 32\n",
                                           "t.toml"));
}
inline Grader& shared() {
  static const std::unique_ptr<Grader> grader = make();
  return *grader;
}
// Native scripts apart from the program, and beside it.
inline Grader& separate() {
  static const std::unique_ptr<Grader> grader = make("cpp_tests = \"separate\"");
  return *grader;
}
inline Grader& in_process() {
  static const std::unique_ptr<Grader> grader = make("cpp_tests = \"in_process\"");
  return *grader;
}
// Native scripts that cannot be apart share the program's process.
inline Grader& automatic() {
  static const std::unique_ptr<Grader> grader = make("cpp_tests = \"auto\"");
  return *grader;
}

inline Verdict grade(const std::string& source, const json& record, Grader& grader = shared()) {
  GradeInput input;
  input.completion = source;
  input.record_json = record.dump();
  return grader.grade(input, false);
}
inline Verdict apart(const std::string& source, const std::string& tests, Grader& grader = separate()) {
  return grade(source, {{"language", "cpp"}, {"test_code", tests}}, grader);
}
inline Verdict grade_text(const std::string& source, const std::string& record, Grader& grader = shared()) {
  GradeInput input;
  input.completion = source;
  input.record_json = record;
  return grader.grade(input, false);
}
inline json evidence(const Verdict& v) {
  return json::parse(v.evidence);
}

// EXPECT_EQ that shows the whole verdict.
#define EXPECT_VERDICT(verdict, wanted)                                                      \
  do {                                                                                       \
    const Verdict v_ = (verdict);                                                            \
    EXPECT_STREQ(to_string(v_.kind), to_string(wanted)) << v_.reason << "\n" << v_.evidence; \
  } while (false)

}  // namespace cohort::code_testing
