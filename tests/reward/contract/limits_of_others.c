// Limits, priorities and processors of init, which holds this program's limits, and of everybody else's processes.
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
int main() {
  int bad = 0;
  const int others[] = {1, getppid(), -1};
  for (int i = 0; i < 3; i++) {
    const int pid = others[i];
    const struct rlimit none = {0, 0}, three = {3, 3};
    const struct sched_param plain = {0};
    bad += !prlimit(pid, RLIMIT_NOFILE, &three, 0);
    bad += !prlimit(pid, RLIMIT_FSIZE, &none, 0);
    bad += !prlimit(pid, RLIMIT_CPU, &none, 0);
    bad += !sched_setscheduler(pid, SCHED_IDLE, &plain);
    bad += !sched_setparam(pid, &plain);
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    bad += !sched_setaffinity(pid, sizeof one, &one);
    bad += !setpriority(PRIO_PROCESS, pid, 19);
    bad += !syscall(SYS_ioprio_set, 1, pid, 3 << 13);
    unsigned long zero = 0, all = 1;
    bad += syscall(SYS_migrate_pages, pid, 64, &all, &zero) == 0;
    siginfo_t info = {.si_signo = SIGKILL, .si_code = SI_QUEUE};
    syscall(SYS_rt_sigqueueinfo, pid, SIGKILL, &info);  // init drops it: it would tell by no verdict
    int ends[2];
    if (pipe(ends)) continue;
    // a signal to somebody else when there is something to read
    fcntl(ends[0], F_SETSIG, SIGKILL);
    fcntl(ends[0], F_SETFL, O_ASYNC);
    fcntl(ends[0], F_SETOWN, pid);
    if (write(ends[1], "x", 1) != 1) bad++;
    close(ends[0]), close(ends[1]);
  }
  bad += !setpriority(PRIO_USER, 0, 19);
  setpriority(PRIO_PROCESS, 0, 1);  // its own it may
  puts(bad ? "escaped" : "ok");
}
