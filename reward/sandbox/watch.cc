#include "reward/sandbox/watch.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "reward/sandbox/init.h"

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

struct Sum {
  int64_t resident = 0, anonymous = 0, file = 0, shared = 0, cpu_us = 0;
  bool running = false;
  int processes = 0;
};

// /proc/PID/smaps_rollup divides what several processes map; false when it may not be read.
bool add_shares(const char* pid, Sum& sum) {
  char text[2048];
  if (!read_file(pid, "/smaps_rollup", text, sizeof text)) return false;
  const int64_t anonymous = field_kb(text, "Pss_Anon:"), file = field_kb(text, "Pss_File:"),
                shared = field_kb(text, "Pss_Shmem:");
  if (anonymous < 0 || file < 0 || shared < 0) return false;
  sum.anonymous += anonymous * 1024, sum.file += file * 1024, sum.shared += shared * 1024;
  return true;
}

// Whether a thread of this process is running or ready to. The state in `stat` is the first thread's.
bool runs(const char* pid, char state, int64_t threads) {
  if (state == 'R') return true;
  if (threads < 2) return false;
  char path[64];
  char* end = path;
  append(end, pid), append(end, "/task");
  const int folder = openat(proc_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return false;
  bool found = false;
  alignas(8) char buffer[2048];  // of the first threads only: the look stays cheap
  const long n = syscall(SYS_getdents64, folder, buffer, sizeof buffer);
  close(folder);
  for (long at = 0; at < n && !found;) {
    const Entry* entry = reinterpret_cast<const Entry*>(buffer + at);
    at += entry->size;
    if (entry->name[0] < '0' || entry->name[0] > '9') continue;
    char name[96], text[1024];
    char* to = name;
    append(to, "/task/"), append(to, entry->name), append(to, "/stat");
    if (!read_file(pid, name, text, sizeof text)) continue;
    const char* mark = strrchr(text, ')');
    found = mark && mark[1] && mark[2] == 'R';
  }
  return found;
}

void add(const char* pid, bool exact, Sum& sum) {
  char text[1024];
  if (!read_file(pid, "/stat", text, sizeof text)) return;
  const char* at = strrchr(text, ')');  // the name before it may hold anything
  if (!at || at[1] == 0) return;
  at += 2;
  const char state = *at++;
  number(at);  // ppid
  const int64_t group = number(at);
  if (watched_group >= 0 && group != watched_group) return;
  for (int i = 0; i < 8; ++i) number(at);  // session tty tpgid flags minflt cminflt majflt cmajflt
  for (int i = 0; i < 4; ++i) sum.cpu_us += number(at) * tick_us;  // utime stime cutime cstime
  number(at), number(at);                                          // priority nice
  const int64_t threads = number(at);
  number(at), number(at), number(at);  // itrealvalue starttime vsize
  const int64_t resident = number(at) * page;
  if (state == 'Z') return;
  if (!exact && !sum.running) sum.running = runs(pid, state, threads);
  sum.processes += static_cast<int>(threads);
  sum.resident += resident;
  if (exact && !add_shares(pid, sum)) sum.anonymous += resident;
}

// Calls `each` with the digits of every process but ourselves.
template <class F>
void each_process(F each) {
  alignas(8) char buffer[8192];
  const pid_t self = getpid();
  if (lseek(proc_fd, 0, SEEK_SET) != 0) return;
  for (long n; (n = syscall(SYS_getdents64, proc_fd, buffer, sizeof buffer)) > 0;) {
    for (long at = 0; at < n;) {
      const Entry* entry = reinterpret_cast<const Entry*>(buffer + at);
      at += entry->size;
      if (entry->name[0] < '0' || entry->name[0] > '9') continue;
      const char* digits = entry->name;
      if (number(digits) != self) each(entry->name);
    }
  }
}

Sum count(bool exact) {
  Sum sum;
  each_process([&](const char* pid) { add(pid, exact, sum); });
  return sum;
}

int64_t last_exact = -1;
int since_exact = 0;

// The number after `key` in a small file that stays open; -1 when it is not there.
int64_t number_in(int fd, const char* key) {
  char text[1024];
  const ssize_t n = pread(fd, text, sizeof text - 1, 0);
  if (n <= 0) return -1;
  text[n] = 0;
  return field_kb(text, key);
}

}  // namespace

