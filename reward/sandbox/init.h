// The inside of a cell. Everything declared here runs in cohort-jail, a small static program that the worker
// starts from a memory file, or in the library that is preloaded into a warm interpreter; never in the worker.
// So no secret of the worker is in its memory, its arguments or its environment, and forking it is cheap.
//
// Only system calls and the stack are used: in a warm interpreter another program's allocator may be in any
// state.
#pragma once

#include <linux/filter.h>
#include <sys/types.h>

#include "reward/sandbox/wire.h"

namespace cohort::sandbox {

// Fixed places of descriptors inside a cell.
enum Fd : int { kSocket = 100, kCpuFile, kOomFile, kSetupFile, kWarmFile, kHostMounts };

constexpr int kMostMounts = 60;

// What stays the same for all jobs of a cell.
struct Cell {
  bool namespaces = true, become_inner = false, landlock = true, cgroup_v2 = false;
  bool resident = false;  // we are a warm interpreter
  sock_fprog filter{};
  WireReader shown;  // the cell's mounts, and the paths of this job only: without namespaces Landlock's rules
  uint32_t n_shown = 0;
  WireReader job_shown;
  uint32_t n_job_shown = 0;
};

Cell read_cell(const void* setup);  // of the memory file of `setup`, which must stay mapped

struct Message {
  Request request{};
  int fds[Request::kMostFds];  // -1 where absent; index: bit number of Request::Has
};
// False at the end of the socket.
bool receive(int socket, Message& message, bool peek = false);
void reply(int socket, const Reply& reply);
const void* map_file(int fd);  // read-only; null on failure

// Builds the read-only root and makes it ours (root.cc). Sends a failed step and exits on failure.
void enter_root(const Cell& cell, const CellWire& wire, WireReader reader);
// Replaces the job-specific mounts by these; Status::done or the failed step.
Status show_paths(WireReader reader);

// In a run, when something of the host's /tmp is shown: /tmp becomes the job's own, with that in it.
bool keep_tmp(const Cell& cell);

// Clones the init of the next run into fresh namespaces: its pid, 0 in it, -1 on failure.
pid_t clone_init(const Cell& cell);

// Exit codes of an init.
enum : int { kServed = 0, kClosed = 81, kForKeeper = 82, kFailed = 83 };

// In the clone: waits for a job, runs it and exits. Returns only in the process that is to be the job's program
// and only when the cell is a warm interpreter.
void run_init(const Cell& cell, pid_t (*make_process)());

// In the program's process: limits, no privileges, filters, then execve (or, warm, back to the interpreter).
// `socket` is where a failed step is told.
void start_program(const Cell& cell, const JobWire& job, const char* const* argv, const char* const* envp,
                   const char* folder, uint64_t id, const int* fds, bool watched);

}  // namespace cohort::sandbox
