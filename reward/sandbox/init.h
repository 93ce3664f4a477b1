// The inside of a jail: what runs between clone() and the candidate's execve().
#pragma once

#include <linux/filter.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>

namespace cohort::sandbox {

// Everything init needs, made before clone(): after it, in a copy of a threaded process, nothing may be
// allocated and no lock taken. Paths are relative to the new root.
struct Plan {
  struct Mount {
    const char* source;  // on the host
    const char* target;
    bool file, device;
  };
  struct Link {
    const char* to;
    const char* path;
  };
  struct Content {
    const char* name;
    const char* data;
    size_t size;
    bool executable;
  };
  bool namespaces = true;
  bool become_inner = false;     // we are root outside: take the mapped, unprivileged identity
  const char* folder = nullptr;  // process isolation: the host folder to work in
  const Mount* mounts = nullptr;
  size_t n_mounts = 0;
  const Link* links = nullptr;
  size_t n_links = 0;
  const Content* files = nullptr;
  size_t n_files = 0;
  const char* const* argv = nullptr;
  const char* const* envp = nullptr;
  sock_fprog filter{};
  const char* take = nullptr;
  // descriptors; -1 for none
  int go = -1, status = -1, in = -1, out = -1, err = -1, report = -1, taken = -1;
  // limits
  int64_t cpu_us = 0, memory_bytes = 0, file_bytes = 0;
  int processes = 0, open_files = 0;
  int user_processes = 0;  // RLIMIT_NPROC, which counts all of the user's where there is no user namespace
  char tmpfs_options[96] = {};
};

constexpr int kInnerId = 1000;   // who the program is inside
constexpr int kOuterId = 65534;  // and outside, when the worker is root: nobody

// One record on the status pipe: a failed step, or how the program ended.
struct Status {
  enum Step : int32_t {
    done,
    descriptors,
    wait_for_maps,
    private_mounts,
    open_source,
    identity,
    root,
    mount_source,
    devices,
    proc,
    work_folder,
    pivot,
    write_files,
    fork_program,
    program_setup,
    landlock,
    no_new_privs,
    seccomp,
    exec,
    kStatusSteps
  };
  enum Reason : int32_t { none, memory, cpu, processes };
  Step step = done;
  int32_t error = 0;   // errno of a failed step
  int32_t detail = 0;  // which mount or file
  int32_t wait_status = 0;
  Reason reason = none;
  int32_t took = 0;
  int64_t cpu_us = 0;
  int64_t peak_bytes = 0;
};
const char* to_string(Status::Step step);

[[noreturn]] void jail_init(const Plan& plan);

}  // namespace cohort::sandbox
