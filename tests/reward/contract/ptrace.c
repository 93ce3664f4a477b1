#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
int main() {
  char b[8];
  struct iovec l = {b, 8}, r = {(void*)0x400000, 8};
  int bad = 0;
  for (int pid = 1; pid < 200; pid++) {
    if (pid == getpid()) continue;
    bad += ptrace(PTRACE_ATTACH, pid, 0, 0) == 0;
    bad += ptrace(PTRACE_SEIZE, pid, 0, 0) == 0;
    bad += process_vm_readv(pid, &l, 1, &r, 1, 0) > 0;
    int f = syscall(SYS_pidfd_open, pid, 0);
    if (f >= 0) bad += syscall(438, f, 0, 0) >= 0;  // pidfd_getfd
  }
  bad += ptrace(PTRACE_TRACEME, 0, 0, 0) == 0;
  puts(bad ? "escaped" : "ok");
}
