// Data flow of one completion: program text -> normalised, and looked up with its record (the same was graded, or is
// being graded by another thread: its verdict is this one's) -> compiled (once) -> tests, the one that fails most
// often first, each in a fresh jail, until the score is decided -> verdict.
#include <algorithm>
#include <cstdio>
#include <mutex>
#include <set>

#include "reward/code.h"
#include "reward/code/c_apart.h"
#include "reward/code/cpp_apart.h"
#include "reward/code/ending.h"
#include "reward/code/harness.h"
#include "reward/code/limits.h"
#include "reward/code/native_tests.h"
#include "reward/code/normalise.h"
#include "reward/code/once_cache.h"
#include "reward/code/order.h"
#include "reward/code/python_tests.h"
#include "reward/code/tests.h"
#include "reward/code/toolchain.h"
#include "reward/record.h"
#include "transport/base/log.h"

namespace cohort {
namespace {

using namespace code;
using sandbox::Ended, sandbox::Outcome;
using Json = nlohmann::json;

Verdict cancelled_verdict() {
  return make_verdict(VerdictKind::cancelled, 0, "cancelled");
}

class CodeGrader : public RecordGrader {
 public:
  explicit CodeGrader(const CodeOptions& options)
      : RecordGrader("code", 4, write_options(options)), options_(options), toolchain_(options) {}

 protected:
  Verdict decide(const Json& record, const GradeInput& input,
                 const std::atomic<bool>& cancelled) const override {
    Task task;
    task.language = &toolchain_.language(record.contains("language") ? required_text(record, "language")
                                                                     : options_.language);
    const auto whole = record.find("whole_completion");
    if (whole != record.end() && !whole->is_boolean())
      throw InfraError("the record's field \"whole_completion\" must be true or false");
    task.source = (whole != record.end() ? whole->get<bool>() : options_.whole_completion)
                      ? std::string_view(input.completion)
                      : last_fenced_block(input.completion);
    task.limits = to_limits(record_limits(record, options_.limits));
    task.tests = read_tests(record, input.record_json, options_);
    task.record = hash_parts({input.record_json});
    if (trim(task.source).empty()) return make_verdict(VerdictKind::no_answer, 0, "no code was found");
    if (!options_.reuse) return grade_program(task, cancelled);
    const std::string key = hash_parts({task.record, normalise(task.source, task.language->syntax)});
    auto got = verdicts_.get(key, cancelled, [&] {
      Verdict verdict = grade_program(task, cancelled);
      const bool keep = verdict.kind != VerdictKind::cancelled && verdict.kind != VerdictKind::infra_error;
      const size_t size = verdict.reason.size() + verdict.evidence.size() + 200;
      return OnceCache<Verdict>::Made{std::move(verdict), size, keep};
    });
    if (!got) return cancelled_verdict();
    if (got->reused) {
      Json evidence = Json::parse(got->value.evidence, nullptr, false);
      if (evidence.is_object()) evidence["reused"] = true, got->value.evidence = dump_line(evidence);
      got->value.reused = true;
    }
    return std::move(got->value);
  }

 private:
  struct Task {
    const CodeLanguage* language = nullptr;
    std::string_view source;
    sandbox::Limits limits;
    TestSet tests;
    std::string record;  // its hash
    bool python() const { return language->name == "python"; }
    bool native() const { return language->name == "c" || language->name == "cpp"; }
  };

  Json start_evidence(const Task& task) const {
    return {{"isolation", toolchain_.isolation_name(*task.language)}};
  }

  Verdict refused(const Task& task, const Compiled& compiled) const {
    if (compiled.refused.kind == VerdictKind::cancelled) return cancelled_verdict();
    Json evidence = start_evidence(task);
    add_usage(evidence, compiled.outcome);
    evidence["compiler"] = compiled.diagnostics;
    return make_verdict(compiled.refused.kind, 0, compiled.refused.reason, evidence);
  }

