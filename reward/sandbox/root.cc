// The root of a cell: a small tmpfs with the toolchain's folders mounted read-only, made once. Each run sees it
// through a mount namespace of its own in which /box and /proc are fresh (init.cc).
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "reward/sandbox/init.h"

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif
#ifndef MOVE_MOUNT_F_EMPTY_PATH
#define MOVE_MOUNT_F_EMPTY_PATH 0x00000004
#endif

namespace cohort::sandbox {
namespace {

[[noreturn]] void fail(Status::Step step, int detail = 0) {
  Reply failed{};
  failed.kind = Reply::ended;
  failed.status.step = step;
  failed.status.error = errno;
  failed.status.detail = detail;
  reply(kSocket, failed);
  _exit(kFailed);
}

// mkdir -p of everything before the last '/'
bool make_parents(const char* path) {
  char part[512];
  const size_t size = strlen(path);
  if (size >= sizeof part) return false;
  memcpy(part, path, size + 1);
  for (size_t i = 1; i < size; ++i) {
    if (part[i] != '/') continue;
    part[i] = 0;
    if (mkdir(part, 0755) != 0 && errno != EEXIST) return false;
    part[i] = '/';
  }
  return true;
}

bool make_target(const char* target, bool file) {
  if (!make_parents(target)) return false;
  if (!file) return mkdir(target, 0755) == 0 || errno == EEXIST;
  const int fd = open(target, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
  return fd >= 0 && close(fd) == 0;
}

int open_tree(const char* source, bool file) {
  const unsigned flags = OPEN_TREE_CLONE | O_CLOEXEC | (file ? 0u : static_cast<unsigned>(AT_RECURSIVE));
  return static_cast<int>(syscall(SYS_open_tree, AT_FDCWD, source, flags));
}

bool set_attributes(const char* target, uint64_t set, uint64_t clear, bool recursive) {
  mount_attr attr{set, clear, 0, 0};
  return syscall(SYS_mount_setattr, AT_FDCWD, target, recursive ? AT_RECURSIVE : 0, &attr, sizeof attr) == 0;
}

// The tree becomes visible, read-only, at `target` under the working folder.
bool attach(int tree, const char* target, bool file, bool device) {
  return make_target(target, file) &&
         syscall(SYS_move_mount, tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) == 0 &&
         (device ||
          set_attributes(target, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, 0, true)) &&
         close(tree) == 0;
}

// Our saved identity stays the worker's own: a folder to show may lie where only its owner may look. The
// securebit keeps our capabilities, which are worth something in this cell only, over the change.
bool become_inner() {
  return prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP) == 0 && syscall(SYS_setgroups, 0, nullptr) == 0 &&
         syscall(SYS_setresgid, kInnerId, kInnerId, kInnerId) == 0 &&
         syscall(SYS_setresuid, kInnerId, kInnerId, 0) == 0;
}

// What `show` attached last, to take it away again.
int shown = 0;
char shown_at[16][256];

bool in_tmp(const char* path) {
  return strncmp(path, "/tmp/", 5) == 0;
}

}  // namespace

bool keep_tmp(const Cell& cell) {
  struct stat tmp {};
  if (lstat("/tmp", &tmp) != 0 || !S_ISDIR(tmp.st_mode)) return true;  // a link to /box/.tmp
  int trees[kMostMounts];
  const char* paths[kMostMounts];
  bool files[kMostMounts];
  int n = 0;
  auto open_one = [&](const char* path) {
    struct stat info {};
    if (!in_tmp(path) || n == kMostMounts || stat(path, &info) != 0) return;
    files[n] = !S_ISDIR(info.st_mode);
    paths[n] = path;
    trees[n++] = open_tree(path, !S_ISDIR(info.st_mode));
  };
  WireReader shown = cell.shown, job_shown = cell.job_shown;
  for (uint32_t i = 0; i < cell.n_shown; ++i) {
    open_one(shown.text());
    shown.text(), shown.get<MountWire>();
  }
  for (uint32_t i = 0; i < cell.n_job_shown; ++i) open_one(job_shown.text());
  bool ok = mount("/box/.tmp", "/tmp", nullptr, MS_BIND, nullptr) == 0;
  for (int i = 0; i < n; ++i) ok = ok && trees[i] >= 0 && attach(trees[i], paths[i], files[i], false);
  return ok;
}

void enter_root(const Cell& cell, const CellWire& wire, WireReader reader) {
  // What the host unmounts later goes here as well, so that we keep no file system busy.
  if (mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) fail(Status::private_mounts);
  const int host = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
  if (host < 0 || dup3(host, kHostMounts, O_CLOEXEC) < 0) fail(Status::private_mounts, 1);
  close(host);
  if (unshare(CLONE_NEWNS) != 0 || mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    fail(Status::private_mounts, 2);
  if (wire.n_mounts > kMostMounts) fail(Status::root);
  struct Source {
    int tree;
    const char* target;
    MountWire how;
  } sources[kMostMounts];
  for (uint32_t i = 0; i < wire.n_mounts; ++i) {
    const char* source = reader.text();
    sources[i].target = reader.text();
    sources[i].how = reader.get<MountWire>();
    sources[i].tree = open_tree(source, sources[i].how.file);
    if (sources[i].tree < 0) fail(Status::open_source, static_cast<int>(i));
  }
  // /tmp is only a place to hang the new root on; it is out of sight after pivot_root
  if (mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,nr_inodes=1024,mode=755") != 0 ||
      chdir("/tmp") != 0)
    fail(Status::root);
  for (uint32_t i = 0; i < wire.n_mounts; ++i)
    if (!attach(sources[i].tree, sources[i].target, sources[i].how.file, sources[i].how.device))
      fail(Status::mount_source, static_cast<int>(i));
  for (uint32_t i = 0; i < wire.n_links; ++i) {
    const char* path = reader.text();
    const char* to = reader.text();
    if (!make_parents(path) || symlink(to, path) != 0) fail(Status::root, static_cast<int>(i));
  }
  mkdir("box", 0755), mkdir("dev", 0755);
  // Both count towards the job's files. What is shown of the host's /tmp made a folder of it: runs see to that.
  if ((symlink("/box/.tmp", "tmp") != 0 && errno != EEXIST) || symlink("/box/.tmp", "dev/shm") != 0)
    fail(Status::work_folder);
  if (symlink("/proc/self/fd", "dev/fd") != 0 || symlink("/proc/self/fd/0", "dev/stdin") != 0 ||
      symlink("/proc/self/fd/1", "dev/stdout") != 0 || symlink("/proc/self/fd/2", "dev/stderr") != 0)
    fail(Status::devices);
  // Runs mount their own /proc over this one, without which the kernel would refuse them. A container may hide
  // parts of its /proc, then there is none here either and the watch has only rlimits and cgroups.
  mkdir("proc", 0555);
  if (mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "hidepid=2,subset=pid") != 0)
    rmdir("proc");
  if (syscall(SYS_pivot_root, ".", ".") != 0 || umount2(".", MNT_DETACH) != 0 || chdir("/") != 0)
    fail(Status::pivot);
  if (!set_attributes("/", MOUNT_ATTR_RDONLY, 0, false)) fail(Status::pivot, 1);
  [[maybe_unused]] int named = sethostname("jail", 4);
  if (cell.become_inner && !become_inner()) fail(Status::identity);
  prctl(PR_SET_DUMPABLE, 1);  // else the id maps of our clones would not be ours to write
}

Status show_paths(WireReader reader) {
  Status status;
  auto failed = [&](Status::Step step, int detail) {
    status.step = step;
    status.error = errno;
    status.detail = detail;
    return status;
  };
  const auto count = reader.get<uint32_t>();
  if (count > 16) {
    errno = E2BIG;
    return failed(Status::open_source, 16);
  }
  const int here = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
  if (here < 0) return failed(Status::open_source, -1);
  int trees[16];
  const char* paths[16];
  bool files[16];
  bool ok = setns(kHostMounts, CLONE_NEWNS) == 0;
  [[maybe_unused]] bool owner = syscall(SYS_setresuid, -1, 0, -1) == 0;  // only where we have it saved
  uint32_t opened = 0;
  for (; ok && opened < count; ++opened) {
    paths[opened] = reader.text();
    struct stat info {};
    ok = stat(paths[opened], &info) == 0;
    files[opened] = !S_ISDIR(info.st_mode);
    if (ok) trees[opened] = open_tree(paths[opened], files[opened]), ok = trees[opened] >= 0;
    if (!ok) break;
  }
  const int problem = errno;
  if (owner) syscall(SYS_setresuid, -1, kInnerId, -1);
  prctl(PR_SET_DUMPABLE, 1);  // the change cleared it: see enter_root
  if (setns(here, CLONE_NEWNS) != 0) _exit(kFailed);
  close(here);
  errno = problem;
  if (!ok) {
    for (uint32_t i = 0; i < opened; ++i) close(trees[i]);
    return failed(Status::open_source, static_cast<int>(opened));
  }
  for (; shown > 0; --shown) umount2(shown_at[shown - 1], MNT_DETACH);
  if (!set_attributes("/", 0, MOUNT_ATTR_RDONLY, false)) return failed(Status::root, 1);
  for (uint32_t i = 0; i < count; ++i) {
    if (in_tmp(paths[i])) unlink("/tmp");  // the link of before
    if (!attach(trees[i], paths[i], files[i], false))
      return failed(Status::mount_source, static_cast<int>(i));
    strncpy(shown_at[shown++], paths[i], sizeof shown_at[0] - 1);
  }
  if (!set_attributes("/", MOUNT_ATTR_RDONLY, 0, false)) return failed(Status::root, 2);
  return status;
}

}  // namespace cohort::sandbox
