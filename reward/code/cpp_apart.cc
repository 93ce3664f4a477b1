#include "reward/code/cpp_apart.h"

#include <fmt/core.h>

#include <algorithm>

#include "reward/code/c_tokens.h"
#include "reward/code/native_tests.h"
#include "reward/code/pair.h"
#include "reward/record.h"

namespace cohort::code {
namespace {

using sandbox::Ended, sandbox::Outcome;

#include "reward/code/cpp_apart.inc"

constexpr int kGone = 120, kRaised = 121;  // exit codes of kAsk

// Functions that a text defines outside of every bracket, once each.
std::vector<std::string> defined_in(std::string_view text) {
  const std::vector<Token> all = tokens_of(text);
  std::vector<std::string> names;
  int depth = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    const char c = text[all[i].begin];
    if (all[i].kind == Token::other) depth += (c == '{' || c == '(') - (c == '}' || c == ')');
    if (all[i].kind != Token::word || depth != 0 || !defines_function(text, all, i)) continue;
    const std::string name(of(text, all[i]));
    if (name != "main" && std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  return names;
}

bool mentions(std::string_view text, std::string_view word) {
  for (const Token& token : tokens_of(text))
    if (token.kind == Token::word && of(text, token) == word) return true;
  return false;
}

// Only types that every process has the same: what else a program may call its own is not looked into.
bool plain(std::string_view type) {
  constexpr const char* kWords[] = {"const", "unsigned", "signed", "int", "long", "short", "char", "bool",
                                    "float", "double", "void", "std", "__cxx11", "basic_string", "string",
                                    "vector", "list", "deque", "set", "multiset", "unordered_set",
                                    "unordered_multiset", "map", "multimap", "unordered_map",
                                    "unordered_multimap", "pair", "tuple", "optional", "array",
                                    // as a compiler writes what is left to its default
                                    "char_traits", "allocator", "less", "hash", "equal_to"};
  for (const Token& token : tokens_of(type)) {
    const std::string_view text = of(type, token);
    const bool number = text[0] >= '0' && text[0] <= '9';
    const bool known = token.kind == Token::word &&
                       (number || std::find(std::begin(kWords), std::end(kWords), text) != std::end(kWords));
    const bool sign = token.kind == Token::other && std::string_view("<>,:&*").find(text) != text.npos;
    if (!known && !sign && token.kind != Token::skipped) return false;
  }
  return !trim(type).empty();
}

// The types that `shape<N, F>()` in a binary says.
std::optional<std::string> shape_in(std::string_view binary, const std::string& word, size_t index) {
  const std::string mark = fmt::format("cohort_{}::shape() [with int N = {}; F = ", word, index);
  const size_t at = binary.find(mark);
  if (at == binary.npos) return {};
  const std::string_view rest = binary.substr(at + mark.size(), 4000);
  const size_t end = rest.find_first_of(std::string_view(";]\0", 3));
  return end == rest.npos ? std::nullopt : std::optional<std::string>(rest.substr(0, end));
}

}  // namespace

std::optional<std::string> stub(const std::string& name, std::string_view shape, size_t index,
                                const std::string& word) {
  shape = trim(shape);
  if (shape.ends_with(" noexcept")) shape = trim(shape.substr(0, shape.size() - 9));
  if (!shape.ends_with(')')) return {};
  const size_t open = shape.find('(');
  const std::string_view result = trim(shape.substr(0, open));
  std::string_view rest = trim(shape.substr(open + 1, shape.size() - open - 2));
  std::string parameters, types(result), arguments = std::to_string(index);
  if (!plain(result)) return {};
  for (int depth = 0, n = 0; !rest.empty() && rest != "void"; ++n) {
    size_t end = 0;
    for (; end < rest.size() && (depth > 0 || rest[end] != ','); ++end)
      depth += (rest[end] == '<') - (rest[end] == '>');
    const std::string_view type = trim(rest.substr(0, end));
    if (!plain(type)) return {};
    parameters += fmt::format("{}{} a{}", n ? ", " : "", type, n);
    types += fmt::format(", {}", type);
    arguments += fmt::format(", a{}", n);
    rest = trim(rest.substr(std::min(rest.size(), end + 1)));
  }
  return fmt::format("{} {}({}) {{ return cohort_{}::ask<{}>({}); }}\n", result, name, parameters, word,
                     types, arguments);
}

std::vector<std::string> called_by_tests(std::string_view program, const TestSet& set,
                                         std::string_view tests) {
  const std::vector<std::string> own = defined_in(tests);
  std::vector<std::string> called;
  for (const std::string& name : defined_in(program))
    if ((mentions(tests, name) || name == set.entry_point) &&
        std::find(own.begin(), own.end(), name) == own.end())
      called.push_back(name);
  return called;
}

CppApart::CppApart(std::string_view program, const TestSet& set, std::string_view tests, std::string word)
    : program_(program),
      tests_(tests),
      word_(std::move(word)),
      functions_(called_by_tests(program, set, tests)) {}

std::string CppApart::with_word(std::string_view text) const {
  return replaced(text, "WORD", word_);
}

std::string CppApart::server() const {
  std::string cases, shapes;
  for (size_t i = 0; i < functions_.size(); ++i) {
    cases += fmt::format("    case {}: return cohort_WORD::call(&::{}, in, out);\n", i, functions_[i]);
    shapes += fmt::format("  shape = cohort_WORD::shape<{}, decltype(::{})>();\n", i, functions_[i]);
  }
  return "#line 1 \"solution.cpp\"\n" + without_main(program_) + undone_words(true) + with_word(kWire) +
         with_word(kServe) +
         with_word(
             "int main() {\n  static const char* volatile shape;\n" + shapes +
             "  return cohort_WORD::serve([](unsigned which, cohort_WORD::In& in, cohort_WORD::Out& out) {\n"
             "    switch (which) {\n" +
             cases + "    }\n  });\n}\n");
}

std::string CppApart::script(const std::vector<std::string>& stubs) const {
  std::string text = "#include <bits/stdc++.h>\n#line 1 \"boundary\"\n" + with_word(kWire) + with_word(kAsk);
  // the program's own way to write, which its tests may count on
  if (program_.find("using namespace std") != program_.npos) text += "using namespace std;\n";
  for (const std::string& stub : stubs) text += stub;
  return text + fmt::format("#include <assert.h>\n#line 1 \"tests\"\n{}\n", tests_);
}

ApartOutcome CppApart::run(const Toolchain& toolchain, const sandbox::Limits& limits,
                           const std::atomic<bool>& cancelled) const {
  if (functions_.empty()) return {{}, "it defines no function that its tests call", {}};
  const CodeLanguage& cpp = toolchain.language("cpp");
  Compiled program = toolchain.compile(cpp, server(), {}, {}, cancelled);
  if (!program.ok()) {
    // in our own lines: a template, an overloaded function, a type of its own
    if (!cannot_be_apart(program, "boundary:")) return {{}, program.refused.reason, std::move(program)};
    return {{}, "one of its functions cannot be called from another process", {}};
  }
  std::vector<std::string> stubs;
  for (size_t i = 0; i < functions_.size(); ++i) {
    const auto shape = shape_in(program.program.content, word_, i);
    const auto made = shape ? stub(functions_[i], *shape, i, word_) : std::nullopt;
    if (!made) return {{}, fmt::format("{} has types of its own", functions_[i]), {}};
    stubs.push_back(*made);
  }
  const Compiled tests = toolchain.compile(cpp, script(stubs), {}, {}, cancelled);
  if (!tests.ok()) {
    if (!cannot_be_apart(tests, "")) return {{}, tests.refused.reason, tests};
    return {{}, "its tests do not compile without it: " + tests.refused.reason, {}};
  }
  return {judge_apart(toolchain, cpp, program, tests, limits, cancelled), "", {}};
}

bool cannot_be_apart(const Compiled& failed, std::string_view ours) {
  return failed.refused.kind == VerdictKind::compile_error && failed.outcome.ended == Ended::exited &&
         contains(failed.diagnostics, ours);
}

TestResult judge_apart(const Toolchain& toolchain, const CodeLanguage& language, const Compiled& program,
                       const Compiled& tests, const sandbox::Limits& limits,
                       const std::atomic<bool>& cancelled) {
  TestResult result;
  const PairOutcome both = run_pair(toolchain.jail(language), program.program.job(limits),
                                    tests.program.job(limits_of_tests(limits)), cancelled);
  const sandbox::Outcome& said = both.tests;
  result.outcome = both.program;
  const Judged end = both.program.ended == Ended::cancelled ? Judged{} : judge_ending(both.program);
  const bool holds = said.ended == Ended::exited && said.exit_code == 0;
  if (said.ended == Ended::cancelled)
    result.judged = {VerdictKind::cancelled, "cancelled"};
  else if (end.kind != VerdictKind::passed && (!holds || both.program.ended != Ended::exited))
    result.judged = end;  // over a limit, or dead: that is what happened, whatever the tests made of it
  else if (holds)
    result.judged = {};
  else if (said.ended == Ended::signalled && contains(said.err, "Assertion `"))
    result.judged = {VerdictKind::failed, "a test failed: " + last_line(said.err)};
  else if (said.ended == Ended::exited && said.exit_code == kGone)
    result.judged = {VerdictKind::failed,
                     last_line(said.err).empty() ? "ended before its tests were done" : last_line(said.err)};
  else if (said.ended == Ended::exited && said.exit_code == kRaised)
    result.judged = {VerdictKind::candidate_crash, "threw " + last_line(said.err)};
  else if (said.ended == Ended::exited || said.ended == Ended::signalled)
    result.judged = {VerdictKind::failed, "a test failed: " + judge_ending(said).reason};
  else
    result.judged = {judge_ending(said).kind, "its tests " + judge_ending(said).reason};
  return result;
}

}  // namespace cohort::code
