#include "reward/sandbox/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <memory>

#include "reward/infra_error.h"

namespace cohort::sandbox {
namespace {

// By name, so that a kernel or libseccomp that does not know one simply has nothing to deny.
constexpr const char* kDenied[] = {
    // other root, other mounts, other namespaces
    "mount", "umount", "umount2", "pivot_root", "chroot", "unshare", "setns", "mount_setattr", "move_mount",
    "open_tree", "fsopen", "fsmount", "fspick", "fsconfig", "open_by_handle_at", "name_to_handle_at",
    "quotactl", "quotactl_fd", "swapon", "swapoff",
    // other processes
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd",
    // the kernel itself
    "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register",
    "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "reboot", "syslog",
    "iopl", "ioperm", "acct", "lookup_dcookie", "nfsservctl", "vhangup", "uselib", "fanotify_init",
    "personality",
    // keys, clocks, names
    "keyctl", "add_key", "request_key", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "stime",
    "sethostname", "setdomainname",
    // memory that no resident size shows and that may outlive its maker
    "memfd_create", "memfd_secret", "shmget", "msgget", "semget", "mq_open"};

void deny(scmp_filter_ctx filter, const char* name) {
  const int number = seccomp_syscall_resolve_name(name);
  if (number != __NR_SCMP_ERROR) seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), number, 0);
}

}  // namespace

std::vector<sock_filter> make_filter(bool process_isolation) {
  std::unique_ptr<void, void (*)(void*)> filter(seccomp_init(SCMP_ACT_ALLOW), seccomp_release);
  if (!filter) throw InfraError("seccomp: cannot make a filter");
  for (const char* name : kDenied) deny(filter.get(), name);
  // glibc falls back to clone, whose flags a filter can read
  seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
  // CLONE_NEWTIME shares its bit with clone's exit signal: only clone3 and unshare can ask for it
  for (uint64_t flag : {CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID,
                        CLONE_NEWNET}) {
    seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                     SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag));
  }
  seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
                   SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffffUL, TIOCSTI));
  if (process_isolation) {
    seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(EACCES), SCMP_SYS(socket), 0);
    deny(filter.get(), "setsid");
    deny(filter.get(), "setpgid");
    deny(filter.get(), "kill");  // of others; raise() and abort() use tgkill
    deny(filter.get(), "pidfd_send_signal");
  } else {
    seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(EACCES), SCMP_SYS(socket), 1,
                     SCMP_A0(SCMP_CMP_NE, AF_UNIX));
  }
  const int fd = memfd_create("filter", MFD_CLOEXEC);
  if (fd < 0 || seccomp_export_bpf(filter.get(), fd) != 0)
    throw InfraError("seccomp: cannot export the filter");
  const off_t bytes = lseek(fd, 0, SEEK_END);
  std::vector<sock_filter> program(static_cast<size_t>(bytes) / sizeof(sock_filter));
  const ssize_t n = pread(fd, program.data(), static_cast<size_t>(bytes), 0);
  close(fd);
  if (n != bytes) throw InfraError("seccomp: cannot read the filter");
  return program;
}

bool landlock_available() {
  return syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION) >= 1;
}

bool confine_files(const Plan& plan) {
  if (!landlock_available()) return true;
  constexpr uint64_t read_file = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_EXECUTE;
  constexpr uint64_t read = read_file | LANDLOCK_ACCESS_FS_READ_DIR;
  constexpr uint64_t all = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;  // every right of the first version
  landlock_ruleset_attr attr{};
  attr.handled_access_fs = all;
  const int rules = static_cast<int>(syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0));
  if (rules < 0) return false;
  auto allow = [rules](const char* path, uint64_t access) {
    landlock_path_beneath_attr beneath{};
    beneath.parent_fd = open(path, O_PATH | O_CLOEXEC);
    if (beneath.parent_fd < 0) return errno == ENOENT;
    beneath.allowed_access = access;
    const bool ok = syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) == 0;
    close(beneath.parent_fd);
    return ok;
  };
  bool ok = allow(plan.folder, all);
  for (size_t i = 0; i < plan.n_mounts; ++i) {
    const Plan::Mount& m = plan.mounts[i];
    const uint64_t device = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE;
    ok = ok && allow(m.source, m.device ? device : m.file ? read_file : read);
  }
  ok = ok && syscall(SYS_landlock_restrict_self, rules, 0) == 0;
  close(rules);
  return ok;
}

}  // namespace cohort::sandbox
