// A coordinator for tests: a real Router on a free loopback port with a thread that answers as told. It
// welcomes, answers heartbeats, acknowledges reliable messages, and keeps all it received. Killing and
// restarting one on the same port: destroy it and make another with the old endpoint().
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "transport/base/error.h"
#include "transport/endpoint.h"

namespace cohort::testing {

class FakeCoordinator {
 public:
  struct Options {
    std::string endpoint = "tcp://127.0.0.1:0";
    Welcome welcome{"test-run", 1, "", 50, 1000};
    bool acknowledge = true;  // false: reliable messages are kept but never acknowledged
    bool answer_heartbeat = true;
    std::string refuse;  // not empty: every Hello gets this Refused
    // Called on the fake's thread for every message but Heartbeat, Hello included (after its Welcome). It may
    // call send(). Lets a test answer Credit with Leases, BatchRequest with a Batch, and so on.
    std::function<void(FakeCoordinator&, const std::string& worker, const Message&)> on_message;
  };
  struct Received {
    std::string worker;  // its Hello::name
    uint64_t seq;
    Message message;
  };

  FakeCoordinator() : FakeCoordinator(Options{}) {}
  explicit FakeCoordinator(Options options)
      : options_(std::move(options)), router_(options_.endpoint), thread_([this] { run(); }) {}
  ~FakeCoordinator() {
    stop_ = true;
    thread_.join();
  }

  const std::string& endpoint() const { return router_.endpoint(); }

  // Any thread. To the worker of that name (the newest conversation under it); dropped when there is none.
  void send(const std::string& worker, Message message) {
    std::lock_guard lock(mutex_);
    outgoing_.emplace_back(worker, std::move(message));
  }
  void acknowledge(bool on) {
    std::lock_guard lock(mutex_);
    options_.acknowledge = on;
  }
  // While true nothing is read and nothing answered, as if the process were stopped.
  void pause(bool on) { paused_ = on; }

  // Everything received but heartbeats, in order, over all workers.
  std::vector<Received> received() const {
    std::lock_guard lock(mutex_);
    return received_;
  }
  // All received messages of one type.
  template <class T>
  std::vector<T> all() const {
    std::lock_guard lock(mutex_);
    std::vector<T> out;
    for (const Received& r : received_)
      if (auto* m = std::get_if<T>(&r.message)) out.push_back(*m);
    return out;
  }
  uint64_t heartbeats() const { return heartbeats_; }
  // Reliable messages that did not follow the one before them in their conversation: a Link never makes one.
  uint64_t gaps() const { return gaps_; }
  // Waits until `done(*this)` holds; false after `seconds`.
  bool wait(double seconds, const std::function<bool(const FakeCoordinator&)>& done) const {
    auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    while (!done(*this)) {
      if (std::chrono::steady_clock::now() > until) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return true;
  }

 private:
  struct Peer {
    std::string name;
    uint64_t last_seq = 0;
  };

  void run() {
    while (!stop_) {
      if (paused_) {
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        continue;
      }
      for (Incoming& incoming : router_.receive(2)) take(incoming);
      std::vector<std::pair<std::string, Message>> outgoing;
      {
        std::lock_guard lock(mutex_);
        outgoing.swap(outgoing_);
      }
      for (auto& [worker, message] : outgoing)
        for (auto& [id, peer] : peers_)
          if (peer.name == worker) router_.send(id, {0, message});
    }
  }

  void take(Incoming& incoming) {
    Message& message = incoming.envelope.message;
    if (auto* hello = std::get_if<Hello>(&message)) {
      if (!options_.refuse.empty()) {
        router_.send(incoming.peer, {0, Refused{options_.refuse}});
        return;
      }
      std::erase_if(peers_, [&](const auto& p) { return p.second.name == hello->name; });
      peers_[incoming.peer].name = hello->name;
      router_.send(incoming.peer, {0, options_.welcome});
    }
    auto found = peers_.find(incoming.peer);
    if (found == peers_.end()) {
      router_.send(incoming.peer, {0, HelloAgain{}});
      return;
    }
    Peer& peer = found->second;
    if (std::holds_alternative<Heartbeat>(message)) {
      ++heartbeats_;
      if (options_.answer_heartbeat) router_.send(incoming.peer, {0, HeartbeatAck{}});
      return;
    }
    uint64_t seq = incoming.envelope.seq;
    if (seq != 0) {
      if (peer.last_seq != 0 && seq != peer.last_seq + 1) ++gaps_;
      peer.last_seq = seq;
    }
    bool acknowledge;
    {
      std::lock_guard lock(mutex_);
      received_.push_back({peer.name, seq, message});
      acknowledge = options_.acknowledge;
    }
    if (seq != 0 && acknowledge) router_.send(incoming.peer, {0, Ack{seq}});
    if (options_.on_message) options_.on_message(*this, peer.name, message);
  }

  Options options_;
  Router router_;
  std::map<PeerId, Peer> peers_;  // the fake's thread only
  std::atomic<bool> stop_ = false, paused_ = false;
  std::atomic<uint64_t> heartbeats_ = 0, gaps_ = 0;
  mutable std::mutex mutex_;
  std::vector<Received> received_;
  std::vector<std::pair<std::string, Message>> outgoing_;
  std::thread thread_;
};

}  // namespace cohort::testing
