// C++ tasks as they are set: classes, structures, linked lists, arrays, overloads, templates. Each has a correct program, which passes
// apart from its tests as it does beside them, and a wrong one, which fails in both (cpp_tasks.txt).
#include <gmock/gmock.h>

#include <atomic>
#include <fstream>
#include <mutex>
#include <regex>
#include <thread>

#include "reward/code/cpp_surface.h"
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
Verdict apart(const std::string& source, const std::string& tests, Grader& grader = separate()) {
  return grade(source, {{"language", "cpp"}, {"test_code", tests}}, grader);
}

struct Task {
  std::string name, program, tests;
  std::vector<std::string> wrong;
};

// `from => to` done to a text, whatever blanks `from` has there.
std::string changed(const std::string& text, const std::string& change) {
  const size_t arrow = change.find(" => ");
  std::string pattern;
  for (char c : change.substr(0, arrow)) {
    if (c == ' ')
      pattern += "\\s*";
    else
      pattern += std::string(isalnum(static_cast<unsigned char>(c)) || c == '_' ? "" : "\\") + c;
  }
  std::smatch found;
  if (!std::regex_search(text, found, std::regex(pattern))) return text;
  return found.prefix().str() + change.substr(arrow + 4) + found.suffix().str();
}

std::vector<Task> tasks() {
  std::ifstream in(COHORT_SOURCE_DIR "/tests/reward/cpp_tasks.txt");
  std::vector<Task> all;
  bool in_tests = false;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("=== ")) {
      all.push_back({line.substr(4), "", "", {}});
      in_tests = false;
    } else if (line == "--- tests") {
      in_tests = true;
    } else if (line.starts_with("--- wrong ")) {
      all.back().wrong.push_back(line.substr(10));
    } else {
      (in_tests ? all.back().tests : all.back().program) += line + "\n";
    }
  }
  return all;
}

TEST(CodeApartCpp, TasksHaveTheVerdictsOfTheSharedProcess) {
  const std::vector<Task> all = tasks();
  EXPECT_GE(all.size(), 30u);
  std::atomic<size_t> next = 0;
  std::mutex mutex;
  auto work = [&] {
    for (size_t i; (i = next++) < all.size();) {
      const Task& task = all[i];
      const Verdict right = apart(task.program, task.tests);
      const Verdict beside = apart(task.program, task.tests, in_process());
      std::vector<std::pair<Verdict, Verdict>> wrong;
      for (const std::string& change : task.wrong) {
        const std::string program = changed(task.program, change);
        if (program == task.program) ADD_FAILURE() << task.name << ": no " << change;
        wrong.emplace_back(apart(program, task.tests), apart(program, task.tests, in_process()));
      }
      const std::lock_guard lock(mutex);
      EXPECT_EQ(right.kind, K::passed) << task.name << ": " << right.reason << right.evidence;
      EXPECT_FALSE(evidence(right).contains("in_process")) << task.name;
      EXPECT_EQ(beside.kind, K::passed) << task.name << ": " << beside.reason;
      EXPECT_FALSE(wrong.empty()) << task.name;
      for (const auto& [there, here] : wrong) {
        EXPECT_STREQ(to_string(there.kind), to_string(here.kind))
            << task.name << ": " << there.reason << "; " << here.reason;
        EXPECT_TRUE(there.kind == K::failed || there.kind == K::candidate_crash)
            << task.name << ": " << there.reason;
      }
    }
  };
  std::thread second(work);
  work();
  second.join();
}

TEST(CodeApartCpp, ShapesAreReadAsTheCompilerSaysThem) {
  auto read = [](const std::string& text) -> std::string {
    const auto shape = code::read_shape(text);
    if (!shape) return "none";
    std::string out = shape->result + "(";
    for (const std::string& p : shape->parameters) out += p + ";";
    out += ")";
    for (const std::string& v : shape->values) out += " " + v;
    return out;
  };
  EXPECT_EQ(read("int(const std::vector<int, std::allocator<int> >&, double); auto ...V = {true}]"),
            "int(const std::vector<int, std::allocator<int> >&;double;) true");
  EXPECT_EQ(read("void(); auto ...V = {true}]"), "void() true");
  EXPECT_EQ(read("cohort_w::types<int, int [3], P*>; auto ...V = {1}]"), "(int;int [3];P*;) 1");
  EXPECT_EQ(read("types<>; auto ...V = {}]"), "()");
  EXPECT_EQ(read("int(int (*)(int, int), int (&)[3]); auto ...V = {true, false}]"),
            "int(int (*)(int, int);int (&)[3];) true false");
  for (const char* other :
       {"", "int", "int(int)", "int(; auto ...V = {", "); auto ...V = {}", "int; auto ...V = {}]"})
    EXPECT_EQ(read(other), "none") << other;
}

}  // namespace
}  // namespace cohort
