// A worker's side of the conversation with the coordinator: rollout, reward and learner all hold one Link.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "transport/messages.h"

namespace cohort {

struct LinkOptions {
  std::string endpoint;  // tcp://host:port of the coordinator
  // Called on the link's thread before every Hello (first and after each reconnect): role, name and what is held now.
  // Must not block and must not call the Link.
  std::function<Hello()> hello;
  // Called on the link's thread once every heartbeat interval. Same rules.
  std::function<Heartbeat()> heartbeat;
  size_t max_unacked = 1024;      // reliable messages waiting for their Ack; send() blocks at this number
  size_t max_inbox = 4096;        // received and not yet taken; bounded by credit, exceeding it is a protocol error
  double give_up_s = 0;           // no Welcome for this long: the link ends with an error; 0: never
};

// Owns one DEALER socket and one thread ("link"). Connects, says Hello, sends heartbeats, reconnects with back-off when
// the coordinator is silent for Welcome::timeout_ms or asks HelloAgain, and sends unacknowledged reliable messages
// again in their order after each Welcome. Nothing sent through a live Link is lost while the process lives.
class Link {
 public:
  explicit Link(LinkOptions options);
  ~Link();  // closes without waiting; unacknowledged messages are dropped (flush() first to keep them)

  // Blocks until the first Welcome. Throws Error with the coordinator's reason when refused, or after `seconds`.
  Welcome wait_welcome(double seconds);
  // Any thread. Blocks only while max_unacked reliable messages are unacknowledged (back-pressure). Which types are
  // reliable is fixed: Completion, LeaseReturned, Graded, Trained, Checkpointed. Others are sent at once when connected
  // and dropped when not (they are repeated by nature: credit, heartbeat, weights held, batch requests).
  void send(Message message);
  // The next message for this worker (Lease, GradeJob, Cancel, Batch, WeightsAvailable, Shutdown, NoMoreBatches, and
  // Welcome again after each reconnect: conversation state such as Credit starts anew then). Nothing after timeout.
  std::optional<Message> receive(std::chrono::milliseconds timeout);
  // Waits until everything reliable is acknowledged; false after `seconds`.
  bool flush(double seconds);
  // The link ended for good (refused, gave up): one line; "" while it lives.
  std::string ended() const;
  bool connected() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cohort
