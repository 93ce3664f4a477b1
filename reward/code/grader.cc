// Compiles and runs a completion's program against its record's tests and says what came of it.
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <mutex>

#include "reward/code.h"
#include "reward/code/ending.h"
#include "reward/code/harness.h"
#include "reward/code/limits.h"
#include "reward/record.h"
#include "reward/sandbox/jail.h"
#include "transport/base/log.h"

namespace cohort {
namespace {

using namespace code;
using sandbox::Ended, sandbox::Isolation, sandbox::Outcome;

enum class Language { c, cpp, python };

Language language_from(const std::string& name) {
  std::string lower;
  for (char c : name) lower += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (lower == "c") return Language::c;
  if (lower == "cpp" || lower == "c++" || lower == "cc" || lower == "cxx") return Language::cpp;
  if (lower == "python" || lower == "python3" || lower == "py") return Language::python;
  throw InfraError(fmt::format("the record's language \"{}\" is none of c, cpp, python", name));
}

class CodeGrader : public RecordGrader {
 public:
  explicit CodeGrader(const CodeOptions& options)
      : RecordGrader("code", 1, write_options(options)),
        options_(options),
        python_(find_python(options.python)) {}

 protected:
  Verdict decide(const nlohmann::json& record, const GradeInput& input,
                 const std::atomic<bool>& cancelled) const override {
    Task task;
    task.language =
        language_from(record.contains("language") ? required_text(record, "language") : options_.language);
    task.source =
        options_.whole_completion ? std::string_view(input.completion) : last_fenced_block(input.completion);
    task.limits = to_limits(record_limits(record, options_.limits));
    if (trim(task.source).empty()) return make_verdict(VerdictKind::no_answer, 0, "no code was found");
    const bool has_code = record.contains("test_code");
    if (has_code == record.contains("tests"))
      throw InfraError("the record needs either \"tests\" or \"test_code\"");
    return has_code ? run_test_code(record, task, cancelled) : run_tests(record, task, cancelled);
  }

 private:
  struct Task {
    Language language = Language::c;
    std::string_view source;
    sandbox::Limits limits;
  };
  struct Built {
    std::string binary;  // C and C++
    std::optional<Verdict> refused;
  };

  const sandbox::Jail& jail() const {  // made at the first use: a list with other graders only needs none
    std::call_once(jail_once_, [this] {
      sandbox::Setup setup;
      setup.isolation = static_cast<sandbox::Want>(options_.isolation);
      setup.read_only = options_.read_only;
      if (!python_.prefix.empty()) setup.read_only.push_back(python_.prefix);
      jail_ = std::make_unique<sandbox::Jail>(setup);
      if (jail_->isolation() == Isolation::process && options_.isolation == CodeIsolation::automatic)
        log::warn(
            "code: this machine refuses namespaces ({}): programs are confined by Landlock, seccomp and "
            "limits only, "
            "and share this machine's network stack and process list",
            jail_->refusal());
    });
    return *jail_;
  }

  nlohmann::json start_evidence() const {
    return {{"isolation", jail().isolation() == Isolation::namespaces ? "namespaces" : "process"}};
  }

  Built compile(const Task& task, const std::vector<sandbox::File>& extra, std::vector<std::string> arguments,
                const std::atomic<bool>& cancelled) const {
    const bool cpp = task.language == Language::cpp;
    sandbox::Job job;
    job.argv = {cpp ? "/usr/bin/g++" : "/usr/bin/gcc", cpp ? "-std=gnu++20" : "-std=gnu17", "-O2", "-o",
                "program"};
    job.argv.push_back(cpp ? "solution.cpp" : "solution.c");
    job.argv.insert(job.argv.end(), arguments.begin(), arguments.end());
    job.argv.push_back("-lm");
    job.files = extra;
    job.files.push_back({cpp ? "solution.cpp" : "solution.c", task.source});
    job.take = "program";
    job.limits = to_limits(options_.compile);
    const Outcome o = jail().run(job, cancelled);
    Built built;
    if (o.took) {
      built.binary = o.taken;
    } else if (o.ended == Ended::cancelled) {
      built.refused = make_verdict(VerdictKind::cancelled, 0, "cancelled");
    } else {
      nlohmann::json evidence = start_evidence();
      add_usage(evidence, o);
      evidence.erase("stderr");
      evidence["compiler"] = o.err.substr(0, 1500);
      std::string reason =
          o.ended == Ended::exited ? first_error(o.err) : "the compiler " + judge_ending(o).reason;
      built.refused = make_verdict(VerdictKind::compile_error, 0, reason, evidence);
    }
    return built;
  }

