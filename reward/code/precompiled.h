// Precompiled headers: bits/stdc++.h takes a second to read and half of one precompiled.
//
// One folder for each compiler (its own words about its version), header and flags, under
// <cache folder>/precompiled/, made by the first worker that needs it while others wait at a lock file, and published
// by renaming. Nothing of a candidate's ever gets there: the header is compiled in a jail of its own from one line of
// ours, and the jails of candidates see the folder read-only. A folder that is not ours alone to write is not used.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "reward/code/language.h"
#include "reward/sandbox/jail.h"

namespace cohort::code {

class Precompiled {
 public:
  // cache_dir: "" is $XDG_CACHE_HOME/cohort or ~/.cache/cohort; for root without namespaces /var/cache/cohort instead of the
  // latter.
  explicit Precompiled(const std::string& cache_dir);

  // The folder to put first on the include path, "" where there is none (no such header, no place, a compiler that
  // refuses): then it is compiled as always. Made at the first call, which may take seconds. Thread-safe.
  // `jail_with` gives a jail that sees a folder: one that does not compile a trivial program there is not used.
  using JailWith = std::function<const sandbox::Jail&(const std::string& folder)>;
  std::string folder(const CodeLanguage& language, const JailWith& jail_with) const;

 private:
  std::string make(const CodeLanguage& language, const sandbox::Jail& jail) const;
  bool in_home_ = false;
  const std::string root_;
  mutable std::mutex mutex_;  // held while one is made: the others would only make the same
  mutable std::map<std::string, std::string> folders_;  // by language
};

}  // namespace cohort::code