bool open_watch() {
  watched_group = -1;
  last_exact = -1;
  since_exact = 0;
  const int fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return false;
  proc_fd = fd;
  page = sysconf(_SC_PAGESIZE);
  tick_us = 1'000'000 / sysconf(_SC_CLK_TCK);
  return true;
}

void watch_group(pid_t group) {
  watched_group = group;
}

int64_t box_bytes(const char* box) {
  struct statfs info {};
  if (statfs(box, &info) != 0) return 0;
  return static_cast<int64_t>(info.f_blocks - info.f_bfree) * static_cast<int64_t>(info.f_bsize);
}

bool box_is_full(const char* box) {
  struct statfs info {};
  return statfs(box, &info) == 0 && (info.f_bfree == 0 || info.f_ffree == 0);
}

namespace {

bool count_folder(int folder, int depth, int64_t& inodes, int64_t& bytes) {
  alignas(8) char buffer[4096];
  for (long n; (n = syscall(SYS_getdents64, folder, buffer, sizeof buffer)) > 0;)
    for (long at = 0; at < n;) {
      const Entry* entry = reinterpret_cast<const Entry*>(buffer + at);
      at += entry->size;
      struct stat info {};
      if (strcmp(entry->name, ".") == 0 || strcmp(entry->name, "..") == 0 ||
          fstatat(folder, entry->name, &info, AT_SYMLINK_NOFOLLOW) != 0)
        continue;
      bytes -= static_cast<int64_t>(info.st_blocks) * 512;
      if (--inodes < 0 || bytes < 0) return true;
      if (!S_ISDIR(info.st_mode)) continue;
      if (depth == 0) return true;
      const int next = openat(folder, entry->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
      if (next < 0) continue;
      const bool over = count_folder(next, depth - 1, inodes, bytes);
      close(next);
      if (over) return true;
    }
  return false;
}

}  // namespace

bool folder_is_over(const char* path, int64_t inodes, int64_t bytes) {
  const int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return false;
  const bool over = count_folder(folder, 32, inodes, bytes);
  close(folder);
  return over;
}

Usage look(const char* box, int64_t box_before, int64_t limit) {
  Usage usage;
  int64_t in_box = 0;
  if (box) {
    in_box = box_bytes(box) - box_before;
    if (in_box < 0) in_box = 0;
    usage.box_full = box_is_full(box);
  }
  const Sum sum = count(false);
  usage.cpu_us = sum.cpu_us;
  usage.processes = sum.processes;
  usage.running = sum.running;
  usage.memory_bytes = sum.resident + in_box;
  // The plain sum counts a page once for every process that maps it, and what is mapped from the working folder
  // twice: an upper bound.
  if ((sum.processes > 1 || in_box > 0) && usage.memory_bytes > limit / 4) {
    if (usage.memory_bytes > limit || last_exact < 0 || since_exact++ % 4 == 0) {
      const Sum shares = count(true);
      last_exact = shares.anonymous + shares.file + (shares.shared > in_box ? shares.shared : in_box);
    }
    usage.memory_bytes = last_exact;
  }
  return usage;
}

CgroupUse read_cgroup(bool v2) {
  CgroupUse use;
  if (v2) {
    use.cpu_us = number_in(kCpuFile, "usage_usec");
  } else {
    const int64_t ns = number_in(kCpuFile, "");
    use.cpu_us = ns < 0 ? -1 : ns / 1000;
  }
  if (const int64_t kills = number_in(kOomFile, "oom_kill "); kills > 0) use.oom_kills = kills;
  return use;
}

}  // namespace cohort::sandbox
