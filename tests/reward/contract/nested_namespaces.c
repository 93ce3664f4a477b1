#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>
int main() {
  int bad = 0;
  int flags[] = {CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWCGROUP, 0x80};
  for (unsigned i = 0; i < sizeof flags / sizeof *flags; i++) {
    bad += unshare(flags[i]) == 0;
    bad += unshare(CLONE_NEWUSER | flags[i]) == 0;
    if (flags[i] != 0x80) {  // shares its bit with clone's exit signal
      long p = syscall(SYS_clone, flags[i] | SIGCHLD, 0, 0, 0, 0);
      if (p == 0) _exit(0);
      bad += p > 0;
    }
    uint64_t args[8] = {(uint64_t)flags[i], 0, 0, 0, SIGCHLD};
    long p = syscall(435, args, sizeof args);
    if (p == 0) _exit(0);
    bad += p > 0;
  }
  bad += mount("none", "/box", "tmpfs", 0, 0) == 0 || umount("/box") == 0 || umount2("/proc", MNT_DETACH) == 0;
  bad += chroot("/box") == 0 || syscall(SYS_pivot_root, ".", ".") == 0 || setns(0, 0) == 0;
  bad += syscall(428, -100, "/", 1) >= 0 || syscall(430, "tmpfs", 0) >= 0;
  puts(bad ? "escaped" : "ok");
}
