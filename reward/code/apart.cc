#include "reward/code/apart.h"

#include <algorithm>
#include <array>

#include "reward/code/c_tokens.h"
#include "reward/code/pair.h"
#include "reward/record.h"

namespace cohort::code {
namespace {

using sandbox::Ended, sandbox::Outcome;

// Exit codes of the tests in C++ (kAsk).
constexpr int kGone = 120, kRaised = 121;

// Why tests ended without a verdict, which is for them alone to say: by this signal, the first reason, and the next ones. Nothing that a
// program answers becomes a signal that they end by; an exit status or what they write can be its answer. c_memory.inc and cpp_ask.inc
// number them.
constexpr int kFirstRefusal = 34;  // the first real-time signal that a C library leaves alone
constexpr std::array kRefusals = {
    "an argument points to memory whose extent is not known",
    "its types have other sizes than their text says",
    "its tests give it too much memory",
    "cannot be copied to another process: an operator== of what cannot be compared by its fields",
    "cannot be copied to another process: an operator== that does not compare all fields",
    "cannot be copied to another process: the size of an array that its tests give it by a pointer is not "
    "known",
};

// Functions that a text defines outside of every bracket, once each.
std::vector<std::string> defined_in(std::string_view text) {
  const std::vector<Token> all = tokens_of(text);
  const std::vector<size_t> behind = behind_brackets(text, all);
  std::vector<std::string> names;
  int depth = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    const char c = text[all[i].begin];
    if (all[i].kind == Token::other) depth += (c == '{' || c == '(') - (c == '}' || c == ')');
    if (all[i].kind != Token::word || depth != 0 || !defines_function(text, all, behind, i)) continue;
    const std::string name(of(text, all[i]));
    if (name != "main" && std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  return names;
}

// How the program ended, as far as that is its own doing.
Judged ending_of_program(const Outcome& program) {
  return program.ended == Ended::cancelled ? Judged{} : judge_ending(program);
}

Judged judge_pair(const PairOutcome& both) {
  const Outcome& said = both.tests;
  const Judged end = ending_of_program(both.program);
  const bool exited = said.ended == Ended::exited, holds = exited && said.exit_code == 0;
  const std::string last = last_line(said.err);
  if (said.ended == Ended::cancelled) return {VerdictKind::cancelled, "cancelled"};
  // over a limit, or dead: that is what happened, whatever the tests made of it
  if (end.kind != VerdictKind::passed && (!holds || both.program.ended != Ended::exited)) return end;
  if (holds) return {};
  if (said.ended == Ended::signalled && contains(said.err, "Assertion `"))
    return {VerdictKind::failed, "a test failed: " + last};
  if (exited && said.exit_code == kGone)
    return {VerdictKind::failed, last.empty() ? "ended before its tests were done" : last};
  if (exited && said.exit_code == kRaised) return {VerdictKind::candidate_crash, "threw " + last};
  if (exited || said.ended == Ended::signalled)
    return {VerdictKind::failed, "a test failed: " + judge_ending(said).reason};
  return {judge_ending(said).kind, "its tests " + judge_ending(said).reason};
}

}  // namespace

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

bool cannot_be_apart(const Compiled& failed, std::string_view ours) {
  return failed.refused.kind == VerdictKind::compile_error && failed.outcome.ended == Ended::exited &&
         contains(failed.diagnostics, ours);
}

ApartOutcome end_not_compiled(const Compiled& failed, std::string_view ours, const std::string& why) {
  if (cannot_be_apart(failed, ours)) return {{}, why, {}};
  return {{}, failed.refused.reason, failed};
}

ApartOutcome end_of_pair(const Toolchain& toolchain, const CodeLanguage& language, const Compiled& program,
                         const Compiled& tests, const std::string& why, const sandbox::Limits& limits,
                         const std::atomic<bool>& cancelled) {
  if (!tests.ok())
    return end_not_compiled(
        tests, "", why.empty() ? "its tests do not compile without it: " + tests.refused.reason : why);
  const PairOutcome both = run_pair(toolchain.jail(language), program.program.job(limits),
                                    tests.program.job(limits_of_tests(limits)), cancelled);
  for (size_t i = 0; i < kRefusals.size(); ++i)
    if (both.tests.ended == Ended::signalled && both.tests.signal == kFirstRefusal + static_cast<int>(i))
      return {{}, kRefusals[i], {}};
  TestResult result;
  result.judged = judge_pair(both);
  result.outcome = both.program;
  return {std::move(result), "", {}};
}

}  // namespace cohort::code
