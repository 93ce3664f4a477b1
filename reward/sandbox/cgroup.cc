#include "reward/sandbox/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/ranges.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

namespace cohort::sandbox {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPrefix = "cohort-jail-";

std::string contents(const std::string& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

bool lists(const std::string& text, const std::string& word) {
  std::istringstream in(text);
  for (std::string each; std::getline(in, each, ',');)
    if (each == word) return true;
  return false;
}

// The folder of our own group in the hierarchy of `type` that has `controller` ("" for version 2), from
// /proc/self/mountinfo and /proc/self/cgroup.
std::optional<std::string> own_folder(const std::string& mounts, const std::string& groups,
                                      const std::string& type, const std::string& controller) {
  std::string path;
  std::istringstream group_lines(groups);
  for (std::string line; std::getline(group_lines, line);) {  // "4:memory:/path"
    const size_t a = line.find(':'), b = line.find(':', a + 1);
    if (b == std::string::npos) continue;
    const std::string names = line.substr(a + 1, b - a - 1);
    if (controller.empty() ? names.empty() : lists(names, controller)) path = line.substr(b + 1);
  }
  if (path.empty()) return {};
  std::istringstream mount_lines(mounts);
  for (std::string line; std::getline(mount_lines, line);) {
    const size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    std::istringstream before(line.substr(0, dash)), after(line.substr(dash + 3));
    std::string id, parent, device, root, point, found_type, source, options;
    before >> id >> parent >> device >> root >> point;
    after >> found_type >> source >> options;
    if (found_type != type || (!controller.empty() && !lists(options, controller))) continue;
    // a container sees only a part of the tree: `root` is what is mounted of it
    if (root != "/" && path.starts_with(root)) path = path.substr(root.size());
    if (path == "/" || path.empty()) return point;
    if (path.find("/..") == std::string::npos && fs::exists(point + path)) return point + path;
    return point;
  }
  return {};
}

bool can_make(const std::string& folder) {
  const std::string probe = fmt::format("{}/{}{}-probe", folder, kPrefix, getpid());
  if (mkdir(probe.c_str(), 0755) != 0 && errno != EEXIST) return false;
  rmdir(probe.c_str());
  return true;
}

int open_to_read(const std::string& path) {
  return open(path.c_str(), O_RDONLY | O_CLOEXEC);
}

}  // namespace

Cgroup::~Cgroup() {
  for (const std::string& folder : folders_)
    for (int i = 0; i < 100 && rmdir(folder.c_str()) != 0 && errno == EBUSY; ++i) usleep(1000);
}

bool Cgroup::add(pid_t pid) {
  bool all = true;
  for (const std::string& folder : folders_)
    all = write_line(folder + "/cgroup.procs", std::to_string(pid)) && all;
  return all;
}

void Cgroup::limit(int64_t memory_bytes, int processes) {
  if (!memory_.empty() && memory_bytes != memory_limit_) {
    const std::string bytes = std::to_string(memory_bytes);
    if (v2_) {
      write_line(memory_ + "/memory.max", bytes);
      write_line(memory_ + "/memory.swap.max", "0");
    } else {
      // memory and swap together may never be below memory alone: one of the two orders works
      for (int i = 0; i < 2; ++i) {
        write_line(memory_ + "/memory.limit_in_bytes", bytes);
        write_line(memory_ + "/memory.memsw.limit_in_bytes", bytes);
      }
    }
    memory_limit_ = memory_bytes;
  }
  if (!pids_.empty() && processes != process_limit_) {
    write_line(pids_ + "/pids.max", std::to_string(processes));
    process_limit_ = processes;
  }
}

CgroupHome::CgroupHome() {
  const std::string mounts = contents("/proc/self/mountinfo"), groups = contents("/proc/self/cgroup");
  if (!look_for_v2(mounts, groups) && !look_for_v1(mounts, groups)) {
    if (refusal_.empty()) refusal_ = "no control groups are mounted";
    found_ = refusal_;
    return;
  }
  refusal_.clear();
  sweep();
}

bool CgroupHome::look_for_v1(const std::string& mounts, const std::string& groups) {
  std::vector<std::string> names;
  for (const char* controller : {"memory", "cpuacct", "pids"}) {
    const auto folder = own_folder(mounts, groups, "cgroup", controller);
    if (!folder) continue;
    if (!can_make(*folder)) {
      refusal_ = fmt::format("{} cannot be written ({})", *folder, strerror(errno));
      continue;
    }
    Place* place = nullptr;
    for (Place& p : places_)
      if (p.folder == *folder) place = &p;
    if (!place) place = &places_.emplace_back(Place{*folder});
    (controller[0] == 'm' ? place->memory : controller[0] == 'c' ? place->cpu : place->pids) = true;
    names.push_back(controller);
  }
  if (names.empty()) return false;
  found_ = fmt::format("v1: {}", fmt::join(names, ", "));
  return true;
}

bool CgroupHome::look_for_v2(const std::string& mounts, const std::string& groups) {
  const auto folder = own_folder(mounts, groups, "cgroup2", "");
  if (!folder) return false;
  auto has = [&](const char* file, const char* name) {
    std::istringstream in(contents(*folder + file));
    for (std::string word; in >> word;)
      if (word == name) return true;
    return false;
  };
  if (!has("/cgroup.controllers", "memory")) return false;  // a hybrid machine: version 1 has it
  if (!can_make(*folder)) {
    refusal_ = fmt::format("{} cannot be written ({})", *folder, strerror(errno));
    return false;
  }
  if (!has("/cgroup.subtree_control", "memory") &&
      !write_line(*folder + "/cgroup.subtree_control", "+memory +pids")) {
    // A group with processes of its own cannot hand controllers down. When they are only ourselves we move.
    std::istringstream in(contents(*folder + "/cgroup.procs"));
    bool alone = true;
    for (pid_t pid; in >> pid;) alone = alone && pid == getpid();
    const std::string leaf = fmt::format("{}/cohort-worker-{}", *folder, getpid());
    if (!alone || (mkdir(leaf.c_str(), 0755) != 0 && errno != EEXIST) ||
        !write_line(leaf + "/cgroup.procs", std::to_string(getpid())) ||
        !write_line(*folder + "/cgroup.subtree_control", "+memory +pids")) {
      refusal_ = fmt::format("{} does not hand the memory controller down ({})", *folder,
                             alone ? strerror(errno) : "other processes live in it");
      return false;
    }
  }
  v2_ = true;
  places_.push_back({*folder, true, true, has("/cgroup.subtree_control", "pids")});
  found_ = fmt::format("v2: memory, cpu time{}", places_[0].pids ? ", pids" : "");
  return true;
}

void CgroupHome::sweep() const {
  for (const Place& place : places_) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(place.folder, error)) {
      const std::string name = entry.path().filename().string();
      if (!name.starts_with(kPrefix)) continue;
      const pid_t owner = static_cast<pid_t>(strtol(name.c_str() + strlen(kPrefix), nullptr, 10));
      if (owner > 0 && kill(owner, 0) != 0 && errno == ESRCH) rmdir(entry.path().c_str());
    }
  }
}

std::unique_ptr<Cgroup> CgroupHome::make() const {
  static std::atomic<int> counter = 0;
  if (!available()) return nullptr;
  auto group = std::make_unique<Cgroup>();
  group->v2_ = v2_;
  const std::string name = fmt::format("{}{}-{}", kPrefix, getpid(), counter++);
  for (const Place& place : places_) {
    const std::string folder = place.folder + "/" + name;
    if (mkdir(folder.c_str(), 0755) != 0) return nullptr;
    group->folders_.push_back(folder);
    if (place.memory) {
      group->memory_ = folder;
      group->oom_ = OwnFd(open_to_read(folder + (v2_ ? "/memory.events" : "/memory.oom_control")));
    }
    if (place.cpu) group->cpu_ = OwnFd(open_to_read(folder + (v2_ ? "/cpu.stat" : "/cpuacct.usage")));
    if (place.pids) group->pids_ = folder;
  }
  return group;
}

}  // namespace cohort::sandbox
