#include "reward/code/toolchain.h"

#include <fmt/core.h>

#include <algorithm>

#include "reward/code/ending.h"
#include "reward/code/harness.h"
#include "reward/code/limits.h"
#include "reward/code/precompiled.h"
#include "reward/record.h"
#include "transport/base/log.h"

namespace cohort::code {

using sandbox::Ended, sandbox::Isolation, sandbox::Outcome;

namespace {

constexpr const char* kTrialInput = "a trial of 2 lines\nand no more\n";

// The compiler's first complaint, in the words that most of them have before it.
std::string first_error(const std::string& text) {
  size_t at = text.npos;
  for (const char* mark : {"error: ", "error[", "Error: ", "Fatal: "}) at = std::min(at, text.find(mark));
  if (at == text.npos) at = std::min(text.find_first_not_of(" \t\r\n"), text.size());
  const size_t end = std::min(text.find('\n', at), text.size());
  return at == text.size() ? "does not compile" : text.substr(at, std::min<size_t>(end - at, 200));
}

}  // namespace

sandbox::Job Program::job(const sandbox::Limits& limits) const {
  sandbox::Job job;
  job.argv = argv;
  job.files = {{file, content, executable}};
  job.limits = limits;
  return job;
}

Toolchain::Toolchain(const CodeOptions& options)
    : options_(options),
      python_(find_python(options.python)),
      languages_(make_languages(options.languages, python_.program)),
      harness_(std::string(kPythonHarness) + "\nmain()\n"),
      precompiled_(std::make_unique<Precompiled>(options.cache_dir)) {
  if (options.language.empty()) return;
  try {
    find_language(languages_, options.language);
  } catch (const InfraError&) {
    fail_usage("code reward: language = \"{}\" is none of the languages: {}", options.language,
               names_of(languages_));
  }
}

Toolchain::~Toolchain() = default;

const CodeLanguage& Toolchain::language(const std::string& name) const {
  return find_language(languages_, name);
}

const sandbox::Jail& Toolchain::jail_with(const std::vector<std::string>& read_only) const {
  std::lock_guard lock(mutex_);
  std::unique_ptr<sandbox::Jail>& jail = jails_[read_only];
  if (!jail) {
    sandbox::Setup setup;
    setup.isolation = static_cast<sandbox::Want>(options_.isolation);
    setup.read_only = read_only;
    setup.warm = {python_.program, "-I", "-B", "-c",
                  std::string(kPythonHarness) + "\nrehearse()\nos.fork()\nmain()\n"};
    jail = std::make_unique<sandbox::Jail>(setup);
    if (jail->isolation() == Isolation::process && options_.isolation == CodeIsolation::automatic &&
        jails_.size() == 1)
      log::warn(
          "code: this machine refuses namespaces ({}): programs are confined by Landlock, seccomp and limits "
          "only, "
          "and share this machine's network stack and process list",
          jail->refusal());
  }
  return *jail;
}

const sandbox::Jail& Toolchain::jail(const CodeLanguage& language) const {
  std::vector<std::string> read_only = options_.read_only;
  read_only.insert(read_only.end(), language.read_only.begin(), language.read_only.end());
  if (!python_.prefix.empty()) read_only.push_back(python_.prefix);
  return jail_with(read_only);
}

const char* Toolchain::isolation_name(const CodeLanguage& language) const {
  return jail(language).isolation() == Isolation::namespaces ? "namespaces" : "process";
}

sandbox::Job Toolchain::python_job(const sandbox::Limits& limits) const {
  sandbox::Job job;
  job.argv = {python_.program, "-I", "-B", "harness.py"};
  job.files = {{"harness.py", harness_}};
  job.limits = limits;
  job.warm = options_.warm_python;
  return job;
}

bool Toolchain::runs_warm(const CodeLanguage& language) const {
  return options_.warm_python && language.name == "python" && language.compile.empty() &&
         language.run == std::vector<std::string>{python_.program, "-I", "-B", "{source}"} &&
         language.source == "solution.py";
}

Compiled Toolchain::compile(const CodeLanguage& language, std::string_view source,
                            const std::vector<sandbox::File>& extra,
                            const std::vector<std::string>& arguments,
                            const std::atomic<bool>& cancelled) const {
  try_out(language, cancelled);
  if (language.compile.empty()) {
    Compiled compiled;
    compiled.program = {&language, language.source, std::string(source), false,
                        fill_in(language.run, language)};
    return compiled;
  }
  std::string all;
  for (const auto& file : extra) all += hash_parts({file.name, file.content});
  for (const auto& argument : arguments) all += hash_parts({argument});
  auto got = compiled_.get(hash_parts({language.name, source, all}), cancelled, [&] {
    Compiled made = run_compiler(language, source, extra, arguments, cancelled);
    const size_t size = made.program.content.size() + made.diagnostics.size() + 1000;
    // a compiler that ran out of time may have met a busy machine: it is asked again
    const bool keep =
        made.ok() || (made.refused.kind == VerdictKind::compile_error && made.outcome.ended == Ended::exited);
    return OnceCache<Compiled>::Made{std::move(made), size, keep};
  });
  if (got) return std::move(got->value);
  Compiled compiled;
  compiled.refused = {VerdictKind::cancelled, "cancelled"};
  return compiled;
}

// A toolchain that lacks a part, or an entry that is subtly wrong, would fail every program.
void Toolchain::try_out(const CodeLanguage& asked, const std::atomic<bool>& cancelled) const {
  if (asked.trial.empty()) return;
  const CodeLanguage& language = find_language(languages_, asked.name);  // not as changed for a certain run
  tried_.get(language.name, cancelled, [&] {
    auto broken = [&](const std::string& what) {
      throw InfraError(fmt::format(
          "the trial program of \"{}\" {}: its entry or its toolchain is broken here", language.name, what));
    };
    Compiled compiled;
    if (language.compile.empty())
      compiled.program = {&language, language.source, language.trial, false, fill_in(language.run, language)};
    else
      compiled = run_compiler(language, language.trial, {}, {}, cancelled);
    if (compiled.refused.kind == VerdictKind::compile_error)
      broken("does not compile: " + compiled.refused.reason);
    sandbox::Job job = compiled.program.job(to_limits(kTrialLimits));
    job.stdin_data = kTrialInput;
    const Outcome o = compiled.ok() ? jail(language).run(job, cancelled) : Outcome{};
    if (!compiled.ok() || o.ended == Ended::cancelled) return OnceCache<bool>::Made{false, 1, false};
    if (const Judged judged = judge_ending(o); judged.kind != VerdictKind::passed)
      broken(fmt::format("{}{}{}", judged.reason, o.err.empty() ? "" : ": ", last_line(o.err)));
    if (trim(o.out) != trim(kTrialInput))
      broken(fmt::format("writes \"{}\" instead of \"{}\"", trim(o.out).substr(0, 60), trim(kTrialInput)));
    return OnceCache<bool>::Made{true};
  });
}

Compiled Toolchain::run_compiler(const CodeLanguage& language, std::string_view source,
                                 const std::vector<sandbox::File>& extra,
                                 const std::vector<std::string>& arguments,
                                 const std::atomic<bool>& cancelled) const {
  std::vector<std::string> read_only = options_.read_only;
  read_only.insert(read_only.end(), language.read_only.begin(), language.read_only.end());
  sandbox::Job job;
  job.argv = fill_in(language.compile, language);
  if (!language.precompile.empty() && options_.precompiled_headers &&
      source.find(language.precompile) != std::string_view::npos) {
    // by its name: one that was changed for a certain run compiles the header like the others
    const std::string folder = precompiled_->folder(find_language(languages_, language.name),
                                                    [&](const std::string& shown) -> const sandbox::Jail& {
                                                      std::vector<std::string> all = read_only;
                                                      if (!shown.empty()) all.push_back(shown);
                                                      return jail_with(all);
                                                    });
    if (!folder.empty()) {
      read_only.push_back(folder);
      job.argv.insert(job.argv.begin() + 1, "-I" + folder);
    }
  }
  job.argv.insert(job.argv.end(), arguments.begin(), arguments.end());
  job.files = extra;
  job.files.push_back({language.source, source});
  job.take = language.program;
  job.limits = to_limits(options_.compile);
  Outcome o = jail_with(read_only).run(job, cancelled);
  Compiled compiled;
  if (o.took) {
    compiled.program = {&language, language.program, std::move(o.taken), true,
                        fill_in(language.run, language)};
  } else if (o.ended == Ended::cancelled) {
    compiled.refused = {VerdictKind::cancelled, "cancelled"};
  } else if (o.ended == Ended::exited && (o.exit_code == 126 || o.exit_code == 127) &&
             language.trial.empty()) {
    // a shell's word for a command that is not there: no fault of the program
    throw InfraError(fmt::format("the compile command of \"{}\" does not run on this host: {}", language.name,
                                 last_line(o.err)));
  } else {
    const std::string said = o.err.empty() ? o.out : o.err;
    compiled.diagnostics = said.substr(0, 1500);
    const Judged judged = judge_ending(o);
    compiled.refused = {VerdictKind::compile_error,
                        o.ended == Ended::exited ? first_error(said) : "the compiler " + judged.reason};
  }
  o.out.clear(), o.err.clear(), o.taken.clear();
  compiled.outcome = std::move(o);
  return compiled;
}

}  // namespace cohort::code
