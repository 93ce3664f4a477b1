#include "reward/code/precompiled.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "reward/infra_error.h"
#include "reward/record.h"
#include "transport/base/log.h"

namespace cohort::code {
namespace {

namespace fs = std::filesystem;

const std::string kRootsCache = "/var/cache/cohort";

std::string cache_root(const std::string& wanted, bool& home) {
  if (!wanted.empty()) return wanted;
  if (const char* cache = getenv("XDG_CACHE_HOME"); cache && *cache) return std::string(cache) + "/cohort";
  home = true;
  if (const char* folder = getenv("HOME"); folder && *folder) return std::string(folder) + "/.cache/cohort";
  return "";
}

// Nobody else may have put something there.
bool ours_alone(const std::string& path) {
  struct stat info {};
  return lstat(path.c_str(), &info) == 0 && info.st_uid == geteuid() &&
         (info.st_mode & (S_IWGRP | S_IWOTH)) == 0 && !S_ISLNK(info.st_mode);
}

// The flags that decide whether a precompiled header fits, in their order.
std::vector<std::string> flags_of(const CodeLanguage& language) {
  std::vector<std::string> flags;
  for (size_t i = 1; i < language.compile.size(); ++i) {
    const std::string& word = language.compile[i];
    if (word == "-o")
      ++i;
    else if (word.starts_with("-") && !word.starts_with("-l") && !word.starts_with("-L"))
      flags.push_back(word);
  }
  return flags;
}

sandbox::Outcome run(const sandbox::Jail& jail, std::vector<std::string> argv, std::string_view header,
                     const std::string& take) {
  sandbox::Job job;
  job.argv = std::move(argv);
  if (!header.empty()) job.files = {{"header.h", header}};
  job.take = take;
  job.limits.wall_s = 120, job.limits.cpu_s = 60;
  job.limits.memory_bytes = 4LL << 30, job.limits.file_bytes = 1LL << 30;
  return jail.run(job, std::atomic<bool>(false));
}

bool works(const CodeLanguage& language, const std::string& folder, const sandbox::Jail& jail) {
  sandbox::Job job;
  job.argv = fill_in(language.compile, language);
  job.argv.insert(job.argv.begin() + 1, {"-I" + folder, "-Winvalid-pch", "-Werror"});
  const std::string source = fmt::format("#include <{}>\nint main() {{ return 0; }}\n", language.precompile);
  job.files = {{language.source, source}};
  job.take = language.program;
  job.limits.wall_s = 120, job.limits.cpu_s = 60, job.limits.memory_bytes = 2LL << 30;
  return jail.run(job, std::atomic<bool>(false)).took;
}

struct LockFile {
  int fd;
  explicit LockFile(const std::string& path) : fd(open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600)) {
    while (fd >= 0 && flock(fd, LOCK_EX) != 0 && errno == EINTR) {
    }
  }
  ~LockFile() {
    if (fd >= 0) close(fd);
  }
};

}  // namespace

Precompiled::Precompiled(const std::string& cache_dir) : root_(cache_root(cache_dir, in_home_)) {}

std::string Precompiled::folder(const CodeLanguage& language, const JailWith& jail_with) const {
  if (root_.empty() || language.precompile.empty() || language.compile.empty()) return "";
  std::lock_guard lock(mutex_);
  const auto known = folders_.find(language.name);
  if (known != folders_.end()) return known->second;
  std::string made;
  try {
    made = make(language, jail_with(""));
    if (!made.empty() && !works(language, made, jail_with(made))) {
      log::warn("code: {} in {} cannot be used: it is compiled as always", language.precompile, made);
      made.clear();
    }
  } catch (const std::exception& e) {
    log::warn("code: {} is not precompiled: {}", language.precompile, e.what());
  }
  return folders_[language.name] = made;
}

std::string Precompiled::make(const CodeLanguage& language, const sandbox::Jail& jail) const {
  const std::vector<std::string> flags = flags_of(language);
  const sandbox::Outcome version = run(jail, {language.compile[0], "-v"}, "", "");
  if (version.ended != sandbox::Ended::exited || version.exit_code != 0) return "";
  // A header that changes with its package changes the C library's or the compiler's own description too.
  std::string key = version.err + version.out + language.precompile;
  for (const std::string& flag : flags) key += "\n" + flag;
  for (const char* header : {"/usr/include/stdio.h", "/usr/include/features.h"}) {
    struct stat info {};
    if (stat(header, &info) == 0) key += fmt::format("\n{} {}", info.st_size, info.st_mtime);
  }
  // Without namespaces root's programs run as nobody, to whom root's home is closed.
  const bool by_nobody = jail.isolation() == sandbox::Isolation::process && geteuid() == 0;
  const std::string parent = (by_nobody && in_home_ ? kRootsCache : root_) + "/precompiled",
                    folder = parent + "/" + hash_parts({key});
  const std::string file = folder + "/" + language.precompile + ".gch";
  fs::create_directories(parent);
  fs::permissions(parent, fs::perms(0755));
  if (!ours_alone(parent)) {
    log::warn("code: {} could be written by others and is not used for precompiled headers", parent);
    return "";
  }
  const LockFile lock(folder + ".lock");
  if (lock.fd < 0) throw InfraError("cannot write in " + parent);
  if (fs::exists(file)) {
    if (!ours_alone(folder) || !ours_alone(file)) throw InfraError(folder + " could be written by others");
    return folder;
  }
  std::vector<std::string> argv = {language.compile[0]};
  argv.insert(argv.end(), flags.begin(), flags.end());
  const bool cpp = language.source.ends_with(".cpp") || language.source.ends_with(".cc");
  for (const char* word : {"-x", cpp ? "c++-header" : "c-header", "header.h", "-o", "made.gch"})
    argv.push_back(word);
  const sandbox::Outcome o = run(jail, argv, fmt::format("#include <{}>\n", language.precompile), "made.gch");
  if (!o.took) throw InfraError("the compiler refuses: " + o.err.substr(0, 200));
  const std::string partial = fmt::format("{}.{}", folder, getpid());
  fs::remove_all(partial);
  fs::create_directories(fs::path(partial + "/" + language.precompile).parent_path());
  const std::string partial_file = partial + "/" + language.precompile + ".gch";
  std::ofstream(partial_file, std::ios::binary) << o.taken;
  std::error_code error;
  if (fs::file_size(partial_file, error) != o.taken.size()) {
    fs::remove_all(partial);
    throw InfraError("cannot write in " + parent);
  }
  // readable to the jail's user
  for (const auto& entry : fs::recursive_directory_iterator(partial))
    fs::permissions(entry, entry.is_directory() ? fs::perms(0755) : fs::perms(0444));
  fs::permissions(partial, fs::perms(0755));
  fs::rename(partial, folder);
  log::info("code: {} precompiled once for this machine in {:.1f} s", language.precompile, o.wall_s);
  return folder;
}

}  // namespace cohort::code
