// Who takes part in a broadcast of weights (NCCL), and what happens to a member that does not answer. The learner's rank 0 is
// the root. A rollout worker becomes a member by asking and asks for every version anew, so nobody has to be told that a worker
// left, and one that was dropped comes back by asking again.
//
//   ask -> gathering -> (all of the communicator have asked, or gather_s has passed) -> a round: those who asked are invited to
//   a communicator, the one of before when they are exactly its members, and they and the root start the broadcast
//   -> the root has sent everything: the round is over, the communicator is kept
//   -> somebody failed, or timeout_s has passed: the root aborts, the others are told, and whoever lives asks again: the next
//      round is of those, in a new communicator
//
// Nobody waits without end: who asks while a round hangs, or finds no round for patience_s, is refused, that is told to take
// chunks. No sockets, no clock and no NCCL here: the caller brings messages, the time, and a Broadcaster. One thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace cohort {

// One end of a communicator. Nothing of it blocks longer than a call into the driver, nothing throws but make_id; one thread.
class Broadcaster {
 public:
  enum class State { busy, done, failed };
  virtual ~Broadcaster() = default;
  // Of a new communicator; the root's. Throws Error.
  virtual std::string make_id() = 0;
  // Begins to send `bytes` from `data` (rank 0) or to receive them there; leaves what it was in and joins first when this end is
  // not in the communicator `id`. The memory is in use until poll() says that it is over, or abort().
  virtual void start(const std::string& id, int rank, int size, void* data, uint64_t bytes) = 0;
  virtual State poll() = 0;
  virtual std::string error() const { return ""; }  // why it failed
  // Leaves the communicator, whatever the others do. The next start() joins another one.
  virtual void abort() = 0;
};

// What a member says it is in (WeightRequest.member.holds).
uint64_t communicator_number(const std::string& id);

class WeightGroup {
 public:
  struct Options {
    double gather_s = 0.2;  // how long members of the last round are waited for
    double timeout_s = 10;  // of a round: joining and receiving
    double patience_s = 2;  // how long one that asked waits for a round to begin
  };
  struct Member {
    std::string peer;    // who is answered
    std::string name;    // for the log
    std::string device;  // DeviceShare::device: NCCL takes one rank a GPU
    uint64_t holds = 0;  // communicator_number of the one it is in; 0: none
  };
  // What the root sends.
  struct Source {
    std::string device;
    void* data = nullptr;
    uint64_t bytes = 0;
    uint32_t version = 0;  // for the log
  };
  struct Invite {
    std::string peer;
    uint64_t round = 0;
    std::string id;
    int rank = 0, size = 0;
  };
  struct Refusal {
    std::string peer, reason;
  };
  struct Told {
    std::vector<Invite> invites;
    std::vector<Refusal> refused;    // are to take chunks
    std::vector<std::string> ended;  // were in the round `ended_round`, which was given up
    uint64_t ended_round = 0;
  };

  WeightGroup(std::shared_ptr<Broadcaster> root, Options options)
      : root_(std::move(root)), options_(options) {}

  // A member wants the newest version. The same peer again: as if it had asked once.
  void ask(const Member& member, double now);
  // It wants nothing any more.
  void forget(const std::string& peer) { asked_.erase(peer); }
  // A member's end of a round; it failed also when it cannot be reached. Of another round: ignored.
  void finished(const std::string& peer, uint64_t round, bool ok);
  // Opens, watches and ends rounds. `source`: the newest version, if it can be sent this way. To be called every few
  // milliseconds while active(), without a pause while sending().
  Told tick(double now, const std::optional<Source>& source);
  bool active() const { return round_on_ || !asked_.empty(); }
  bool sending() const { return round_on_; }

  uint64_t rounds() const { return round_; }                 // begun
  uint64_t completed() const { return completed_; }          // of these ended well
  uint64_t communicators() const { return communicators_; }  // made
  double timeout_s() const { return options_.timeout_s; }

 private:
  struct Ask {
    Member member;
    double since = 0;
  };
  bool gathered(double now) const;
  void refuse_impatient(double now, const char* reason, Told& told);
  void open(double now, const Source& source, Told& told);
  bool renew(const std::vector<Member>& seats);
  void give_up(const std::string& why, Told& told);

  std::shared_ptr<Broadcaster> root_;
  Options options_;
  std::map<std::string, Ask> asked_;                  // by peer
  std::string id_;                                    // of the communicator; empty: there is none
  size_t size_ = 0;                                   // members of it, without the root
  std::set<std::string> names_;                       // of the last communicator's
  std::map<std::string, std::string> round_members_;  // peer -> name, who have not finished
  bool round_on_ = false;
  std::string failure_;
  uint64_t round_ = 0, completed_ = 0, communicators_ = 0;
  double began_ = 0;
  uint32_t version_ = 0;
};

}  // namespace cohort
