// Compiles and starts programs of any language in the jail. Identical compiler runs are done once.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reward/code.h"
#include "reward/code/ending.h"
#include "reward/code/language.h"
#include "reward/code/once_cache.h"
#include "reward/sandbox/jail.h"

namespace cohort::code {

class Precompiled;

// A program ready to run: what its file is called inside the jail, and what is in it.
struct Program {
  const CodeLanguage* language = nullptr;
  std::string file;
  std::string content;
  bool executable = false;
  std::vector<std::string> argv;

  sandbox::Job job(const sandbox::Limits& limits) const;  // refers to this program's content
};

struct Compiled {
  Program program;
  // compile_error, or cancelled: then there is no program
  Judged refused;
  std::string diagnostics;   // the beginning of what the compiler said
  sandbox::Outcome outcome;  // of the compiler; out and err are empty
  bool ok() const { return refused.kind == VerdictKind::passed; }
};

// Thread-safe.
class Toolchain {
 public:
  explicit Toolchain(const CodeOptions& options);
  ~Toolchain();

  const CodeLanguage& language(const std::string& name) const;  // throws InfraError for an unknown one
  const Python& python() const { return python_; }

  // `extra` files and arguments are part of the compiler's run, after the language's own. Throws InfraError while the
  // language's trial program does not do what it should.
  Compiled compile(const CodeLanguage& language, std::string_view source,
                   const std::vector<sandbox::File>& extra, const std::vector<std::string>& arguments,
                   const std::atomic<bool>& cancelled) const;

  // The jail that programs of this language run in; made at its first use.
  const sandbox::Jail& jail(const CodeLanguage& language) const;
  // That the trusted Python harness runs in, as tests or around a candidate.
  sandbox::Job python_job(const sandbox::Limits& limits) const;

  // Whether its programs can run in a fork of a warm interpreter: Python as it is built in.
  bool runs_warm(const CodeLanguage& language) const;

  const char* isolation_name(const CodeLanguage& language) const;
  size_t compiles_reused() const { return compiled_.hits(); }

 private:
  void try_out(const CodeLanguage& language, const std::atomic<bool>& cancelled) const;
  const sandbox::Jail& jail_with(const std::vector<std::string>& read_only) const;
  Compiled run_compiler(const CodeLanguage& language, std::string_view source,
                        const std::vector<sandbox::File>& extra, const std::vector<std::string>& arguments,
                        const std::atomic<bool>& cancelled) const;

  const CodeOptions options_;
  const Python python_;
  const std::vector<CodeLanguage> languages_;
  const std::string harness_;  // the whole Python program
  std::unique_ptr<Precompiled> precompiled_;
  mutable std::mutex mutex_;  // jails_
  mutable std::map<std::vector<std::string>, std::unique_ptr<sandbox::Jail>> jails_;
  mutable OnceCache<Compiled> compiled_{256u << 20};
  mutable OnceCache<bool> tried_{1000};  // languages whose trial program did what it should
};

}  // namespace cohort::code
