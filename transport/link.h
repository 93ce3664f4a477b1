// A worker's side of the conversation with the coordinator: rollout, reward and learner all hold one Link.
//
// A *conversation* is one connection from its Hello to its end (docs/protocol.md). The Link begins a new one,
// with a new socket and after a back-off of 50 ms doubling to 2 s, whenever the connection breaks, the
// coordinator is silent for Welcome::timeout_ms, or it asks HelloAgain.
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
  // Called on the link's thread before every Hello (first and after each reconnect): role, name and what is
  // held now. Must not block and must not call the Link. An empty run_id is filled in from the first Welcome.
  std::function<Hello()> hello;
  // Called on the link's thread once every heartbeat interval. Same rules.
  std::function<Heartbeat()> heartbeat;
  size_t max_unacked = 1024;  // reliable messages waiting for their Ack; send() blocks at this number
  size_t max_inbox = 4096;  // received and not yet taken; bounded by credit, exceeding it is a protocol error
  double give_up_s = 0;     // no Welcome for this long: the link ends with an error; 0: never
};

// Owns one DEALER socket and one thread ("link"). Nothing sent through a live Link is lost while the process
// lives: each reliable message is kept until its Ack, and after every Welcome all that are kept go out again
// in their order.
class Link {
 public:
  // Throws Error for an endpoint that is none. Does not wait for the connection.
  explicit Link(LinkOptions options);
  ~Link();  // close()

  // Blocks until the first Welcome. Throws Error with the coordinator's reason when refused, or after
  // `seconds`.
  Welcome wait_welcome(double seconds);
  // Any thread. Blocks only while max_unacked reliable messages are unacknowledged (back-pressure). Which
  // types are reliable is fixed: Completion, LeaseReturned, Graded, Trained, Checkpointed (is_reliable).
  // Throws Error for one that check() refuses, and with the link's reason when a reliable message is sent on
  // a link that ended. The others are sent at once when connected and dropped when not, the newest of a type
  // winning while the socket takes no more: each stands for all before it (credit, weights held, …). Two of
  // them the Link repeats after each Welcome by itself: the last Published, and a BatchRequest until its
  // answer was taken.
  void send(Message message);
  // The next message for this worker (Lease, GradeJob, Cancel, Batch, WeightsAvailable, Shutdown,
  // NoMoreBatches, and Welcome again after each reconnect: conversation state such as Credit starts anew
  // then). Nothing after timeout, and at once when the link ended and nothing is left: look at ended() then.
  // What an earlier conversation sent and nobody took before the next Hello is dropped (hello() did not count
  // it as held, so the coordinator gives it out again), except Shutdown and NoMoreBatches. A Credit sent
  // before its conversation's Welcome was taken here is dropped: it still counts the conversation before.
  std::optional<Message> receive(std::chrono::milliseconds timeout);
  // Waits until everything reliable is acknowledged; false after `seconds`, or when the link ended before.
  bool flush(double seconds);
  // Any thread. Ends the link: every blocked call returns. What was sent and is not on its way yet gets one
  // try and at most 200 ms; unacknowledged messages are dropped (flush() first to keep them).
  void close();
  // The link ended for good (refused, gave up, closed): one line; "" while it lives.
  std::string ended() const;
  bool connected() const;
  // How many conversations began, 1 after the first Welcome.
  uint64_t conversations() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cohort
