#include "rollout/worker.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "rollout/engine.h"
#include "rollout/standing.h"
#include "rollout/weight_fetcher.h"
#include "transport/base/error.h"
#include "transport/base/log.h"
#include "transport/base/measure.h"
#include "transport/link.h"

namespace cohort {

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kIdleWait{20};
constexpr size_t kMaxUnacked = 1024;

class Worker {
 public:
  explicit Worker(const WorkerOptions& options) : options_(options), link_(link_options()) {}
  void run();

 private:
  LinkOptions link_options();
  std::string worker_name() const {
    return options_.name.empty() ? fmt::format("rollout-{}-{}", host_name(), getpid()) : options_.name;
  }
  void load(const Welcome& welcome);
  void loop();
  void handle(Message message);
  void on_lease(const Lease& lease);
  void on_shutdown(const Shutdown& shutdown);
  void return_leases(const std::vector<HeldLease>& leases, const std::string& error = "");
  void grant();
  void report_version();
  void leave();

  const WorkerOptions& options_;
  Standing standing_{kMaxUnacked};
  Link link_;
  RolloutOptions rollout_;
  WorkerModel model_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<WeightFetcher> weights_;
  uint64_t leases_received_ = 0, granted_ = 0;  // in this conversation
  bool leaving_ = false;
  std::string reason_;
};

LinkOptions Worker::link_options() {
  const std::string host = host_name();
  const std::string name = worker_name();
  LinkOptions o;
  o.endpoint = options_.endpoint;
  o.max_unacked = kMaxUnacked;
  o.give_up_s = options_.give_up_s;
  o.hello = [this, host, name] {
    Hello h;
    h.role = Role::rollout;
    h.name = name;
    h.host = host;
    h.pid = uint32_t(getpid());
    h.version = standing_.version;
    h.held = standing_.held();
    return h;
  };
  o.heartbeat = [this] {
    Heartbeat h;
    h.version = standing_.version;
    h.active = standing_.running;
    h.queued = standing_.waiting;
    h.tokens = standing_.tokens;
    h.busy_s = standing_.busy_s;
    h.wait_s = standing_.wait_s;
    h.cpu_s = cpu_seconds();
    h.rss_bytes = resident_bytes();
    return h;
  };
  return o;
}

void Worker::load(const Welcome& welcome) {
  TomlTable config = TomlTable::parse(welcome.config_toml, "run file");
  for (const std::string& assignment : options_.set) config.set(assignment);
  rollout_ = RolloutOptions::of_run(config);
  std::string folder = options_.model;
  if (folder.empty())
    if (auto table = config.get_table("model")) folder = table->get_string("path").value_or("");
  if (folder.empty()) fail_usage("the run file names no model.path; give one with --model");

  RunnerOptions o;
  o.max_slots = rollout_.max_num_seqs;
  o.max_context = rollout_.max_context;
  o.threads =
      rollout_.threads > 0 ? rollout_.threads : int32_t(std::max(1u, std::thread::hardware_concurrency()));
  o.device = rollout_.device;
  o.dtype = rollout_.dtype;
  o.max_step_tokens = rollout_.max_num_batched_tokens;
  o.batch_invariant = rollout_.batch_invariant;
  o.kv_memory_gib = rollout_.kv_memory_gib;
  model_ = options_.load_model(folder, o);
  EngineOptions e;
  e.max_num_batched_tokens = rollout_.max_num_batched_tokens;
  e.weight_sync = rollout_.weight_sync;
  engine_ = std::make_unique<Engine>(*model_.runner, model_.prompts->tokenizer(), e);
  standing_.version = model_.runner->version();
  weights_ =
      std::make_unique<WeightFetcher>(*model_.runner, *engine_, rollout_.weight_transport, worker_name());
}

void Worker::run() {
  const auto began = Clock::now();
  const auto undecided = [&] { return link_.conversations() == 0 && link_.ended().empty(); };
  while (undecided() && seconds_since(began) < options_.welcome_s) {
    if (options_.stop && options_.stop()) return log::info("asked to stop before the coordinator answered");
    std::this_thread::sleep_for(kIdleWait);
  }
  if (undecided())
    fail("no answer from the coordinator at {} within {:g} s: is it running?", options_.endpoint,
         options_.welcome_s);
  const Welcome welcome = link_.wait_welcome(1);  // it is there, or the reason why not
  load(welcome);
  log::info("joined run '{}' at {}: {} sequences at once, weights of version {}{}", welcome.run_id,
            options_.endpoint, rollout_.max_num_seqs, engine_->version(),
            model_.has_weights ? "" : " to come");
  loop();
  leave();
}

void Worker::loop() {
  while (true) {
    const bool work = model_.has_weights && !engine_->idle();
    const auto before = Clock::now();
    std::optional<Message> message = link_.receive(work ? std::chrono::milliseconds(0) : kIdleWait);
    if (!work) standing_.wait_s = standing_.wait_s + seconds_since(before);
    for (; message; message = link_.receive(std::chrono::milliseconds(0))) handle(std::move(*message));
    if (const std::string ended = link_.ended(); !ended.empty()) throw Error(ended);
    weights_->check();
    if (!leaving_ && options_.stop && options_.stop())
      on_shutdown({.drain = false, .reason = "asked to stop"});

    const auto began = Clock::now();
    const bool busy = !engine_->idle();
    std::vector<Completion> done = engine_->step();
    report_version();
    if (busy) standing_.busy_s = standing_.busy_s + seconds_since(began);
    for (Completion& c : done) {
      const GroupId group = c.group;
      const uint32_t index = c.index;
      link_.send(std::move(c));
      standing_.sent(group, index);
    }
    if (standing_.anything_sent() && link_.flush(0)) standing_.all_acknowledged();
    standing_.running = uint32_t(engine_->running());
    standing_.waiting = uint32_t(engine_->waiting());
    standing_.tokens = engine_->tokens_sampled();
    if (leaving_ && engine_->idle()) return;
    grant();
  }
}

void Worker::handle(Message message) {
  if (const auto* lease = std::get_if<Lease>(&message)) {
    ++leases_received_;
    on_lease(*lease);
  } else if (const auto* available = std::get_if<WeightsAvailable>(&message)) {
    weights_->announce(*available);
  } else if (const auto* cancel = std::get_if<Cancel>(&message)) {
    engine_->cancel(cancel->group);
    standing_.drop(cancel->group);
  } else if (const auto* shutdown = std::get_if<Shutdown>(&message)) {
    on_shutdown(*shutdown);
  } else if (std::holds_alternative<Welcome>(message)) {  // a new conversation counts from nothing
    leases_received_ = granted_ = 0;
    link_.send(WeightsHeld{standing_.version});
  } else {
    log::warn("a message that is not for a rollout worker was ignored (variant {})", message.index());
  }
}

void Worker::on_lease(const Lease& lease) {
  const std::vector<uint32_t> fresh = standing_.new_of(lease);
  if (fresh.empty()) return;
  if (leaving_) return return_leases({{lease.group, fresh}});
  standing_.take(lease.group, fresh);  // first of all: a Hello from here on must know it
  try {
    const auto record = nlohmann::ordered_json::parse(lease.prompt_json, nullptr, false);
    if (!record.is_object()) fail("the prompt's record is not a JSON object");
    EngineRequest request{lease.group, fresh, model_.prompts->encode(record), lease.sampling};
    engine_->add(std::move(request));
  } catch (const Error& e) {
    log::warn("group {} cannot be sampled: {}", lease.group, e.what());
    return_leases({{lease.group, lease.indices}}, e.what());
  }
}

void Worker::return_leases(const std::vector<HeldLease>& leases, const std::string& error) {
  for (const HeldLease& lease : leases) {
    link_.send(LeaseReturned{lease.group, lease.indices, error});
    standing_.drop(lease.group);
  }
}

void Worker::on_shutdown(const Shutdown& shutdown) {
  reason_ = shutdown.reason;
  leaving_ = true;
  std::vector<HeldLease> given = engine_->give_back(!shutdown.drain);
  for (const HeldLease& lease : given) link_.send(LeaseReturned{lease.group, lease.indices, ""});
  // of a group given back in part, the running rest stays held
  for (const HeldLease& lease : given) standing_.drop(lease.group);
  for (const HeldLease& lease : engine_->held()) standing_.take(lease.group, lease.indices);
}

// Credit for as many groups as keep every slot busy, and one group (or an eighth of the slots) ahead: a slot
// that becomes free finds its next sequence here, not a round trip away. Where prompts are computed together it is a quarter,
// so that there are several to compute.
void Worker::grant() {
  if (leaving_ || !model_.has_weights) return;
  const auto generations = uint64_t(rollout_.num_generations);
  const auto slots = uint64_t(model_.runner->max_slots());
  const uint64_t ahead = model_.runner->prompt_slots() > 0 ? slots / 4 : slots / 8;
  const uint64_t target = slots + std::max(generations, ahead);
  const uint64_t held = engine_->running() + engine_->waiting();
  const uint64_t groups = held < target ? (target - held + generations - 1) / generations : 0;
  const uint64_t grant = leases_received_ + groups;
  if (grant <= granted_) return;
  granted_ = grant;
  link_.send(Credit{granted_});
}

void Worker::report_version() {
  const bool first = !model_.has_weights && engine_->swapped();  // a learner that begins publishes version 0
  if (engine_->version() == standing_.version && !first) return;
  model_.has_weights = true;
  standing_.version = engine_->version();
  link_.send(WeightsHeld{standing_.version});
}

void Worker::leave() {
  weights_.reset();
  const bool all = link_.flush(options_.flush_s);
  if (!all) log::warn("left before the coordinator had taken every completion");
  link_.send(Goodbye{reason_});
  link_.close();
  log::info("left: {}", reason_.empty() ? "asked to" : reason_);
}

}  // namespace

void run_worker(const WorkerOptions& options) {
  Worker(options).run();
}

}  // namespace cohort