  Verdict grade_program(const Task& task, const std::atomic<bool>& cancelled) const {
    const TestSet& set = task.tests;
    for (const Test& test : set.tests) {
      if (test.form == Test::Form::call && !task.python())
        throw InfraError("the record's \"args\" tests need Python; other languages take a \"driver\"");
      if (test.form == Test::Form::script && !task.python() && !task.native())
        throw InfraError(fmt::format("the record's \"test_code\" cannot be in {}", task.language->name));
    }
    if (task.native() && set.tests[0].form == Test::Form::script)
      return grade_native_scripts(task, cancelled);
    const std::string source =
        set.driver.empty() ? std::string(task.source) : std::string(task.source) + "\n" + set.driver;
    const Compiled compiled = toolchain_.compile(*task.language, source, {}, {}, cancelled);
    if (!compiled.ok()) return refused(task, compiled);
    std::optional<Compiled> checker;
    if (set.checker) checker = compile_checker(*set.checker, cancelled);
    if (checker && !checker->ok()) return cancelled_verdict();
    return run_tests(task, cancelled, [&](const Test& test) {
      if (test.form == Test::Form::call)
        return run_call(toolchain_, compiled.program, test, set.tolerance, task.limits, cancelled);
      if (test.form == Test::Form::script) {
        const auto run = options_.python_tests == PythonTests::separate ? run_script : run_script_in_process;
        return run(toolchain_, compiled.program, set, test, task.limits, cancelled);
      }
      return run_output(task, compiled.program, checker ? &checker->program : nullptr, test, cancelled);
    });
  }

  Compiled compile_checker(const Checker& checker, const std::atomic<bool>& cancelled) const {
    Compiled compiled =
        toolchain_.compile(toolchain_.language(checker.language), checker.source, {}, {}, cancelled);
    if (compiled.refused.kind == VerdictKind::compile_error)
      throw InfraError("the record's checker does not compile: " + compiled.refused.reason);
    return compiled;
  }

  TestResult run_output(const Task& task, const Program& program, const Program* checker, const Test& test,
                        const std::atomic<bool>& cancelled) const {
    sandbox::Job job = program.job(task.limits);
    job.stdin_data = test.input;
    const std::string mode = fmt::format("run {}", task.limits.output_bytes);
    if (toolchain_.runs_warm(*task.language)) {
      job.warm = true;
      job.files.push_back({"mode", mode});
    }
    TestResult result;
    result.outcome = toolchain_.jail(*task.language).run(job, cancelled);
    result.judged = judge_ending(result.outcome);
    judge_syntax(*task.language, result.outcome, result.judged);
    if (result.judged.kind != VerdictKind::passed) return result;
    if (checker) {
      result.judged = ask_checker(*checker, test, result.outcome.out, cancelled);
    } else {
      const std::string difference =
          compare_outputs(test.expected, result.outcome.out, task.tests.compare, task.tests.tolerance);
      if (!difference.empty()) result.judged = {VerdictKind::failed, "the output " + difference};
    }
    if (result.judged.kind == VerdictKind::failed)
      result.difference_shown = result.outcome.out.substr(0, 300);
    return result;
  }

  // In a jail of its own, with three files: what the program was given, what it said, and what was expected.
  Judged ask_checker(const Program& checker, const Test& test, std::string_view output,
                     const std::atomic<bool>& cancelled) const {
    sandbox::Job job = checker.job(to_limits(options_.limits));
    job.files.push_back({"input.txt", test.input});
    job.files.push_back({"output.txt", output});
    job.files.push_back({"answer.txt", test.expected});
    for (const char* file : {"input.txt", "output.txt", "answer.txt"}) job.argv.push_back(file);
    const Outcome o = toolchain_.jail(*checker.language).run(job, cancelled);
    if (o.ended == Ended::cancelled) return {VerdictKind::cancelled, "cancelled"};
    if (o.ended == Ended::exited && o.exit_code == 0) return {};
    if (o.ended == Ended::exited && (o.exit_code == 1 || o.exit_code == 2))
      return {VerdictKind::failed, "the checker refuses the output"};
    return {VerdictKind::unknown, "the checker " + judge_ending(o).reason};
  }

