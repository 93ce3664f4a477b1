#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>
int main() {
  int bad = 0;
  char zeros[256] = {0};
  struct perf_event_attr p = {.type = PERF_TYPE_SOFTWARE, .size = sizeof p};
  bad += syscall(SYS_perf_event_open, &p, 0, -1, -1, 0) >= 0;
  bad += syscall(SYS_bpf, BPF_MAP_CREATE, zeros, sizeof zeros) >= 0;
  bad += syscall(SYS_userfaultfd, 1) >= 0;
  bad += syscall(SYS_syslog, 3, zeros, 100) >= 0;
  bad += syscall(SYS_open_by_handle_at, -100, zeros, 0) >= 0;
  bad += syscall(SYS_mknod, "device", 0060600, 0x0100) == 0;
  bad += syscall(SYS_sethostname, "x", 1) == 0;
  bad += syscall(SYS_fanotify_init, 0, 0) >= 0;
  bad += syscall(SYS_personality, 0x0040000) >= 0;
  bad += syscall(SYS_modify_ldt, 0, zeros, 16) >= 0;
  struct timeval t = {0, 0};
  bad += settimeofday(&t, 0) == 0;
  puts(bad ? "escaped" : "ok");
}
