// What the worker and the inside of a cell say to each other, over one SOCK_SEQPACKET socket pair: fixed structs,
// descriptors beside them (SCM_RIGHTS), and everything of variable size in a sealed memory file.
//
// Both ends are built together, so there is no versioning. A message is lost only with the process that should
// have read it; the worker then sees the end of the socket. Neither end blocks for ever: the worker polls with
// the job's clock, the inside waits for the worker, whose death closes the socket.
//
//   worker → cell                       cell → worker
//   setup  (plan; cgroup files)         wants_maps   only with namespaces: write my uid_map
//   mapped (id 1: become kInnerId)      keeper       pid of the process that keeps the cell
//   show   (paths)                      answered     step done, or which step failed
//   resident (argv; its socket)         answered
//   job    (job; in out err …)          failed       the program could not be started; `ended` follows
//                                       ended        how it ended; nothing of the job is alive. Only now may the
//                                                    next job be sent
//   stop                                             end the job with this id now
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

namespace cohort::sandbox {

constexpr int kInnerId = 1000;   // who the program is inside
constexpr int kOuterId = 65534;  // and outside, when the worker is root: nobody

// One job's end, or the step of the machine's that failed.
struct Status {
  enum Step : int32_t {
    done,
    unshare_namespaces,
    wait_for_maps,
    private_mounts,
    open_source,
    identity,
    root,
    mount_source,
    devices,
    work_folder,
    pivot,
    clone_run,
    read_job,
    write_files,
    fork_program,
    program_setup,
    landlock,
    no_new_privs,
    seccomp,
    exec,
    init_lost,
    kStatusSteps
  };
  enum Reason : int32_t { none, memory, cpu, wall, processes, files, stopped };
  Step step = done;
  int32_t error = 0;   // errno of a failed step
  int32_t detail = 0;  // which mount or file; of init_lost its wait status
  int32_t wait_status = 0;
  Reason reason = none;
  int32_t took = 0;
  int64_t cpu_us = 0;
  int64_t wall_us = 0;   // from the start of the program
  int64_t delay_us = 0;  // of which it stood ready and no core was free
  int64_t peak_bytes = 0;
};
const char* to_string(Status::Step step);

struct Request {
  enum Kind : uint32_t { setup, mapped, show, resident, job, stop };
  // descriptors that travel with it, in this order
  enum Has : uint32_t {
    data = 1,
    in = 2,
    out = 4,
    err = 8,
    report = 16,
    taken = 32,
    cpu = 64,
    oom = 128,
    socket = 256
  };
  static constexpr int kMostFds = 9;
  Kind kind;
  uint32_t has;
  uint64_t id;
};

struct Reply {
  enum Kind : uint32_t { wants_maps, keeper, answered, failed, ended };
  Kind kind;
  int32_t pid;
  uint64_t id;
  Status status;
};

// The start of the memory file of `setup`; strings follow: per mount its source and target, per link its path
// and where it leads, then the filter's bytes.
struct CellWire {
  uint32_t namespaces, become_inner, landlock, n_mounts, n_links, filter_bytes, cgroup_v2;
};
struct MountWire {
  uint32_t file, device;
};

// The start of the memory file of `job`; strings follow: argv, environment, folder, take, the job's own shown
// paths, then per file its name, FileWire and content. `show` has a count and paths, `resident` argv and
// environment, a count before each.
struct JobWire {
  int64_t cpu_us, wall_us;  // 0: none
  int64_t memory_bytes, file_bytes, initial_bytes;
  int32_t processes, open_files, inodes, user_processes;
  uint32_t n_argv, n_env, n_shown, n_files, take;
};
struct FileWire {
  uint64_t size;
  uint32_t executable, unused;
};

// Reads what the worker wrote, in the same order. Strings are 0-terminated in place.
class WireReader {
 public:
  WireReader() = default;
  explicit WireReader(const void* at) : at_(static_cast<const char*>(at)) {}
  template <class T>
  T get() {
    T value;
    memcpy(&value, at_, sizeof value);
    at_ += sizeof value;
    return value;
  }
  const char* text() { return bytes(get<uint64_t>()); }
  const char* bytes(uint64_t size) {
    const char* start = at_;
    at_ += size + 1;
    return start;
  }

 private:
  const char* at_ = nullptr;
};

}  // namespace cohort::sandbox
