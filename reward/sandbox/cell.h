// The worker's side of one cell: a small process with namespaces, a read-only root and a control group of its
// own, made once and used for one job after the other. What a job can touch is made afresh for each (init.cc).
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reward/sandbox/cgroup.h"
#include "reward/sandbox/descriptors.h"
#include "reward/sandbox/filter.h"
#include "reward/sandbox/shown.h"
#include "reward/sandbox/wire.h"

namespace cohort::sandbox {

// A memory file's content, as WireReader reads it.
class WireWriter {
 public:
  template <class T>
  void put(const T& value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void text(std::string_view text) {
    put<uint64_t>(text.size());
    bytes(text);
  }
  void bytes(std::string_view data) {
    bytes_.append(data);
    bytes_.push_back('\0');
  }
  void texts(const std::vector<std::string>& list) {
    for (const std::string& each : list) text(each);
  }
  const std::string& all() const { return bytes_; }

 private:
  std::string bytes_;
};

// Whether we are root and programs without a user namespace of their own can be made nobody's: not in a container
// that maps one user only.
bool can_become_nobody();

// The same for all cells of a jail.
struct CellPlan {
  bool namespaces = true;
  Shown shown;
  std::vector<sock_filter> filter;
  const CgroupHome* cgroups = nullptr;              // null: none wanted
  std::vector<std::string> warm, warm_environment;  // the interpreter's arguments; empty: none
};

class Cell {
 public:
  // Blocks until the cell's keeper is there. Throws InfraError.
  explicit Cell(const CellPlan& plan);
  // Ends everything in it.
  ~Cell();
  Cell(const Cell&) = delete;

  // To the keeper's inits, or to the interpreter's, which is started at the first use.
  int socket(bool warm) const { return warm ? warm_socket_.get() : socket_.get(); }
  // `fds` in the order of Request::Has. Throws InfraError when the cell is dead.
  void send(int socket, Request::Kind kind, uint64_t id, uint32_t has, const std::vector<int>& fds) const;
  // Nothing when there is none (no wait); throws InfraError at the end of the socket.
  std::optional<Reply> receive(int socket) const;

  void prepare_warm();
  // These paths and no others, besides the plan's.
  void show(const std::vector<std::string>& paths);
  const std::vector<std::string>& shown() const { return shown_; }
  bool has_cgroup() const { return cgroup_ != nullptr; }
  void limit(int64_t memory_bytes, int processes) {
    if (cgroup_) cgroup_->limit(memory_bytes, processes);
  }
  std::string explain(const Status& status) const;
  uint64_t next_id() { return ++last_id_; }

 private:
  Reply wait_for(uint64_t id) const;
  void map_identity(pid_t pid, bool& become_inner) const;

  const CellPlan& plan_;
  std::unique_ptr<Cgroup> cgroup_;
  OwnFd socket_, warm_socket_, pidfd_;
  pid_t first_ = -1, keeper_ = -1;
  std::vector<std::string> shown_;
  uint64_t last_id_ = 0;
};

}  // namespace cohort::sandbox
