// What a hostile run could change on this machine, as text, to compare before and after.
#pragma once

#include <dirent.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>

namespace cohort {

// The machine has other users: only what is ours or carries the hostile programs' names is looked at.
struct HostState {
  std::map<std::string, std::set<std::string>> seen;

  static HostState now() {
    namespace fs = std::filesystem;
    HostState state;
    auto lines = [&](const char* what, const std::string& file, const char* only) {
      std::ifstream in(file);
      for (std::string line; std::getline(in, line);)
        if (line.find(only) != std::string::npos) state.seen[what].insert(line);
    };
    lines("mount", "/proc/self/mounts", "");
    lines("shared memory", "/proc/sysvipc/shm", "25455");  // 0x636f, the key of shared_memory_left.c
    lines("message queue", "/proc/sysvipc/msg", "25455");
    lines("semaphore", "/proc/sysvipc/sem", "25455");
    lines("unix socket", "/proc/net/unix", "cohort-left");
    lines("key", "/proc/keys", "cohort-left");
    std::error_code error;
    for (const char* folder :
         {"/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/", "/usr/bin", "/usr/lib", "/etc", "/dev", "/run"})
      for (const auto& entry : fs::directory_iterator(folder, error)) {
        const std::string name = entry.path().filename().string();
        // a jail of process isolation works in /tmp/cohort-jail-PID-…
        const std::string own = "cohort-jail-" + std::to_string(getpid()) + "-";
        for (const char* mark : {"cohort-left", "cohort-escaped", "sem.cohort-left", own.c_str()})
          if (name.starts_with(mark)) state.seen["file"].insert(entry.path());
      }
    for (const auto& entry : fs::directory_iterator("/proc/self/task", error)) {
      std::ifstream in(entry.path() / "children");
      for (std::string pid; in >> pid;) state.seen["child"].insert(pid);
    }
    for (const auto& entry : fs::directory_iterator("/proc", error)) {
      std::string pid, name, status;
      std::ifstream(entry.path() / "stat") >> pid >> name >> status;
      // a dead one that this machine's first process has not collected is gone
      if (name == "(cohortleft)" && status != "Z" && status != "X") state.seen["process"].insert(pid);
    }
    size_t descriptors = 0;
    for ([[maybe_unused]] const auto& entry : fs::directory_iterator("/proc/self/fd", error)) ++descriptors;
    state.seen["descriptors"].insert(std::to_string(descriptors));
    find_cgroups("/sys/fs/cgroup", state, 0);
    return state;
  }

  // Empty when nothing was added since `before`.
  std::string added_since(const HostState& before) const {
    std::string text;
    for (const auto& [what, things] : seen) {
      const auto old = before.seen.find(what);
      for (const std::string& thing : things)
        if (old == before.seen.end() || !old->second.contains(thing)) text += what + ": " + thing + "\n";
    }
    return text;
  }

 private:
  static void find_cgroups(const std::string& folder, HostState& state, int depth) {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
      if (!entry.is_directory(error) || entry.is_symlink(error)) continue;
      if (entry.path().filename().string().starts_with("cohort-jail-" + std::to_string(getpid()) + "-"))
        state.seen["control group"].insert(entry.path());
      else if (depth < 8)
        find_cgroups(entry.path(), state, depth + 1);
    }
  }
};

}  // namespace cohort
