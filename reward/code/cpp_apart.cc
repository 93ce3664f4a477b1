#include "reward/code/cpp_apart.h"

#include <fmt/core.h>

#include <algorithm>

#include "reward/code/c_tokens.h"
#include "reward/code/cpp_surface.h"
#include "reward/code/native_tests.h"
#include "reward/code/pair.h"
#include "reward/record.h"

namespace cohort::code {
namespace {

using sandbox::Ended, sandbox::Outcome;

#include "reward/code/cpp_ask.inc"
#include "reward/code/cpp_serve.inc"
#include "reward/code/cpp_wire.inc"

// For what is ours behind the program, whose own functions and templates stay as fast as they are: 0.4 s of a class's compilation.
constexpr const char* kQuick = "#pragma GCC optimize(\"O1\")\n";

constexpr int kGone = 120, kRaised = 121, kNotCopied = 122;  // exit codes of kAsk

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

// The line of a file "item" that the compiler complains of first, or 0.
size_t item_in(const std::string& diagnostics) {
  for (size_t at = 0; (at = diagnostics.find("item:", at)) != diagnostics.npos; at += 5) {
    if (at > 0 && diagnostics[at - 1] != '\n' && diagnostics[at - 1] != ' ') continue;
    const size_t line = strtoul(diagnostics.c_str() + at + 5, nullptr, 10);
    if (line > 0) return line;
  }
  return 0;
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

ApartOutcome run_cpp_apart(const Toolchain& toolchain, std::string_view program_text, const TestSet& set,
                           std::string_view tests_text, const std::string& word,
                           const sandbox::Limits& limits, const std::atomic<bool>& cancelled) {
  CppSurface surface(program_text, tests_text, set.entry_point, word);
  if (surface.has_templates()) {
    const Compiled both =
        toolchain.compile(toolchain.language("cpp"), surface.together(), {}, {"-O0", "-c"}, cancelled);
    if (both.ok())
      surface.add_instances(both.program.content);
    else if (!cannot_be_apart(both, ""))
      return {{}, both.refused.reason, both};
  }
  if (surface.empty())
    return {
        {}, surface.left_out().empty() ? "it defines nothing that its tests name" : surface.left_out(), {}};
  const CodeLanguage& cpp = toolchain.language("cpp");
  const bool hooks = program_text.find("operator new") == program_text.npos &&
                     program_text.find("operator delete") == program_text.npos;
  auto server = [&] {
    return "#line 1 \"solution.cpp\"\n" + without_main(program_text) + undone_words(true) + kQuick +
           replaced(kWire, "WORD", word) +
           replaced(surface.server(), "KSERVE", replaced(kServe, "WORD", word)) +
           (hooks ? replaced(kHooks, "WORD", word) : "");
  };
  Compiled program = toolchain.compile(cpp, server(), {}, {}, cancelled);
  // what cannot be served is left out: the tests may not need it
  for (int left = 6; !program.ok() && left > 0 && cannot_be_apart(program, "item:"); --left) {
    if (!surface.leave_out(item_in(program.diagnostics))) break;
    program = toolchain.compile(cpp, server(), {}, {}, cancelled);
  }
  if (!program.ok()) {
    // in our own lines
    if (!cannot_be_apart(program, "boundary:") && !cannot_be_apart(program, "item:"))
      return {{}, program.refused.reason, std::move(program)};
    return {{}, "what its tests name cannot be used from another process", {}};
  }
  const auto stubs = surface.stubs(program.program.content);
  if (!stubs) return {{}, "what its tests name says no types", {}};
  const std::string script =
      "#include <bits/stdc++.h>\n#line 1 \"boundary\"\n" + replaced(kWire, "WORD", word) +
      replaced(surface.has_arrays() ? kExtents : kNoExtents, "WORD", word) + replaced(kAsk, "WORD", word) +
      *stubs + fmt::format("#include <assert.h>\n#line 1 \"tests\"\n{}\n", tests_text);
  // arrays go to the program whole: with nothing in them that was on the stack before
  std::vector<std::string> flags;
  if (surface.has_arrays()) flags.push_back("-ftrivial-auto-var-init=zero");
  const Compiled tests = toolchain.compile(cpp, script, {}, flags, cancelled);
  if (!tests.ok()) {
    if (!cannot_be_apart(tests, "")) return {{}, tests.refused.reason, tests};
    return {{},
            surface.left_out().empty() ? "its tests do not compile without it: " + tests.refused.reason
                                       : surface.left_out(),
            {}};
  }
  TestResult result = judge_apart(toolchain, cpp, program, tests, limits, cancelled);
  if (result.not_copied)
    return {{}, "cannot be copied to another process: " + last_line(result.outcome.err), {}};
  return {std::move(result), "", {}};
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
  result.not_copied = said.ended == Ended::exited && said.exit_code == kNotCopied;
  if (result.not_copied) result.outcome = said;
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
