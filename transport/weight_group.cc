#include "transport/weight_group.h"

#include <fmt/ranges.h>
#include <xxhash.h>

#include <algorithm>

#include "transport/base/error.h"
#include "transport/base/log.h"

namespace cohort {

uint64_t communicator_number(const std::string& id) {
  return id.empty() ? 0 : XXH3_64bits(id.data(), id.size());
}

void WeightGroup::ask(const Member& member, double now) {
  const auto [at, fresh] = asked_.try_emplace(member.peer, Ask{member, now});
  if (!fresh) at->second.member = member;
}

void WeightGroup::finished(const std::string& peer, uint64_t round, bool ok) {
  if (!round_on_ || round != round_) return;
  const auto found = round_members_.find(peer);
  if (found == round_members_.end()) return;
  if (!ok && failure_.empty()) failure_ = fmt::format("{} could not receive", found->second);
  round_members_.erase(found);
}

bool WeightGroup::gathered(double now) const {
  std::set<std::string> devices;
  double first = now;
  for (const auto& [peer, ask] : asked_) {
    first = std::min(first, ask.since);
    if (!id_.empty() && ask.member.holds == communicator_number(id_)) devices.insert(ask.member.device);
  }
  return (size_ > 0 && devices.size() == size_) || now - first >= options_.gather_s;
}

void WeightGroup::refuse_impatient(double now, const char* reason, Told& told) {
  std::erase_if(asked_, [&](const auto& entry) {
    if (now - entry.second.since < options_.patience_s) return false;
    told.refused.push_back({entry.first, reason});
    return true;
  });
}

// A new communicator of these. False: NCCL could not make an id.
bool WeightGroup::renew(const std::vector<Member>& seats) {
  if (!id_.empty()) root_->abort();
  id_.clear(), size_ = 0;
  try {
    id_ = root_->make_id();
  } catch (const Error& e) {
    log::warn("weights: no communicator: {}", e.what());
    return false;
  }
  ++communicators_;
  size_ = seats.size();
  std::set<std::string> names, left, joined;
  for (const Member& m : seats) names.insert(m.name);
  std::ranges::set_difference(names_, names, std::inserter(left, left.end()));
  std::ranges::set_difference(names, names_, std::inserter(joined, joined.end()));
  log::info("weights: a new communicator of the learner and {} worker(s); joined: {}; left: {}", size_,
            joined.empty() ? "nobody" : fmt::format("{}", fmt::join(joined, ", ")),
            left.empty() ? "nobody" : fmt::format("{}", fmt::join(left, ", ")));
  names_ = std::move(names);
  return true;
}

void WeightGroup::open(double now, const Source& source, Told& told) {
  std::vector<Member> seats;
  std::set<std::string> taken{source.device};
  bool same = !id_.empty();
  for (const auto& [peer, ask] : asked_) {
    if (!taken.insert(ask.member.device).second) {
      told.refused.push_back({peer, ask.member.device == source.device
                                        ? "NCCL takes one rank a GPU, and the learner has this one"
                                        : "NCCL takes one rank a GPU, and another worker has this one"});
      continue;
    }
    same &= ask.member.holds == communicator_number(id_);
    seats.push_back(ask.member);
  }
  asked_.clear();
  if (seats.empty()) return;
  if ((!same || seats.size() != size_) && !renew(seats)) {
    for (const Member& m : seats)
      told.refused.push_back({m.peer, "the learner could not make a communicator"});
    return;
  }
  ++round_;
  round_on_ = true;
  failure_.clear();
  began_ = now, version_ = source.version;
  round_members_.clear();
  int rank = 0;
  for (const Member& m : seats) {
    round_members_.emplace(m.peer, m.name);
    told.invites.push_back({m.peer, round_, id_, ++rank, int(seats.size()) + 1});
  }
  root_->start(id_, 0, int(seats.size()) + 1, source.data, source.bytes);
}

void WeightGroup::give_up(const std::string& why, Told& told) {
  std::vector<std::string> names;
  for (const auto& [peer, name] : round_members_) {
    names.push_back(name);
    told.ended.push_back(peer);
  }
  log::warn(
      "weights of version {}: the broadcast was given up ({}); not finished: {}; who asks again gets them",
      version_, why, names.empty() ? "nobody" : fmt::format("{}", fmt::join(names, ", ")));
  told.ended_round = round_;
  round_on_ = false;
  root_->abort();
  id_.clear(), size_ = 0;
}

WeightGroup::Told WeightGroup::tick(double now, const std::optional<Source>& source) {
  Told told;
  if (round_on_) {
    const Broadcaster::State state = root_->poll();
    if (state == Broadcaster::State::done)
      round_on_ = false, ++completed_;
    else if (state == Broadcaster::State::failed)
      give_up("the learner's end: " + root_->error(), told);
    else if (!failure_.empty())
      give_up(failure_, told);
    else if (now - began_ >= options_.timeout_s)
      give_up(fmt::format("no end after {:g} s", options_.timeout_s), told);
  }
  if (round_on_)
    refuse_impatient(now, "a broadcast to others hangs", told);
  else if (!source)
    refuse_impatient(now, "the learner has no buffer free to send them from", told);
  else if (!asked_.empty() && gathered(now))
    open(now, *source, told);
  return told;
}

}  // namespace cohort
