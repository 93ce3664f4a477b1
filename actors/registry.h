// Who takes part in the run: one entry a worker name, found by name or by the peer it talks through now. Pure
// state.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "actors/ledger.h"
#include "transport/endpoint.h"
#include "transport/messages.h"

namespace cohort {

struct Worker {
  std::string name;
  Role role = Role::observer;
  PeerId peer;
  std::string host;
  uint32_t pid = 0, rank = 0, ranks = 1;
  Version version = 0;  // weights it holds (rollout)
  double joined = 0, heard = 0;
  uint64_t granted = 0, sent = 0;  // credit of this conversation
  uint64_t answered = 0;           // reward: verdicts that came in it
  int64_t served = -1;             // learner: newest step this process was given
  Heartbeat beat;                  // the newest
  double beat_at = 0;
  double tokens_per_s = 0;                          // smoothed over some ten seconds
  std::deque<std::pair<uint64_t, Ticket>> unacked;  // reliable messages applied, waiting for the ledger

  uint64_t free() const { return granted > sent ? granted - sent : 0; }
  uint64_t in_flight() const { return sent > answered ? sent - answered : 0; }
};

class Registry {
 public:
  // Adds or takes over the entry of this name; the peer it had before is forgotten. Keeps what the process of
  // the same pid and host had (rates, served), clears credit and unacknowledged messages: the conversation
  // starts anew.
  Worker& join(const PeerId& peer, const Hello& hello, double now);
  // Empty, or why this Hello cannot be taken: the name is held by a live worker on another host.
  std::string refuse(const Hello& hello, double now, double alive_s) const;
  Worker* by_peer(const PeerId& peer);
  Worker* by_name(const std::string& name);
  void remove(const std::string& name);
  std::vector<std::string> silent(double now, double timeout_s) const;  // names not heard of for so long
  size_t count(Role role) const;
  std::map<std::string, Worker>& all() { return workers_; }
  const std::map<std::string, Worker>& all() const { return workers_; }

 private:
  std::map<std::string, Worker> workers_;
  std::map<PeerId, std::string> names_;
};

// Folds a heartbeat into the worker's rates.
void take_heartbeat(Worker& worker, const Heartbeat& beat, double now);

}  // namespace cohort
