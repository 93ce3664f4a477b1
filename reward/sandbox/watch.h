// What a job uses, as its init sees it: from the cgroup's files where the cell has a cgroup, and from /proc and
// the working folder's file system. System calls and the stack only.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace cohort::sandbox {

struct Usage {
  // Resident memory of all processes, pages that several share divided among them when it matters, and the
  // working folder, which is memory too.
  int64_t memory_bytes = 0;
  int64_t cpu_us = 0;    // of living processes and of the children they waited for
  int processes = 0;     // threads
  bool running = false;  // one of them runs, or is ready to and waits for a core
  bool box_full = false;
};

// False when there is no /proc to read.
bool open_watch();
// Counts only this process group, for want of a PID namespace.
void watch_group(pid_t group);
// `box` is the working folder when it is a file system of its own, else null; `box_before` what was in it at the
// start. Reads the dearer exact figures only when the cheap upper bound comes near `limit`.
Usage look(const char* box, int64_t box_before, int64_t limit);

int64_t box_bytes(const char* box);
bool box_is_full(const char* box);

// Whether there is more in this folder and those in it. Stops counting at the limit, and at a depth of 32.
bool folder_is_over(const char* path, int64_t inodes, int64_t bytes);

// -1 and 0 without a cgroup. Both only ever grow; a cell's jobs look at the difference.
struct CgroupUse {
  int64_t cpu_us = -1;
  int64_t oom_kills = 0;
};
CgroupUse read_cgroup(bool v2);

}  // namespace cohort::sandbox