  static std::string first_error(const std::string& text) {
    const size_t at = text.find("error: ");
    if (at == std::string::npos) return "does not compile";
    const size_t end = std::min(text.find('\n', at), text.size());
    return text.substr(at, std::min<size_t>(end - at, 200));
  }

  Verdict run_tests(const nlohmann::json& record, const Task& task,
                    const std::atomic<bool>& cancelled) const {
    const nlohmann::json& tests = record["tests"];
    if (!tests.is_array() || tests.empty())
      throw InfraError("the record's field \"tests\" must be a non-empty array");
    for (const nlohmann::json& test : tests)
      if (!test.is_object() || !test.contains("stdout") || !test["stdout"].is_string() ||
          (test.contains("stdin") && !test["stdin"].is_string()))
        throw InfraError("every test needs a text \"stdout\" and may have a text \"stdin\"");

    sandbox::Job job;
    job.limits = task.limits;
    Built built;
    if (task.language == Language::python) {
      job.argv = {python_.program, "-I", "-B", "solution.py"};
      job.files = {{"solution.py", task.source}};
    } else {
      built = compile(task, {}, {}, cancelled);
      if (built.refused) return *built.refused;
      job.argv = {"./program"};
      job.files = {{"program", built.binary, true}};
    }
    nlohmann::json evidence = start_evidence();
    Judged first;  // why the first test that was not passed was not
    size_t passed = 0, ran = 0;
    double wall_s = 0, cpu_s = 0;
    int64_t peak = 0;
    for (const nlohmann::json& test : tests) {
      const std::string stdin_data = test.value("stdin", "");
      job.stdin_data = stdin_data;
      const Outcome o = jail().run(job, cancelled);
      ++ran;
      Judged judged = judge_ending(o);
      if (judged.kind == VerdictKind::cancelled) return make_verdict(VerdictKind::cancelled, 0, "cancelled");
      if (task.language == Language::python && judged.kind == VerdictKind::candidate_crash &&
          is_syntax_error(o.err))
        judged = {VerdictKind::compile_error, "does not compile: " + last_line(o.err)};
      if (judged.kind == VerdictKind::passed) {
        const std::string difference =
            compare_outputs(test["stdout"].get_ref<const std::string&>(), o.out, options_.compare,
                            {options_.absolute_tolerance, options_.relative_tolerance});
        if (!difference.empty()) judged = {VerdictKind::failed, "the output " + difference};
      }
      wall_s += o.wall_s;
      cpu_s += o.cpu_s;
      peak = std::max(peak, o.peak_bytes);
      if (judged.kind == VerdictKind::passed) {
        ++passed;
        continue;
      }
      if (first.kind == VerdictKind::passed) {
        first = judged;
        evidence["first_failing_test"] = ran;
        add_usage(evidence, o);
        if (judged.kind == VerdictKind::failed) evidence["stdout"] = o.out.substr(0, 300);
      }
      if (!options_.partial_credit || judged.kind == VerdictKind::compile_error) break;
    }
    evidence["tests"] = tests.size();
    evidence["tests_run"] = ran;
    evidence["tests_passed"] = passed;
    evidence["wall_s"] = wall_s;
    evidence["cpu_s"] = cpu_s;
    evidence["memory_kb"] = peak / 1024;
    if (first.kind == VerdictKind::passed)
      return make_verdict(VerdictKind::passed, 1, fmt::format("passes all {} tests", tests.size()), evidence);
    const double share = static_cast<double>(passed) / static_cast<double>(tests.size());
    return make_verdict(
        first.kind, options_.partial_credit ? share : 0,
        fmt::format("test {}: {}", evidence["first_failing_test"].get<size_t>(), first.reason), evidence);
  }

