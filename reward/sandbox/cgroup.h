// Control groups for cells, version 1 or 2, where this process may make them; a stated reason where not.
//
// A cell keeps its group for all its jobs: groups are made once, and a job's use is the difference between
// two readings. Without groups the watch of init holds the same limits by polling (watch.h).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "reward/sandbox/descriptors.h"

namespace cohort::sandbox {

// One cell's group, removed with this object; the processes in it must be gone by then.
class Cgroup {
 public:
  ~Cgroup();
  // False when the kernel refuses.
  bool add(pid_t pid);
  void limit(int64_t memory_bytes, int processes);
  int cpu_file() const { return cpu_.get(); }
  int oom_file() const { return oom_.get(); }
  bool v2() const { return v2_; }

 private:
  friend class CgroupHome;
  std::vector<std::string> folders_;
  std::string memory_, pids_;  // folders with these controllers, "" for none
  OwnFd cpu_, oom_;
  bool v2_ = false;
  int64_t memory_limit_ = 0;
  int process_limit_ = 0;
};

// Where groups can be made.
class CgroupHome {
 public:
  // Looks at /proc/self and tries to make a group. Removes what a killed worker of the same place has left.
  CgroupHome();
  bool available() const { return refusal_.empty(); }
  // E.g. "v1: memory, cpuacct, pids" or why there are none.
  const std::string& found() const { return found_; }
  const std::string& refusal() const { return refusal_; }
  // Thread-safe. Null when it cannot be made.
  std::unique_ptr<Cgroup> make() const;

 private:
  struct Place {
    std::string folder;
    bool memory = false, cpu = false, pids = false;
  };
  bool look_for_v1(const std::string& mounts, const std::string& groups);
  bool look_for_v2(const std::string& mounts, const std::string& groups);
  void sweep() const;
  std::vector<Place> places_;
  bool v2_ = false;
  std::string found_, refusal_;
};

}  // namespace cohort::sandbox
