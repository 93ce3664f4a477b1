// What the program and its children use, read from /proc by init. Async-signal-safe: no allocation, no locks.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace cohort::sandbox {

struct Usage {
  int64_t resident_bytes = 0;  // memory that several processes share is divided among them when it matters
  int64_t cpu_us = 0;          // of living processes and of the children they waited for
  int processes = 0;
};

// group: count only processes of this process group; -1 counts every process but ourselves (a PID namespace
// of our own). False when there is no /proc to read.
bool open_watch(pid_t group);
Usage look();

}  // namespace cohort::sandbox
