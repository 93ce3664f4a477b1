// C scripts of assertions that run in a process without the program: what real tests use, and what no program can do there.
#include <gmock/gmock.h>

#include "reward/code/c_apart.h"
#include "reward/code/symbols.h"
#include "tests/reward/c_tasks.h"
#include "tests/reward/code_fixture.h"

namespace cohort {
namespace {

using namespace code_testing;
using testing::HasSubstr;

Grader& separate() {
  static const std::unique_ptr<Grader> grader = make("cpp_tests = \"separate\"");
  return *grader;
}
Grader& in_process() {
  static const std::unique_ptr<Grader> grader = make("cpp_tests = \"in_process\"");
  return *grader;
}
Verdict in_c(const std::string& source, const std::string& tests, Grader& grader = separate()) {
  return grade(source, {{"language", "c"}, {"test_code", tests}}, grader);
}
[[maybe_unused]] std::string with_main(const std::string& body) {
  return "#include <assert.h>\nint main(void) { " + body + " return 0; }";
}

// Right and wrong programs get the verdict that they get beside their tests.
TEST(CodeApartC, TasksOfEveryKind) {
  for (const CTask& task : c_tasks()) {
    SCOPED_TRACE(task.name);
    const Verdict apart = in_c(task.program, task.tests);
    EXPECT_VERDICT(apart, K::passed);
    EXPECT_FALSE(evidence(apart).contains("in_process"));
    EXPECT_VERDICT(in_c(task.program, task.tests, in_process()), K::passed);
    for (const auto& [right, wrong] : task.mistakes) {
      std::string program = task.program;
      const size_t at = program.find(right);
      ASSERT_NE(at, program.npos) << right;
      program.replace(at, std::string(right).size(), wrong);
      const Verdict v = in_c(program, task.tests);
      EXPECT_TRUE(v.kind == K::failed || v.kind == K::candidate_crash || v.kind == K::candidate_timeout)
          << to_string(v.kind) << " " << v.reason << "\n" << right << " -> " << wrong;
      EXPECT_EQ(v.score, in_c(program, task.tests, in_process()).score) << right << " -> " << wrong;
    }
  }
}

}  // namespace
}  // namespace cohort