  ApartOutcome run_apart(const Task& task, const Test& test, const std::atomic<bool>& cancelled) const {
    const auto run = task.language->name == "cpp" ? run_cpp_apart : run_c_apart;
    if (options_.cpp_tests ==
        CppTests::separate)  // a host whose compiler cannot do it would fail every program
      apart_tried_.get(task.language->name, cancelled, [&] {
        const ApartOutcome trial = run(toolchain_, "int twice(int x) { return 2 * x; }\n", {},
                                       "int main() { assert(twice(2) == 4); }\n", native_.word(),
                                       to_limits(kTrialLimits), cancelled);
        const Judged judged = trial.result         ? trial.result->judged
                              : trial.not_compiled ? trial.not_compiled->refused
                                                   : Judged{VerdictKind::failed, trial.reason};
        if (judged.kind != VerdictKind::passed && judged.kind != VerdictKind::cancelled)
          throw InfraError(fmt::format(
              "scripts of assertions in {} cannot be kept apart from programs here: {} (cpp_tests = "
              "\"in_process\" lets them share a process)",
              task.language->name, judged.reason));
        return OnceCache<bool>::Made{true, 1, judged.kind == VerdictKind::passed};
      });
    return run(toolchain_, task.source, task.tests, test.script, native_.word(), task.limits, cancelled);
  }

  // It may be the tests and not the program: then every program of the record fails.
  void warn_once(const Task& task, const std::string& reason) const {
    std::lock_guard lock(warned_mutex_);
    if (warned_.size() < 1000 && warned_.insert(task.record).second)
      log::warn(
          "code: a program does not fit its tests and fails (compile_error): {}; said once for each record. "
          "Where it is the tests that cannot be kept apart from programs, cpp_tests = \"auto\" lets these "
          "share a process",
          reason);
  }

  Verdict grade_native_scripts(const Task& task, const std::atomic<bool>& cancelled) const {
    const bool cpp = task.language->name == "cpp";
    const NativeTests& native = native_;
    const CodeLanguage& language = cpp ? native_cpp_ : native_c_;
    const std::string harness_file = native_file('h', cpp), harness = native.harness();
    std::optional<Verdict> not_compiled;
    const Verdict verdict = run_tests(task, cancelled, [&](const Test& test) {
      TestResult result;
      if (const auto why = defines_library(task.source, test.script, task.tests.entry_point)) {
        result.judged = {VerdictKind::failed, *why};
        return result;
      }
      if (options_.cpp_tests != CppTests::in_process) {
        const ApartOutcome apart = run_apart(task, test, cancelled);
        if (apart.result) return *apart.result;
        if (apart.not_compiled || options_.cpp_tests == CppTests::separate) {
          if (!apart.not_compiled) warn_once(task, apart.reason);
          result.judged = apart.not_compiled
                              ? apart.not_compiled->refused
                              : Judged{VerdictKind::compile_error, "does not fit its tests: " + apart.reason};
          if (apart.not_compiled) not_compiled = refused(task, *apart.not_compiled);
          return result;
        }
      }
      result.in_process = true;
      if (const auto why = refuse_native(task.source, test.script, task.tests.entry_point)) {
        result.judged = {VerdictKind::failed, *why};
        return result;
      }
      const Compiled compiled =
          toolchain_.compile(language, native.source(task.source, test.script, cpp),
                             {{harness_file, harness}}, {"-Wl,--wrap=main", "-Wl,-z,now", "-s"}, cancelled);
      if (!compiled.ok()) {
        result.judged = compiled.refused;
        not_compiled = refused(task, compiled);
        return result;
      }
      const bool asserts = has_assertions(test.script);
      auto run = [&](bool control) {
        const std::string nonce = native.nonce(control);
        sandbox::Job job = compiled.program.job(task.limits);
        job.report_pipe = true;
        job.stdin_data = nonce;
        Outcome o = toolchain_.jail(*task.language).run(job, cancelled);
        result.judged = judge_ending(o);
        if (o.ended == Ended::signalled && contains(o.err, "Assertion failed: "))
          result.judged = {VerdictKind::failed, "a test failed: " + last_line(o.err)};
        if (result.judged.kind == VerdictKind::passed)
          judge_report(o.report, nonce, control, asserts, result.judged);
        return o;
      };
      result.outcome = run(false);
      if (result.judged.kind == VerdictKind::passed && asserts) run(true);
      return result;
    });
    return not_compiled ? *not_compiled : verdict;
  }

  std::string native_file(char what, bool cpp) const { return what + native_.word() + (cpp ? ".cpp" : ".c"); }

  // The language as it compiles such a program: under names that it cannot include, the harness before it.
  CodeLanguage native_language(const char* name) const {
    CodeLanguage language = toolchain_.language(name);
    const bool cpp = language.name == "cpp";
    language.source = native_file('s', cpp);
    language.compile.insert(std::find(language.compile.begin(), language.compile.end(), "{source}"),
                            native_file('h', cpp));
    return language;
  }

