#include "actors/gate.h"

#include <fmt/core.h>

#include <set>
#include <stdexcept>

namespace cohort {

StalenessGate::StalenessGate(GateOptions options, uint32_t next_step)
    : options_(options), next_step_(next_step) {}

// The bound B * (u + eta - k + 1) grows with u and O(u) only changes at births, so it is enough to look at
// the births themselves. `extra` groups of birth `from` are counted on top.
bool StalenessGate::feasible_with(Version from, int extra) const {
  const int64_t B = options_.groups_per_batch;
  const int64_t shift = int64_t{options_.max_staleness} - next_step_ + 1;
  int64_t outstanding = 0;
  bool added = extra == 0;
  for (const auto& [birth, count] : births_) {
    if (!added && birth >= from) {
      if (birth > from && outstanding + extra > B * (from + shift)) return false;
      outstanding += extra;
      added = true;
    }
    outstanding += count;
    if (outstanding > B * (birth + shift)) return false;
  }
  return added || outstanding + extra <= B * (from + shift);
}

bool StalenessGate::may_lease(Version version) const {
  return feasible_with(version, 1);
}

void StalenessGate::lease(GroupId group, Version birth) {
  if (!may_lease(birth))
    throw std::logic_error(fmt::format("gate: group {} of version {} leased against the gate at step {}",
                                       group, birth, next_step_));
  restore(group, birth);
}

void StalenessGate::restore(GroupId group, Version birth) {
  if (!groups_.emplace(group, Entry{birth, 0}).second)
    throw std::logic_error(fmt::format("gate: group {} leased twice", group));
  ++births_[birth];
}

bool StalenessGate::set_birth(GroupId group, Version birth) {
  Entry& entry = groups_.at(group);
  if (birth == entry.birth) return true;
  auto move = [&](Version to) {
    if (--births_[entry.birth] == 0) births_.erase(entry.birth);
    ++births_[to];
    entry.birth = to;
  };
  const Version before = entry.birth;
  move(birth);
  if (birth > before || feasible()) return true;
  move(before);
  return false;
}

Version StalenessGate::birth(GroupId group) const {
  return groups_.at(group).birth;
}

void StalenessGate::ready(GroupId group) {
  Entry& entry = groups_.at(group);
  if (entry.ready_order != 0) return;
  entry.ready_order = ++order_;
  ready_[entry.ready_order] = group;
}

void StalenessGate::remove(std::map<GroupId, Entry>::iterator it) {
  if (--births_[it->second.birth] == 0) births_.erase(it->second.birth);
  if (it->second.ready_order != 0) ready_.erase(it->second.ready_order);
  groups_.erase(it);
}

void StalenessGate::leave(GroupId group) {
  auto it = groups_.find(group);
  if (it == groups_.end())
    throw std::logic_error(fmt::format("gate: group {} leaves but is not here", group));
  remove(it);
}

// k+1 is feasible afterwards iff for every u at least O(u) - B*(u + eta - k) groups of birth <= u are taken.
// Going up through the births and topping up what is missing from those ready longest takes as few as can be
// for that (their number is the largest of these needs, at most B because k is feasible); first come, first
// served fills the rest.
std::vector<GroupId> StalenessGate::choose() const {
  const size_t B = options_.groups_per_batch;
  if (ready_.size() < B) return {};
  const int64_t shift = int64_t{options_.max_staleness} - next_step_;
  std::set<uint64_t> taken;  // ready orders
  int64_t outstanding = 0;
  for (const auto& [birth, count] : births_) {
    outstanding += count;
    const int64_t need = outstanding - int64_t(B) * (birth + shift);
    if (need <= 0) continue;
    int64_t have = 0;  // everything taken so far has birth <= this one
    have = static_cast<int64_t>(taken.size());
    for (auto it = ready_.begin(); it != ready_.end() && have < need; ++it) {
      if (groups_.at(it->second).birth > birth || taken.contains(it->first)) continue;
      taken.insert(it->first);
      ++have;
    }
    if (have < need) return {};  // an old group is still being sampled or graded: the step waits for it
  }
  for (auto it = ready_.begin(); it != ready_.end() && taken.size() < B; ++it) taken.insert(it->first);
  if (taken.size() != B) return {};
  std::vector<GroupId> out;
  for (uint64_t order : taken) out.push_back(ready_.at(order));
  return out;
}

void StalenessGate::consume(const std::vector<GroupId>& groups) {
  for (GroupId group : groups) {
    auto it = groups_.find(group);
    if (it == groups_.end() || it->second.ready_order == 0)
      throw std::logic_error(fmt::format("gate: group {} consumed but not ready", group));
    if (int64_t{next_step_} - it->second.birth > options_.max_staleness)
      throw std::logic_error(
          fmt::format("gate: group {} of version {} would be consumed at step {}, past max_staleness {}",
                      group, it->second.birth, next_step_, options_.max_staleness));
    remove(it);
  }
  ++next_step_;
}

}  // namespace cohort
