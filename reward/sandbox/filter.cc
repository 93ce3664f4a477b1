#include "reward/sandbox/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <memory>

#include "reward/infra_error.h"
#include "reward/sandbox/descriptors.h"

namespace cohort::sandbox {
namespace {

// By name, so that a kernel or libseccomp that does not know one simply has nothing to deny.
constexpr const char* kDenied[] = {
    // other root, other mounts, other namespaces
    "mount", "umount", "umount2", "pivot_root", "chroot", "unshare", "setns", "mount_setattr", "move_mount",
    "open_tree", "open_tree_attr", "fsopen", "fsmount", "fspick", "fsconfig", "open_by_handle_at",
    "name_to_handle_at", "quotactl", "quotactl_fd", "swapon", "swapoff",
    // other processes
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd",
    // the kernel itself
    "bpf", "perf_event_open", "userfaultfd", "kexec_load", "kexec_file_load", "init_module", "finit_module",
    "delete_module", "reboot", "syslog", "iopl", "ioperm", "modify_ldt", "acct", "lookup_dcookie",
    "nfsservctl", "_sysctl", "vhangup", "uselib", "fanotify_init", "personality",
    // keys, clocks, names
    "keyctl", "add_key", "request_key", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "stime",
    "sethostname", "setdomainname",
    // memory that no resident size shows and that may outlive its maker
    "shmget", "msgget", "semget", "mq_open"};

// As on a kernel that has not got them: programs go another way.
constexpr const char* kUnknown[] = {"io_uring_setup", "io_uring_enter", "io_uring_register", "memfd_create",
                                    "memfd_secret",
                                    // glibc then uses clone, whose flags a filter can read
                                    "clone3"};

// What is looked for by path and no Landlock holds: of other files than a program's own, where their owner is who it
// runs as. By descriptor they stay allowed, and Landlock gives descriptors of its own files only.
constexpr const char* kByPath[] = {"chmod",       "fchmodat",     "fchmodat2",     "chown",
                                   "lchown",      "fchownat",     "utime",         "utimes",
                                   "futimesat",   "setxattr",     "lsetxattr",     "setxattrat",
                                   "removexattr", "lremovexattr", "removexattrat", "file_setattr",
                                   "truncate"};  // held from Landlock's third version on

// Whose first argument names a process: 0 is oneself.
constexpr const char* kOfProcess[] = {"prlimit64",      "sched_setaffinity", "sched_setscheduler",
                                      "sched_setparam", "sched_setattr",     "migrate_pages",
                                      "move_pages"};

constexpr unsigned long kTerminalCalls[] = {TIOCSTI,    // types into a terminal
                                            TIOCLINUX,  // pastes into a console
                                            TIOCSETD,   // loads line disciplines
                                            TIOCCONS};

void deny(scmp_filter_ctx filter, const char* name, int error) {
  const int number = seccomp_syscall_resolve_name(name);
  if (number != __NR_SCMP_ERROR)
    seccomp_rule_add(filter, SCMP_ACT_ERRNO(static_cast<unsigned>(error)), number, 0);
}

}  // namespace

std::vector<sock_filter> make_filter(bool process_isolation) {
  std::unique_ptr<void, void (*)(void*)> filter(seccomp_init(SCMP_ACT_ALLOW), seccomp_release);
  if (!filter) throw InfraError("seccomp: cannot make a filter");
  seccomp_attr_set(filter.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
#if SCMP_VER_MAJOR > 2 || (SCMP_VER_MAJOR == 2 && SCMP_VER_MINOR >= 5)
  seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);  // a binary search instead of a list
#endif
  for (const char* name : kDenied) deny(filter.get(), name, EPERM);
  for (const char* name : kUnknown) deny(filter.get(), name, ENOSYS);
  // CLONE_NEWTIME shares its bit with clone's exit signal: only clone3 and unshare can ask for it
  for (uint64_t flag : {CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID,
                        CLONE_NEWNET}) {
    seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                     SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag));
  }
  for (unsigned long call : kTerminalCalls)
    seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
                     SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffffUL, call));
  // Init is of the same user as the program whose limits it holds.
  for (const char* name : kOfProcess)
    if (const int number = seccomp_syscall_resolve_name(name); number != __NR_SCMP_ERROR)
      seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(EPERM), number, 1, SCMP_A0(SCMP_CMP_NE, 0));
  for (const char* name : {"setpriority", "ioprio_set"}) {  // which, who
    const scmp_datum_t process = name[0] == 's' ? 0 : 1;
    const int number = seccomp_syscall_resolve_name(name);
    seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(EPERM), number, 1, SCMP_A0(SCMP_CMP_NE, process));
    seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(EPERM), number, 1, SCMP_A1(SCMP_CMP_NE, 0));
  }
  if (process_isolation) {
    seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(EACCES), SCMP_SYS(socket), 0);
    deny(filter.get(), "setsid", EPERM);
    deny(filter.get(), "setpgid", EPERM);
    deny(filter.get(), "kill", EPERM);  // of others; raise() and abort() use tgkill
    for (const char* name : {"pidfd_send_signal", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "tkill"})
      deny(filter.get(), name, EPERM);
    for (const int command : {F_SETOWN, F_SETOWN_EX})  // signals of files to others
      seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(EPERM), SCMP_SYS(fcntl), 1,
                       SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffffUL, static_cast<scmp_datum_t>(command)));
    for (const char* name : kByPath) deny(filter.get(), name, EPERM);
    seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(EPERM), SCMP_SYS(utimensat), 1,
                     SCMP_A1(SCMP_CMP_NE, 0));  // without a path it is futimens()
    // Before its third version Landlock lets a file be emptied by opening it to read.
    constexpr scmp_datum_t how = O_ACCMODE | O_TRUNC, empties = O_RDONLY | O_TRUNC;
    seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(EPERM), SCMP_SYS(open), 1,
                     SCMP_A1(SCMP_CMP_MASKED_EQ, how, empties));
    seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(EPERM), SCMP_SYS(openat), 1,
                     SCMP_A2(SCMP_CMP_MASKED_EQ, how, empties));
    deny(filter.get(), "openat2", ENOSYS);
  } else {
    seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(EACCES), SCMP_SYS(socket), 1,
                     SCMP_A0(SCMP_CMP_NE, AF_UNIX));
  }
  const OwnFd file(memfd_create("filter", MFD_CLOEXEC));
  if (!file.open() || seccomp_export_bpf(filter.get(), file.get()) != 0)
    throw InfraError("seccomp: cannot export the filter");
  const std::string bytes = read_all(file.get());
  std::vector<sock_filter> program(bytes.size() / sizeof(sock_filter));
  memcpy(program.data(), bytes.data(), program.size() * sizeof(sock_filter));
  if (program.empty()) throw InfraError("seccomp: cannot read the filter");
  return program;
}

}  // namespace cohort::sandbox
