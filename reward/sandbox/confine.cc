#include "reward/sandbox/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace cohort::sandbox {
namespace {

// Named here because old kernel headers lack the newer ones.
enum : uint64_t {
  kExecute = 1 << 0,
  kWriteFile = 1 << 1,
  kReadFile = 1 << 2,
  kReadDir = 1 << 3,
  kFirstAbi = (1 << 13) - 1,
  kRefer = 1 << 13,     // ABI 2
  kTruncate = 1 << 14,  // ABI 3
  kIoctlDev = 1 << 15,  // ABI 5
};
struct Ruleset {
  uint64_t files, tcp, scoped;  // ABI 1, 4, 6
};

}  // namespace

int landlock_abi() {
  const long abi = syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  return abi < 0 ? 0 : static_cast<int>(abi);
}

bool confine(const Cell& cell, const char* folder) {
  const int abi = landlock_abi();
  // the first ABI refuses every rename from one folder to another: with a private root that is not worth it
  if (abi < 1 || (cell.namespaces && abi < 2)) return true;
  Ruleset ruleset{kFirstAbi, 0, 0};
  if (abi >= 2) ruleset.files |= kRefer;
  if (abi >= 3) ruleset.files |= kTruncate;
  if (abi >= 5) ruleset.files |= kIoctlDev;
  if (abi >= 4) ruleset.tcp = 3;     // bind and connect
  if (abi >= 6) ruleset.scoped = 3;  // abstract unix sockets and signals stay inside
  const size_t size = abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
  const int rules = static_cast<int>(syscall(SYS_landlock_create_ruleset, &ruleset, size, 0));
  if (rules < 0) return false;
  auto allow = [&](const char* path, uint64_t access) {
    landlock_path_beneath_attr beneath{};
    beneath.parent_fd = open(path, O_PATH | O_CLOEXEC);
    if (beneath.parent_fd < 0) return errno == ENOENT;
    struct stat info {};
    if (fstat(beneath.parent_fd, &info) == 0 && !S_ISDIR(info.st_mode))
      access &= kExecute | kWriteFile | kReadFile | kTruncate | kIoctlDev;
    beneath.allowed_access = access & ruleset.files;
    const bool ok = syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) == 0;
    close(beneath.parent_fd);
    return ok;
  };
  constexpr uint64_t read = kExecute | kReadFile | kReadDir, write = kReadFile | kWriteFile | kTruncate;
  bool ok;
  if (cell.namespaces) {
    // /tmp is below /box or a mount of its own
    ok = allow("/", read) && allow("/box", ruleset.files) && allow("/tmp", ruleset.files) &&
         allow("/proc", read | kWriteFile) && allow("/dev", write | kReadDir);
  } else {
    ok = allow(folder, ruleset.files);
    WireReader reader = cell.shown;
    for (uint32_t i = 0; i < cell.n_shown; ++i) {
      const char* source = reader.text();
      reader.text();
      ok = ok && allow(source, reader.get<MountWire>().device ? write : read);
    }
    WireReader more = cell.job_shown;
    for (uint32_t i = 0; i < cell.n_job_shown; ++i) ok = ok && allow(more.text(), read);
  }
  ok = ok && syscall(SYS_landlock_restrict_self, rules, 0) == 0;
  close(rules);
  return ok;
}

}  // namespace cohort::sandbox
