#include "reward/sandbox/watch.h"

#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace cohort::sandbox {
namespace {

// Of init only, after the clone: one thread.
int proc_fd = -1;
pid_t watched_group = -1;
int64_t page = 4096, tick_us = 10000;

struct Entry {  // linux_dirent64
  uint64_t inode;
  int64_t offset;
  uint16_t size;
  uint8_t type;
  char name[];
};

void append(char*& at, const char* text) {
  while (*text) *at++ = *text++;
  *at = 0;
}

// The file /proc/PID/NAME, 0-terminated and cut to the buffer; false when the process is gone.
bool read_file(const char* pid, const char* name, char* buffer, size_t size) {
  char path[64];
  char* at = path;
  append(at, pid);
  append(at, name);
  const int fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  size_t have = 0;
  for (ssize_t n; have + 1 < size && (n = read(fd, buffer + have, size - 1 - have)) > 0;)
    have += static_cast<size_t>(n);
  close(fd);
  buffer[have] = 0;
  return have > 0;
}

int64_t number(const char*& at) {
  while (*at == ' ' || *at == '\t') ++at;
  int64_t value = 0;
  const bool negative = *at == '-';
  if (negative) ++at;
  for (; *at >= '0' && *at <= '9'; ++at) value = value * 10 + (*at - '0');
  return negative ? -value : value;
}

int64_t field_kb(const char* text, const char* key) {
  const char* at = strstr(text, key);
  if (!at) return -1;
  at += strlen(key);
  return number(at);
}

void add(const char* pid, bool shared_fairly, Usage& usage) {
  char text[2048];
  if (!read_file(pid, "/stat", text, sizeof text)) return;
  const char* at = strrchr(text, ')');  // the name before it may hold anything
  if (!at || at[1] == 0) return;
  at += 2;
  const char state = *at++;
  number(at);  // ppid
  const int64_t group = number(at);
  if (watched_group >= 0 && group != watched_group) return;
  for (int i = 0; i < 8; ++i) number(at);  // session tty tpgid flags minflt cminflt majflt cmajflt
  for (int i = 0; i < 4; ++i) usage.cpu_us += number(at) * tick_us;  // utime stime cutime cstime
  number(at), number(at);                                            // priority nice
  const int64_t threads = number(at);
  number(at), number(at), number(at);  // itrealvalue starttime vsize
  const int64_t resident = number(at) * page;
  if (state == 'Z') return;
  usage.processes += static_cast<int>(threads);
  if (shared_fairly && read_file(pid, "/smaps_rollup", text, sizeof text)) {
    const int64_t pss = field_kb(text, "Pss:");
    usage.resident_bytes += pss >= 0 ? pss * 1024 : resident;
  } else {
    usage.resident_bytes += resident;
  }
}

Usage count(bool shared_fairly) {
  Usage usage;
  alignas(8) char buffer[8192];
  const pid_t self = getpid();
  if (lseek(proc_fd, 0, SEEK_SET) != 0) return usage;
  for (long n; (n = syscall(SYS_getdents64, proc_fd, buffer, sizeof buffer)) > 0;) {
    for (long at = 0; at < n;) {
      const Entry* entry = reinterpret_cast<const Entry*>(buffer + at);
      at += entry->size;
      if (entry->name[0] < '0' || entry->name[0] > '9') continue;
      const char* digits = entry->name;
      if (number(digits) == self) continue;
      add(entry->name, shared_fairly, usage);
    }
  }
  return usage;
}

int64_t last_exact = 0;
int since_exact = 0;

}  // namespace

bool open_watch(pid_t group) {
  watched_group = group;
  const int fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return false;
  proc_fd = fcntl(fd, F_DUPFD_CLOEXEC, 32);  // away from init's fixed places, of which some are empty
  close(fd);
  page = sysconf(_SC_PAGESIZE);
  tick_us = 1'000'000 / sysconf(_SC_CLK_TCK);
  return proc_fd >= 0;
}

Usage look() {
  Usage usage = count(false);
  // Plain sizes count a page once for every process that maps it: only forked processes make that matter, and
  // only then is the dearer fair share worth reading, at every look while the plain sum is far above, else at
  // every fourth.
  if (usage.processes > 1 && usage.resident_bytes > (64LL << 20)) {
    if (since_exact++ % 4 == 0) last_exact = count(true).resident_bytes;
    usage.resident_bytes = last_exact;
  }
  return usage;
}

}  // namespace cohort::sandbox
