#include "actors/registry.h"

#include <fmt/core.h>

#include <cmath>

namespace cohort {

Worker& Registry::join(const PeerId& peer, const Hello& hello, double now) {
  auto [it, fresh] = workers_.try_emplace(hello.name);
  Worker& w = it->second;
  const bool same_process = !fresh && w.pid == hello.pid && w.host == hello.host;
  if (!fresh) names_.erase(w.peer);
  if (!same_process) {
    w = Worker{};
    w.joined = now;
  }
  w.name = hello.name;
  w.role = hello.role;
  w.peer = peer;
  w.host = hello.host;
  w.pid = hello.pid;
  w.rank = hello.rank;
  w.ranks = hello.ranks;
  w.version = hello.version;
  w.heard = now;
  w.granted = w.sent = w.answered = 0;
  w.unacked.clear();
  names_[peer] = hello.name;
  return w;
}

std::string Registry::refuse(const Hello& hello, double now, double alive_s) const {
  auto it = workers_.find(hello.name);
  if (it == workers_.end()) return "";
  const Worker& w = it->second;
  if (w.host != hello.host && now - w.heard < alive_s)
    return fmt::format("the name {} is held by a live worker on {}; give this one another --name", hello.name,
                       w.host);
  return "";
}

Worker* Registry::by_peer(const PeerId& peer) {
  auto it = names_.find(peer);
  return it == names_.end() ? nullptr : &workers_.at(it->second);
}

Worker* Registry::by_name(const std::string& name) {
  auto it = workers_.find(name);
  return it == workers_.end() ? nullptr : &it->second;
}

void Registry::remove(const std::string& name) {
  auto it = workers_.find(name);
  if (it == workers_.end()) return;
  names_.erase(it->second.peer);
  workers_.erase(it);
}

std::vector<std::string> Registry::silent(double now, double timeout_s) const {
  std::vector<std::string> out;
  for (const auto& [name, w] : workers_)
    if (now - w.heard > timeout_s) out.push_back(name);
  return out;
}

size_t Registry::count(Role role) const {
  size_t n = 0;
  for (const auto& [name, w] : workers_) n += w.role == role;
  return n;
}

void take_heartbeat(Worker& w, const Heartbeat& beat, double now) {
  if (w.beat_at > 0 && now > w.beat_at && beat.tokens >= w.beat.tokens) {
    const double seconds = now - w.beat_at;
    const double rate = static_cast<double>(beat.tokens - w.beat.tokens) / seconds;
    const double keep = std::exp(-seconds / 10);
    w.tokens_per_s = w.tokens_per_s == 0 ? rate : keep * w.tokens_per_s + (1 - keep) * rate;
  }
  w.beat = beat;
  w.beat_at = now;
  if (w.role == Role::rollout) w.version = beat.version;
}

}  // namespace cohort