  Verdict run_test_code(const nlohmann::json& record, const Task& task,
                        const std::atomic<bool>& cancelled) const {
    if (!record["test_code"].is_string()) throw InfraError("the record's field \"test_code\" must be a text");
    const std::string& tests = record["test_code"].get_ref<const std::string&>();
    const std::string entry = record.contains("entry_point") ? required_text(record, "entry_point") : "";
    const std::string nonce = make_nonce();
    sandbox::Job job;
    job.limits = task.limits;
    job.report_pipe = true;
    Built built;
    std::string harness, whole;
    if (task.language == Language::python) {
      job.argv = {python_.program, "-I", "-B", "harness.py", nonce, entry};
      job.files = {{"harness.py", kPythonHarness}, {"solution.py", task.source}, {"tests.py", tests}};
    } else {
      const char* name = task.language == Language::cpp ? "harness.cpp" : "harness.c";
      harness = fmt::format("#define COHORT_NONCE \"{}\"\n{}", nonce, kNativeHarness);
      // the program may have switched assertions off: the tests switch them on again
      whole = fmt::format("{}\n#undef NDEBUG\n#include <assert.h>\n{}\n", task.source, tests);
      Task with_tests = task;
      with_tests.source = whole;
      built = compile(with_tests, {{name, harness}}, {name, "-Wl,--wrap=main"}, cancelled);
      if (built.refused) return *built.refused;
      job.argv = {"./program"};
      job.files = {{"program", built.binary, true}};
    }
    const Outcome o = jail().run(job, cancelled);
    nlohmann::json evidence = start_evidence();
    add_usage(evidence, o);
    Judged judged = judge_ending(o);
    const std::string said = o.report.starts_with(nonce + " ") ? o.report.substr(nonce.size() + 1) : "";
    auto says = [&](std::string_view what) { return said.starts_with(what); };
    if (judged.kind == VerdictKind::cancelled) return make_verdict(VerdictKind::cancelled, 0, "cancelled");
    if (judged.kind == VerdictKind::passed && said != "ok") {
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
    }
    if (task.language != Language::python && o.signal == SIGABRT && contains(o.err, "Assertion"))
      judged = {VerdictKind::failed, "an assertion failed"};
    if (judged.kind == VerdictKind::passed)
      return make_verdict(VerdictKind::passed, 1, "passes its tests", evidence);
    return make_verdict(judged.kind, 0, judged.reason, evidence);
  }

  static bool is_syntax_error(const std::string& err) {
    const std::string last = last_line(err);
    return last.starts_with("SyntaxError") || last.starts_with("IndentationError") ||
           last.starts_with("TabError");
  }

  struct Python {
    std::string program = "/usr/bin/python3";
    std::string prefix;  // to show in the jail when it lies outside the system's folders
  };
  static Python find_python(const std::string& wanted) {
    namespace fs = std::filesystem;
    Python python;
    std::string found = wanted;
    if (found.empty() && access(python.program.c_str(), X_OK) == 0) return python;
    const char* path = getenv("PATH");
    for (std::string_view rest = path ? path : ""; found.empty() && !rest.empty();) {
      const std::string candidate = std::string(rest.substr(0, rest.find(':'))) + "/python3";
      if (access(candidate.c_str(), X_OK) == 0) found = candidate;
      rest.remove_prefix(std::min(rest.find(':'), rest.size() - 1) + 1);
    }
    std::error_code error;
    const fs::path real = fs::canonical(found, error);
    if (error) {
      if (!wanted.empty()) fail_usage("code reward: python = \"{}\": {}", wanted, error.message());
      return python;  // there is none: a Python task will say so
    }
    python.program = real.string();
    const fs::path prefix = real.parent_path().parent_path();
    if (prefix != "/usr" && prefix != "/") python.prefix = prefix.string();
    return python;
  }

  const CodeOptions options_;
  const Python python_;
  mutable std::once_flag jail_once_;
  mutable std::unique_ptr<sandbox::Jail> jail_;
};

}  // namespace

std::unique_ptr<Grader> make_code_grader(const TomlTable& table) {
  const auto options = read_grader_options<CodeOptions>(table);
  return std::make_unique<CodeGrader>(options);
}

}  // namespace cohort
