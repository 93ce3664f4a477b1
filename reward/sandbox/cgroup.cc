#include "reward/sandbox/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/ranges.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
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
constexpr const char* kLeaf =
    "cohort-processes";  // where those go that lived in a group which is to have groups

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

bool has_word(const std::string& file, std::string_view word) {
  std::istringstream in(contents(file));
  for (std::string each; in >> each;)
    if (each == word) return true;
  return false;
}

// Version 2 from here on.
bool is_group(const std::string& folder) {
  return !folder.empty() && access((folder + "/cgroup.procs").c_str(), F_OK) == 0;
}

// Whether groups made in it get a memory controller.
bool hands_down(const std::string& folder) {
  return has_word(folder + "/cgroup.subtree_control", "memory");
}

// Whether a group can be made in it and a process of ours moved there, which may need rights over more groups than
// this one (all up to the first that both have in common).
bool can_move_into(const std::string& folder) {
  static std::atomic<int> counter = 0;
  const std::string probe = fmt::format("{}/{}{}-move-{}", folder, kPrefix, getpid(), counter++);
  if (mkdir(probe.c_str(), 0755) != 0) return false;
  const pid_t child = fork();
  if (child == 0)
    for (prctl(PR_SET_PDEATHSIG, SIGKILL);;) pause();
  const bool moved = child > 0 && write_line(probe + "/cgroup.procs", std::to_string(child));
  if (child > 0) {
    kill(child, SIGKILL);
    while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  for (int i = 0; i < 100 && rmdir(probe.c_str()) != 0 && errno == EBUSY; ++i) usleep(1000);
  return moved;
}

// The folder is given to us with all that is in it: by its owner, by systemd's mark, or as the top of what a
// container sees, which alone of a machine's groups has no name but has a type.
bool delegated(const std::string& folder) {
  struct stat info {};
  if (geteuid() != 0) return stat(folder.c_str(), &info) == 0 && info.st_uid == geteuid();
  char value = 0;
  for (const char* mark : {"trusted.delegate", "user.delegate"})
    if (getxattr(folder.c_str(), mark, &value, 1) == 1 && value == '1') return true;
  return !is_group(folder.substr(0, folder.rfind('/'))) &&
         access((folder + "/cgroup.type").c_str(), F_OK) == 0;
}

// Makes it hand memory and pids down. A group with processes of its own cannot: they are moved into a leaf of it,
// when they are only ourselves or the whole group is ours to arrange.
bool make_room(const std::string& folder, std::string& refusal) {
  const std::string control = folder + "/cgroup.subtree_control", leaf = folder + "/" + kLeaf;
  auto hand_down = [&] {
    // in this order: beside processes pids alone would be granted, for threads, and memory refused for that
    if (!write_line(control, "+memory")) return false;
    write_line(control, "+pids");
    return true;
  };
  for (int i = 0; i < 10; ++i) {  // a process may fork while we look
    if (hand_down()) return true;
    const int problem = errno;
    std::vector<std::string> pids;
    std::istringstream in(contents(folder + "/cgroup.procs"));
    for (std::string pid; in >> pid;) pids.push_back(pid);
    const bool alone = pids.size() == 1 && pids[0] == std::to_string(getpid());
    if (problem != EBUSY || (!alone && !delegated(folder))) {
      refusal = fmt::format("{} does not hand the memory controller down ({})", folder,
                            problem == EBUSY ? "other processes live in it" : strerror(problem));
      return false;
    }
    if (mkdir(leaf.c_str(), 0755) != 0 && errno != EEXIST) break;
    for (const std::string& pid : pids) write_line(leaf + "/cgroup.procs", pid);
  }
  refusal = fmt::format("{} cannot be made to hand the memory controller down", folder);
  return false;
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
  const auto own = own_folder(mounts, groups, "cgroup2", "");
  if (!own) return false;
  std::string folder = *own;
  if (folder.ends_with(std::string("/") + kLeaf)) folder.resize(folder.size() - strlen(kLeaf) - 1);
  if (!has_word(folder + "/cgroup.controllers", "memory"))
    return false;  // a hybrid machine: version 1 has it
  if (!can_make(folder)) refusal_ = fmt::format("{} cannot be written ({})", folder, strerror(errno));
  const bool within = hands_down(folder) || (refusal_.empty() && make_room(folder, refusal_));
  if (!within || !can_move_into(folder)) {
    // A user's or root's processes often live beside groups that may be made: systemd's slices hand controllers down.
    if (within) refusal_ = fmt::format("no process may be moved into a group of {}", folder);
    do folder = folder.substr(0, folder.rfind('/'));
    while (is_group(folder) && !(hands_down(folder) && can_move_into(folder)));
    if (!is_group(folder)) return false;
  }
  v2_ = true;
  places_.push_back({folder, true, true, has_word(folder + "/cgroup.subtree_control", "pids")});
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
