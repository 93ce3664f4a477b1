// Data flow of run_script: two jails run at once, joined by a socket pair (descriptor 3 of both). tests jail:
// harness.py + tests.py + prelude.py -> asks -> candidate's jail: harness.py + solution.py -> answers -> tests jail
// -> one line of JSON on its standard output -> us.
#include "reward/code/python_tests.h"

#include "reward/code/harness.h"
#include "reward/code/pair.h"
#include "reward/record.h"

namespace cohort::code {
namespace {

using sandbox::Ended, sandbox::Outcome;

std::string mode(const char* name, const sandbox::Limits& limits) {
  return fmt::format("{} {}", name, limits.output_bytes);
}

// Why a candidate's process that ended by itself ended badly: its exception's line says more than its status.
void add_last_words(const Outcome& o, Judged& judged) {
  if (judged.kind == VerdictKind::candidate_crash && o.ended == Ended::exited && !last_line(o.err).empty())
    judged.reason = last_line(o.err);
}

}  // namespace

void judge_syntax(const CodeLanguage& language, const Outcome& outcome, Judged& judged) {
  if (judged.kind != VerdictKind::candidate_crash) return;
  const std::string last = last_line(outcome.err);
  for (const std::string& beginning : language.syntax_errors)
    if (last.starts_with(beginning)) judged = {VerdictKind::compile_error, "does not compile: " + last};
}

TestResult run_call(const Toolchain& toolchain, const Program& program, const Test& test, Tolerance tolerance,
                    const sandbox::Limits& limits, const std::atomic<bool>& cancelled) {
  sandbox::Job job = toolchain.python_job(limits);
  const std::string how = mode("call", limits);
  job.files.push_back({"mode", how});
  job.files.push_back({"solution.py", program.content});
  job.stdin_data = test.input;
  TestResult result;
  result.outcome = toolchain.jail(*program.language).run(job, cancelled);
  const Outcome& o = result.outcome;
  Judged& judged = result.judged = judge_ending(o);
  judge_syntax(*program.language, o, judged);
  add_last_words(o, judged);
  if (judged.kind != VerdictKind::passed) return result;
  if (o.out.empty()) {
    judged = {VerdictKind::failed, "ended before it gave its result"};
    return result;
  }
  result.difference_shown = o.out.substr(0, 300);
  Value got;
  try {
    got = parse_value(o.out);  // exactly one value: two answers are none
  } catch (const InfraError&) {
    judged = {VerdictKind::failed, "its result is not one value"};
    return result;
  }
  std::string difference;
  for (const Value& expected : test.expected_values) {
    const std::string d = compare_values(expected, got, tolerance);
    if (d.empty()) return result;
    if (difference.empty()) difference = d;
  }
  judged = {VerdictKind::failed, difference};
  return result;
}

TestResult run_script(const Toolchain& toolchain, const Program& program, const TestSet& set,
                      const Test& test, const sandbox::Limits& limits, const std::atomic<bool>& cancelled) {
  sandbox::Job candidate = toolchain.python_job(limits),
               tests = toolchain.python_job(limits_of_tests(limits));
  const std::string serve = mode("serve", limits), judge = mode("tests", limits);
  candidate.files.push_back({"mode", serve});
  candidate.files.push_back({"solution.py", program.content});
  tests.files.push_back({"mode", judge});
  tests.files.push_back({"prelude.py", set.prelude});
  tests.files.push_back({"tests.py", test.script});
  tests.files.push_back({"entry_point", set.entry_point});

  TestResult result;
  PairOutcome both = run_pair(toolchain.jail(*program.language), candidate, tests, cancelled);
  result.outcome = std::move(both.program);
  const Outcome& tests_outcome = both.tests;
  const Outcome& o = result.outcome;
  Judged& judged = result.judged;
  if (tests_outcome.ended == Ended::cancelled) {
    judged = {VerdictKind::cancelled, "cancelled"};
    return result;
  }
  const Judged candidate_end = o.ended == Ended::cancelled ? Judged{} : judge_ending(o);
  const nlohmann::json said = nlohmann::json::parse(tests_outcome.out, nullptr, false);
  const bool spoke = said.is_array() && said.size() == 2 && said[0].is_string() && said[1].is_string();
  const std::string kind = spoke ? said[0].get<std::string>() : "";
  const std::string text = spoke ? said[1].get<std::string>() : "";
  if (kind == "broken") throw InfraError("the record's tests do not run: " + text);
  if (kind == "unsupported")
    throw InfraError("the record's tests: " + text + "; python_tests = \"in_process\" can");
  // over a limit, or dead by a signal: that is what happened, whatever the tests made of it
  if (candidate_end.kind != VerdictKind::passed && (kind != "ok" || o.ended != Ended::exited)) {
    judged = candidate_end;
    judge_syntax(*program.language, o, judged);
    add_last_words(o, judged);
    return result;
  }
  if (kind == "ok") return result;
  if (kind == "assert") {
    judged = {VerdictKind::failed, "a test failed: " + text};
  } else if (kind == "tests") {
    judged = {VerdictKind::failed, "a test cannot use what it answered: " + text};
  } else if (kind == "raised" && text.starts_with("MemoryError")) {
    judged = {VerdictKind::candidate_memory, "an allocation was refused"};
  } else if (kind == "raised") {
    judged = {VerdictKind::candidate_crash, "raised " + text};
  } else if (kind == "gone" && text.empty()) {
    judged = {VerdictKind::failed, "ended before its tests were done"};
  } else if (kind == "gone") {
    judged = {VerdictKind::candidate_output, text};
  } else {
    // no line: the tests' own process was stopped, which what the candidate answers can bring about
    judged = judge_ending(tests_outcome);
    judged.reason = "its tests " + judged.reason;
    if (judged.kind == VerdictKind::passed || judged.kind == VerdictKind::candidate_crash)
      throw InfraError("the tests' process ended without a word: " + tests_outcome.err.substr(0, 200));
  }
  return result;
}

TestResult run_script_in_process(const Toolchain& toolchain, const Program& program, const TestSet& set,
                                 const Test& test, const sandbox::Limits& limits,
                                 const std::atomic<bool>& cancelled) {
  const std::string nonce = make_nonce();
  sandbox::Job job;
  job.limits = limits;
  job.report_pipe = true;
  job.argv = {toolchain.python().program, "-I", "-B", "harness.py", nonce, set.entry_point};
  job.files = {{"harness.py", kPythonInProcess},
               {"solution.py", program.content},
               {"prelude.py", set.prelude},
               {"tests.py", test.script}};
  TestResult result;
  result.in_process = true;
  result.outcome = toolchain.jail(*program.language).run(job, cancelled);
  const Outcome& o = result.outcome;
  Judged& judged = result.judged = judge_ending(o);
  const std::string said = o.report.starts_with(nonce + " ") ? o.report.substr(nonce.size() + 1) : "";
  auto says = [&](std::string_view what) { return said.starts_with(what); };
  if (judged.kind != VerdictKind::passed || said == "ok") return result;
  if (says("assert "))
    judged = {VerdictKind::failed, "a test failed: " + said.substr(7)};
  else if (says("syntax "))
    judged = {VerdictKind::compile_error, "does not compile: " + said.substr(7)};
  else if (says("raised MemoryError"))
    judged = {VerdictKind::candidate_memory, "an allocation was refused"};
  else if (says("raised "))
    judged = {VerdictKind::candidate_crash, said};
  else
    judged = {VerdictKind::failed, "ended before its tests were done"};
  return result;
}

}  // namespace cohort::code
