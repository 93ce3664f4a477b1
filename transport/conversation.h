// The coordinator's view of one conversation's reliable messages: what it may apply and what it may
// acknowledge. One object for each peer, made at its Hello. Pure state.
#pragma once

#include <cstdint>

namespace cohort {

class ReliableOrder {
 public:
  // A Link numbers its reliable messages 1, 2, 3 … over its whole life and begins every conversation with the
  // oldest that is not acknowledged: the first number of a conversation may be any, each later one is the
  // next. False: one before it is missing (it could not be read). Then apply nothing, acknowledge nothing of
  // this peer any more and answer HelloAgain: the worker begins anew with the missing one.
  bool in_order(uint64_t seq) {
    if (last_ != 0 && seq != last_ + 1) return false;
    last_ = seq;
    return true;
  }
  // The newest number received in order: what Ack carries once everything received so far is on disk.
  uint64_t last() const { return last_; }

 private:
  uint64_t last_ = 0;
};

}  // namespace cohort
