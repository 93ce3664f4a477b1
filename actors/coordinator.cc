// Data flow. One thread runs, again and again:
//
//   receive (waits for a message, for the ledger's commit or for the next timer)
//     -> handle(message): changes the state in memory, and writes the rows that say so as ONE ledger event
//     -> advance():       lets go what the ledger has committed, then gives out what can be given out
//
// What each part consumes, what it waits for, what unblocks it, how it ends:
//
//   leases     consume rollout credit and prompts; wait while the gate is closed for the weights the workers hold;
//              unblocked by a delivered batch, a filtered group or newer weights; end when the groups
//              outstanding are all that the remaining steps need, or at shutdown.
//   jobs       consume reward credit and sampled completions, earliest deadline first; wait for credit; end with
//              the groups.
//   batches    consume ready groups; a learner's request waits until the gate can choose; end at total_steps or
//              when winding down, with NoMoreBatches.
//   eval       consumes rollout credit before training does, when a version that is due was announced; not gated.
//   shutdown   leases and jobs stop, workers are told to leave, learners get NoMoreBatches at the first step no
//              rank was given, write a checkpoint and leave; ends when all have left or after shutdown_s.
//
// Acks and every message that follows from a state change wait in `outgoing_` until the ledger has committed that
// change. So nothing a worker was told can be undone by a crash: a lease exists before it is worked on, a completion
// before it is graded, a batch before a rank trains on it. docs/guarantees.md builds on this one rule.
#include "actors/coordinator.h"

#include <fmt/core.h>

#include <algorithm>

#include "transport/base/error.h"
#include "transport/base/log.h"

