// Whatever text a program is, reading what it declares ends and says something: that is done in the grader's own process.
#include <gtest/gtest.h>

#include <fstream>

#include "reward/code/c_types.h"
#include "reward/code/cpp_surface.h"
#include "reward/code/native_tests.h"
#include "tests/reward/c_tasks.h"
#include "tests/reward/text_fuzz.h"

namespace cohort {
namespace {

const std::vector<std::string> kPieces = {"{",          "}",
                                          "(",          ")",
                                          "[",          "]",
                                          "<",          ">",
                                          ",",          ";",
                                          ":",          "::",
                                          "=",          "*",
                                          "&",          "~",
                                          "#",          "\\\n",
                                          "\"",         "'",
                                          "->",         "/*",
                                          "*/",         "//",
                                          "struct ",    "class ",
                                          "union ",     "enum ",
                                          "using ",     "typedef ",
                                          "template<",  "operator",
                                          "namespace ", "namespace {",
                                          "struct S {", "friend ",
                                          "virtual ",   "static ",
                                          "const ",     "extern \"C\" {",
                                          "#define ",   "R\"(",
                                          "= default",  "= 0",
                                          "return ",    "a.x == b.x && ",
                                          "\xff",       "int f(",
                                          "S(",         "final "};

std::string file(const char* path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

// A task's program and tests.
std::pair<std::string, std::string> parted(const std::string& text) {
  const size_t middle = std::min(text.find("--- tests"), text.size());
  return {text.substr(0, middle), text.substr(middle)};
}

// The binary of a program that says each item is of one of these types.
std::string binary_of(TextFuzz& make) {
  const char* types[] = {"void()", "int(S&, int)", "bool(const S&, const S&)", "w::types<int, int*>",
                         "int(*(S&))[3]"};
  const char* values[] = {"true", "1", "2", "true, true", "0, 1, 2"};
  std::string out;
  for (int i = 0; i < 60; ++i)
    out += "cohort_w::shape() [with int N = " + std::to_string(i) +
           "; F = " + types[make.below(std::size(types))] + "; auto ...V = {" +
           values[make.below(std::size(values))] + "}]" + '\0';
  return out;
}

TEST(CodeFuzz, AnyCppProgramIsRead) {
  // tasks, each a program and tests
  const std::string all = file(COHORT_SOURCE_DIR "/tests/reward/cpp_tasks.txt");
  std::vector<std::string> seeds;
  for (size_t at = 0; (at = all.find("=== ", at)) != all.npos; ++at)
    seeds.push_back(all.substr(at + 4, all.find("\n=== ", at) - at - 4));
  ASSERT_GE(seeds.size(), 30u);
  TextFuzz make(seeds, kPieces);
  size_t served = 0, rounds = 0;
  for (; make.more(rounds, 600); ++rounds) {
    const std::string text = make.text();
    const auto [program, tests] = parted(text);
    code::CppSurface surface(program, tests, "f", "w");
    served += !surface.empty();
    EXPECT_NE(surface.server().find("each_request"), std::string::npos);
    surface.add_instances(text);
    surface.leave_out(make.below(30));
    surface.stubs(binary_of(make));
    code::defines_library(program, tests, "f");
    code::refuse_native(program, tests, "f");
    EXPECT_FALSE(code::NativeTests("w").source(program, tests, true).empty());
  }
  EXPECT_GT(served, rounds / 4);
}

TEST(CodeFuzz, AnyCProgramIsRead) {
  std::vector<std::string> seeds;
  for (const code_testing::CTask& task : code_testing::c_tasks())
    seeds.push_back(task.program + "--- tests\n" + task.tests);
  TextFuzz make(seeds, kPieces);
  size_t read = 0, rounds = 0;
  for (; make.more(rounds, 600); ++rounds) {
    const auto [program, tests] = parted(make.text());
    std::vector<std::string> called;
    for (const char* name : {"main", "f", "sum", "push", "sort"})
      if (program.find(name) != program.npos) called.emplace_back(name);
    const code::CInterface c = code::read_c_interface(program, called, tests);
    read += c.refused.empty();
    EXPECT_LE(c.tests_types, tests.size());
  }
  EXPECT_GT(read, 0u);
}

// What goes on for ever, as a completion may, and what no compiler takes: in seconds, and with no stack of a frame for each word.
TEST(CodeFuzz, LongAndCircularProgramsAreRead) {
  auto many = [](const std::string& piece, const std::string& end = "") {
    std::string out;
    while (out.size() < 200'000) out += piece;
    return out + end;
  };
  std::string macros, chain;
  for (int i = 0; i < 10'000; ++i)
    macros += "#define M" + std::to_string(i) + " M" + std::to_string(i + 1) + "\n";
  for (int i = 0; i < 300; ++i)
    chain += "struct S" + std::to_string(i) + " : S" + std::to_string((i + 1) % 300) + " {};\n";
  const std::string equal = "struct S { int x; bool operator==(const S& b) const { return ";
  for (const std::string& program : {many("namespace {"),
                                     many("struct S {"),
                                     many("extern \"C\" {"),
                                     many("("),
                                     many("{"),
                                     many("template<"),
                                     many("a<"),
                                     many("a<("),
                                     many("f(a<"),
                                     many("main("),
                                     many("abs("),
                                     many("enum {"),
                                     many("typedef struct S {"),
                                     many("int f(int x) {"),
                                     many("int* "),
                                     many("#define A A\n"),
                                     many("struct S : S {};"),
                                     equal + many("x == b.x && ", "x == b.x; } };"),
                                     macros + "int f(int x) { return M0; }",
                                     chain,
                                     std::string("struct A : B {}; struct B : A {}; struct S : S {};")}) {
    SCOPED_TRACE(program.substr(0, 60));
    const auto start = std::chrono::steady_clock::now();
    code::CppSurface surface(program, "int main() { S a, b; A c; S0 d; assert(a == b); f(1); }", "f", "w");
    surface.server();
    code::read_c_interface(program, {"f"}, "int main(void) { struct S s; A a; f(M0); }");
    code::defines_library(program, "int main() { assert(f(1) == abs(2)); }", "f");
    code::NativeTests("w").source(program, "int main() { assert(f(1) == abs(2)); }", true);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
  }
}

}  // namespace
}  // namespace cohort
