// The staleness gate and batch rule: every group is consumed at a step k with k - birth <= max_staleness, and
// none is dropped to keep that. Pure state, no clock, no I/O; the coordinator asserts it, the property tests
// simulate it.
//
// O(u): outstanding (leased or later, not yet consumed) groups with birth <= u; k: the next step; B: groups a
// step; eta: max_staleness. Feasible iff for every u: O(u) <= B * (u + eta - k + 1).
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "transport/messages.h"

namespace cohort {

struct GateOptions {
  uint32_t groups_per_batch = 32;  // B
  uint32_t max_staleness = 2;      // eta; 0 is synchronous, on-policy
};

class StalenessGate {
 public:
  explicit StalenessGate(GateOptions options, uint32_t next_step = 0);
  // May a group be leased to a worker that holds `version`? Does not change anything.
  bool may_lease(Version version) const;
  // Throws std::logic_error unless may_lease(birth) and the group is new.
  void lease(GroupId group, Version birth);
  void restore(GroupId group, Version birth);  // from the ledger after a restart: no gate
  // The group's oldest token is of another version than the lease assumed. Raising a birth is always fine;
  // lowering it is done only when the state stays feasible. False, and nothing changed, when it would not.
  bool set_birth(GroupId group, Version birth);
  Version birth(GroupId group) const;
  bool contains(GroupId group) const { return groups_.contains(group); }
  void ready(GroupId group);  // all verdicts are in
  void leave(GroupId group);  // filtered or failed: its slot is free, it does not count to B
  // The groups step k takes, first come first served among those ready as long as k+1 stays feasible
  // afterwards; empty while it has to wait. Does not change anything.
  std::vector<GroupId> choose() const;
  // Delivered as step k: k becomes k+1. Throws std::logic_error if one of them would be too old or is not
  // ready.
  void consume(const std::vector<GroupId>& groups);
  uint32_t next_step() const { return next_step_; }
  size_t outstanding() const { return groups_.size(); }
  size_t ready_count() const { return ready_.size(); }
  bool feasible() const { return feasible_with(0, 0); }

 private:
  struct Entry {
    Version birth = 0;
    uint64_t ready_order = 0;  // 0: not ready
  };
  // Feasible for next_step_ + ahead if every group of birth >= `from` counted `extra` more (at its birth and
  // above)?
  bool feasible_with(Version from, int extra) const;
  void remove(std::map<GroupId, Entry>::iterator it);

  GateOptions options_;
  uint32_t next_step_;
  uint64_t order_ = 0;
  std::map<GroupId, Entry> groups_;
  std::map<Version, int64_t> births_;  // how many outstanding groups have this birth
  std::map<uint64_t, GroupId> ready_;  // by the order they became ready
};

}  // namespace cohort