  // "nonce assertions failed", and in the control run as many failed as there were.
  static void judge_report(const std::string& report, const std::string& nonce, bool control, bool asserts,
                           Judged& judged) {
    size_t seen = 0, failed = 0;
    const bool whole = report.starts_with(nonce + " ") &&
                       sscanf(report.c_str() + nonce.size(), " %zu %zu", &seen, &failed) == 2 &&
                       report == fmt::format("{} {} {}", nonce, seen, failed);
    if (!whole || (asserts && seen == 0))
      judged = {VerdictKind::failed, "ended before its tests were done"};
    else if (!control && failed > 0)
      judged = {VerdictKind::failed, "a test failed, and the program went on"};
    else if (control && failed != seen)
      judged = {VerdictKind::failed, "passes its tests also when they are made false"};
  }

  // run(test) -> TestResult, for each test until the score is decided.
  template <class Run>
  Verdict run_tests(const Task& task, const std::atomic<bool>& cancelled, const Run& run) const {
    const std::vector<Test>& tests = task.tests.tests;
    std::vector<size_t> order(tests.size());
    if (options_.test_order == TestOrder::learned)
      order = failures_.order(task.record, tests.size());
    else
      std::iota(order.begin(), order.end(), 0);
    Json evidence = start_evidence(task);
    Judged first;                      // why a test that was not passed was not
    size_t first_test = tests.size();  // the lowest numbered of them
    size_t passed = 0, ran = 0;
    bool in_process = false;
    double wall_s = 0, cpu_s = 0;
    int64_t peak = 0;
    for (const size_t i : order) {
      if (cancelled.load(std::memory_order_relaxed)) return cancelled_verdict();
      const TestResult result = run(tests[i]);
      if (result.judged.kind == VerdictKind::cancelled) return cancelled_verdict();
      ++ran;
      in_process = in_process || result.in_process;
      wall_s += result.outcome.wall_s;
      cpu_s += result.outcome.cpu_s;
      peak = std::max(peak, result.outcome.peak_bytes);
      if (result.judged.kind == VerdictKind::passed) {
        ++passed;
        continue;
      }
      failures_.failed(task.record, i, tests.size());
      if (i < first_test) {
        first = result.judged;
        first_test = i;
        for (const char* key : {"exit_status", "signal", "ended", "stderr", "stdout"}) evidence.erase(key);
        add_usage(evidence, result.outcome);
        if (!result.difference_shown.empty()) evidence["stdout"] = result.difference_shown;
      }
      if (!options_.partial_credit || result.judged.kind == VerdictKind::compile_error) break;
    }
    if (first_test < tests.size()) evidence["first_failing_test"] = first_test + 1;
    if (in_process) evidence["in_process"] = true;
    evidence["tests"] = tests.size();
    evidence["tests_run"] = ran;
    evidence["tests_passed"] = passed;
    evidence["wall_s"] = wall_s;
    evidence["cpu_s"] = cpu_s;
    evidence["memory_kb"] = peak / 1024;
    if (first_test == tests.size())
      return make_verdict(VerdictKind::passed, 1, fmt::format("passes all {} tests", tests.size()), evidence);
    const double share = static_cast<double>(passed) / static_cast<double>(tests.size());
    return make_verdict(first.kind, options_.partial_credit ? share : 0,
                        fmt::format("test {}: {}", first_test + 1, first.reason), evidence);
  }

  const CodeOptions options_;
  const Toolchain toolchain_;
  const NativeTests native_{make_nonce()};
  const CodeLanguage native_c_ = native_language("c"), native_cpp_ = native_language("cpp");
  mutable OnceCache<Verdict> verdicts_{16u << 20};
  mutable FailureCounts failures_{4096};
  mutable OnceCache<bool> apart_tried_{1000};  // languages whose scripts can be kept apart here
  mutable std::mutex warned_mutex_;            // warned_
  mutable std::set<std::string> warned_;       // records
};

}  // namespace

std::unique_ptr<Grader> make_code_grader(const TomlTable& table) {
  return std::make_unique<CodeGrader>(read_grader_options<CodeOptions>(table));
}

}  // namespace cohort