namespace cohort {
namespace {
// A worker whose connection broke tries again after 2 s at the latest (transport/link.cc).
constexpr double kComesBackSeconds = 3;
}  // namespace

Coordinator::Coordinator(CoordinatorConfig config, PromptFile train, PromptFile eval, Ledger& ledger,
                         Send send, double now)
    : config_(std::move(config)),
      train_(std::move(train)),
      eval_(std::move(eval)),
      order_(train_.size(), static_cast<uint64_t>(config_.run.seed), config_.data.shuffle),
      ledger_(ledger),
      send_(std::move(send)),
      gate_({static_cast<uint32_t>(config_.async.groups_per_batch),
             static_cast<uint32_t>(config_.async.max_staleness)},
            ledger.state().next_step),
      started_(now),
      last_advance_(now),
      metrics_(TomlTable::parse(config_.toml, "run file")) {
  restore();
  if (config_.run.eval_steps > 0 && eval_.size() > 0 && evals_.empty() && !eval_run_) start_eval(0, now);
  commit_rows();
}

void Coordinator::restore() {
  const LedgerState& state = ledger_.state();
  next_group_ = state.next_group;
  next_draw_ = state.next_draw;
  ready_order_ = state.ready_order;
  trained_ = trained_on_disk_ = state.trained_steps;
  checkpointed_ = state.checkpointed;
  evals_ = state.evals;
  for (const auto& [part, spent] : state.spent) metrics_.restore_spent(part, {spent.first, spent.second});
  // first come, first served survives: groups become ready again in their old order
  std::vector<const StoredGroup*> in_order;
  for (const StoredGroup& g : state.open) in_order.push_back(&g);
  std::stable_sort(in_order.begin(), in_order.end(), [](const StoredGroup* a, const StoredGroup* b) {
    return a->ready_order < b->ready_order;
  });
  const bool same_eval = restore_eval(in_order);
  for (const StoredGroup* g : in_order) {
    if (g->eval_version >= 0 && (!same_eval || static_cast<Version>(g->eval_version) != eval_run_->version))
      continue;
    restore_group(*g);
  }
  if (state.epoch > 1)
    log::info("continuing at step {}: {} outstanding groups, checkpoint covers {} steps", gate_.next_step(),
              groups_.size(), checkpointed_);
}

void Coordinator::restore_group(const StoredGroup& stored) {
  Group group;
  group.id = stored.group;
  group.eval = stored.eval_version >= 0;
  group.birth = stored.birth;
  group.draw = stored.draw;
  group.prompt = (group.eval ? eval_ : train_).by_line(stored.line);
  group.prompt_ids = stored.prompt_ids;
  group.slots.resize(stored.size);
  for (const auto& [index, c] : stored.completions) {
    Slot& slot = group.slots.at(index);
    slot.data = c.data;
    slot.attempts = c.attempts;
    slot.parts = c.parts;
    slot.reward = c.reward;
    slot.state = c.graded ? Slot::graded : Slot::sampled;
    ++group.n_sampled;
    group.n_graded += c.graded;
  }
  if (group.eval) {
    eval_run_->next = std::max(eval_run_->next, static_cast<size_t>(stored.draw) + 1);
    if (stored.state != "open") return eval_group_done(group, stored.state == "failed", started_);
  } else {
    gate_.restore(group.id, group.birth);
    if (stored.state == "ready") gate_.ready(group.id);
    sampling_groups_ += group.n_sampled < stored.size;
  }
  Group& kept = groups_.emplace(group.id, std::move(group)).first->second;
  for (uint32_t i = 0; i < kept.slots.size(); ++i) {
    if (kept.slots[i].state == Slot::wanted) want(kept, i, 0);
    if (kept.slots[i].state == Slot::sampled) queue_job(kept, i, 0);
  }
}

void Coordinator::post(const PeerId& peer, Message message) {
  outgoing_.push_back({ledger_.last() + (rows_.empty() ? 0 : 1), peer, std::move(message)});
}

void Coordinator::commit_rows() {
  if (!rows_.empty()) ledger_.write(std::exchange(rows_, {}));
}

void Coordinator::release(double now) {
  const Ticket committed = ledger_.committed();
  if (trained_ticket_ <= committed) trained_on_disk_ = trained_;
  std::vector<std::string> gone;
  for (auto& [name, w] : registry_.all()) {
    uint64_t seq = 0;
    while (!w.unacked.empty() && w.unacked.front().second <= committed) {
      seq = w.unacked.front().first;
      w.unacked.pop_front();
    }
    if (seq != 0 && !send_(w.peer, {0, Ack{seq}})) gone.push_back(name);
  }
  while (!outgoing_.empty() && outgoing_.front().ticket <= committed) {
    Outgoing out = std::move(outgoing_.front());
    outgoing_.pop_front();
    if (!send_(out.peer, {0, std::move(out.message)}))
      if (Worker* w = registry_.by_peer(out.peer)) gone.push_back(w->name);
  }
  for (const std::string& name : gone) lose(name, "its connection is gone", now);
}

void Coordinator::handle(const Incoming& incoming, double now) {
  const PeerId& peer = incoming.peer;
  if (const auto* hello = std::get_if<Hello>(&incoming.envelope.message)) {
    on_hello(peer, *hello, now);
    commit_rows();
    return;
  }
  if (std::holds_alternative<StatusRequest>(incoming.envelope.message)) {
    send_(peer, {0, Status{status_json(now)}});
    return;
  }
  Worker* worker = registry_.by_peer(peer);
  if (worker == nullptr) {
    if (!std::holds_alternative<Goodbye>(incoming.envelope.message)) send_(peer, {0, HelloAgain{}});
    return;
  }
  worker->heard = now;
  const std::string name = worker->name;
  dispatch(incoming, *worker, now);
  if (incoming.envelope.seq != 0)
    if (Worker* w = registry_.by_name(name))
      w->unacked.emplace_back(incoming.envelope.seq, ledger_.last() + (rows_.empty() ? 0 : 1));
  commit_rows();
}

void Coordinator::dispatch(const Incoming& incoming, Worker& worker, double now) {
  const Message& message = incoming.envelope.message;
  if (const auto* m = std::get_if<Heartbeat>(&message)) {
    take_heartbeat(worker, *m, now);
    send_(incoming.peer, {0, HeartbeatAck{}});
  } else if (const auto* m = std::get_if<Credit>(&message)) {
    worker.granted = std::max(worker.granted, m->granted);
  } else if (const auto* m = std::get_if<WeightsHeld>(&message)) {
    worker.version = m->version;
  } else if (const auto* m = std::get_if<Completion>(&message)) {
    on_completion(worker, *m, now);
  } else if (const auto* m = std::get_if<LeaseReturned>(&message)) {
    on_returned(worker, *m, now);
  } else if (const auto* m = std::get_if<Graded>(&message)) {
    on_graded(worker, *m, now);
  } else if (const auto* m = std::get_if<BatchRequest>(&message)) {
    on_request(worker, *m, now);
  } else if (const auto* m = std::get_if<Trained>(&message)) {
    on_trained(*m, now);
  } else if (const auto* m = std::get_if<Checkpointed>(&message)) {
    on_checkpointed(*m, now);
  } else if (const auto* m = std::get_if<Published>(&message)) {
    on_published(*m, now);
  } else if (const auto* m = std::get_if<Goodbye>(&message)) {
    lose(worker.name, m->reason.empty() ? "left" : "left: " + m->reason, now, /*in_order=*/true);
  } else {
    log::warn("{} sent a message that is not for a coordinator; ignored", worker.name);
  }
}

void Coordinator::on_hello(const PeerId& peer, const Hello& hello, double now) {
  const std::string& run_id = ledger_.state().run_id;
  std::string why;
  if (hello.protocol != Hello{}.protocol)
    why = fmt::format("protocol {} here, {} there: use programs of one build", Hello{}.protocol,
                      hello.protocol);
  else if (!hello.run_id.empty() && hello.run_id != run_id)
    why = fmt::format("this is run {}, the worker belongs to run {}", run_id, hello.run_id);
  else if (hello.role == Role::learner && hello.rank >= std::max<uint32_t>(1, hello.ranks))
    why = fmt::format("learner rank {} of {}", hello.rank, hello.ranks);
  else if (hello.role != Role::observer)
    why = registry_.refuse(hello, now, 2e-3 * config_.coordinator.heartbeat_ms);
  if (!why.empty()) {
    log::warn("refused {}: {}", hello.name, why);
    send_(peer, {0, Refused{why}});
    return;
  }
  const Welcome welcome{run_id,
                        ledger_.state().epoch,
                        config_.toml,
                        static_cast<uint32_t>(config_.coordinator.heartbeat_ms),
                        static_cast<uint32_t>(config_.coordinator.timeout_ms),
                        trained_on_disk_};
  if (!send_(peer, {0, welcome})) return;
  const Worker* before = registry_.by_name(hello.name);
  const bool known = before != nullptr;
  // another process under the same name: the old one is dead, with all it worked on
  if (known && (before->pid != hello.pid || before->host != hello.host))
    lose(hello.name, "was replaced by a new process", now);
  Worker& worker = registry_.join(peer, hello, now);
  missing_.erase(hello.name);
  log::info("{} {} ({}, pid {})", worker.name, known ? "is back" : "joined", worker.host, worker.pid);
  if (worker.role == Role::rollout) {
    hold_leases(worker, hello.held, now);
    if (shared_ && worker.version < shared_->version) post(peer, *shared_);
  } else if (worker.role == Role::reward) {
    hold_jobs(worker, hello.held_jobs, now);
  } else if (worker.role == Role::learner) {
    requests_.erase(worker.rank);
  }
  if (!shutdown_reason_.empty() && worker.role != Role::learner)
    post(peer, Shutdown{false, shutdown_reason_});
}

void Coordinator::lose(std::string name, const std::string& why, double now, bool in_order) {
  Worker* w = registry_.by_name(name);
  if (w == nullptr) return;
  log::info("{} {}", name, why);
  const Role role = w->role;
  const uint32_t rank = w->rank;
  registry_.remove(name);
  if (!in_order && role != Role::observer) {
    std::erase_if(missing_, [&](const auto& m) { return now - m.second >= kComesBackSeconds; });
    missing_[name] = now;
  }
  if (role == Role::learner) requests_.erase(rank);
  if (role == Role::rollout || role == Role::reward) release_slots(name, now, in_order);
}

void Coordinator::advance(double now) {
  ledger_.check();
  release(now);
  for (const std::string& name : registry_.silent(now, 1e-3 * config_.coordinator.timeout_ms))
    lose(name, fmt::format("was silent for {} s and counts as gone", config_.coordinator.timeout_ms / 1000.0),
         now);
  for (const auto& [rank, request] : requests_)
    if (request.step == gate_.next_step() && stop_step_ < 0) {
      learner_wait_s_ += now - last_advance_;
      break;
    }
  last_advance_ = now;
  if (shutdown_reason_.empty()) {
    if (published_ && (!shared_ || shared_->version != published_->version) && starving())
      share_weights(now, true);
    lease_work(now);
    send_jobs(now);
  }
  serve_requests(now);
  commit_rows();
  if (hopeless()) begin_shutdown(failure_, now);
  if (complete() && !final_eval_pending(now)) begin_shutdown("the run is complete", now);
  release(now);  // what needed no row, or was committed meanwhile
}

void Coordinator::begin_shutdown(const std::string& reason, double now, bool drain_grading) {
  if (!shutdown_reason_.empty()) return;
  log::info("shutting down: {}", reason);
  shutdown_reason_ = reason;
  shutdown_deadline_ = now + config_.coordinator.shutdown_s;
  int64_t served = -1;
  for (const auto& [name, w] : registry_.all())
    if (w.role == Role::learner) served = std::max(served, w.served);
  stop_step_ = served + 1;  // a step that one rank was given is given to all: none waits for another for ever
  for (const auto& [name, w] : registry_.all())
    if (w.role == Role::rollout || w.role == Role::reward)
      post(w.peer, Shutdown{drain_grading && w.role == Role::reward, reason});
}

bool Coordinator::finished(double now) const {
  if (shutdown_reason_.empty()) return false;
  if (now > shutdown_deadline_) return true;
  for (const auto& [name, w] : registry_.all())
    if (w.role != Role::observer) return false;
  // One that is just connecting again would look for a coordinator for ever.
  return std::none_of(missing_.begin(), missing_.end(),
                      [&](const auto& m) { return now - m.second < kComesBackSeconds; });
}

void Coordinator::farewell(const std::vector<Incoming>& late, double now) {
  for (const Incoming& incoming : late)
    if (std::holds_alternative<Hello>(incoming.envelope.message))
      send_(incoming.peer, {0, Refused{"the run is over: " + shutdown_reason_}});
  const std::string status = status_json(now);
  for (const auto& [name, w] : registry_.all())
    if (w.role == Role::observer) send_(w.peer, {0, Status{status}});
}

}  // namespace cohort
