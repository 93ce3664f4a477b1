// The coordinator's side of the sockets.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "transport/messages.h"

namespace cohort {

using PeerId = std::string;  // ZeroMQ routing id; a reconnected worker has a new one

struct Incoming {
  PeerId peer;
  Envelope envelope;
};

// One bound ROUTER socket. Used by one thread only.
// It cannot lose a message: ROUTER_MANDATORY makes a send to a peer that left an answer (false) and not a
// silent drop, and what is in flight to a peer is bounded by credit, far below the high-water mark. It cannot
// block for ever: sends never wait, receives take a timeout.
class Router {
 public:
  // endpoint: "tcp://0.0.0.0:5555"; port "*" or 0 picks a free one. Throws Error naming the endpoint when it
  // is in use.
  explicit Router(const std::string& endpoint);
  ~Router();
  // The endpoint others can connect to: the bound port with this host's address (127.0.0.1 when bound to
  // loopback).
  const std::string& endpoint() const;
  // False when the peer is gone (or does not take more): the caller treats the worker as lost. Throws Error
  // for a message that check() refuses.
  bool send(const PeerId& peer, const Envelope& envelope);
  // All messages that are there, after waiting at most timeout_ms for the first (-1: for ever) or for wake_fd
  // to be readable. A message that does not decode is logged and counted, and dropped: its sender sends it
  // again.
  std::vector<Incoming> receive(int timeout_ms, int wake_fd = -1);
  uint64_t malformed() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cohort
