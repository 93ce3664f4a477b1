// A whole run in one thread: the real Coordinator on a real ledger file, with fake rollout, reward and
// learner processes around it, a network that may break, a clock that is only a number, and kills of anything
// at any point. A killed coordinator loses all that its ledger had not committed; a killed worker loses all
// it had.
#pragma once

#include <unistd.h>

#include <deque>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "actors/coordinator.h"
#include "transport/base/error.h"

namespace cohort::testing {

struct FakeRunOptions {
  uint64_t seed = 1;
  CoordinatorConfig config;
  size_t rollouts = 2, rewards = 2, ranks = 2;
  double filtered = 0.2;      // share of groups whose rewards are all equal
  double infra_error = 0.02;  // share of gradings that fail through no fault of the candidate
  double crash_coordinator = 0, crash_rollout = 0, crash_reward = 0, crash_learner = 0, cut_link = 0,
         crash_all = 0;  // a tick
};

inline std::string temp_dir(const std::string& name) {
  // memory where there is some: hundreds of ledgers are made
  const std::string root = std::filesystem::is_directory("/dev/shm") ? "/dev/shm" : ::testing::TempDir();
  const std::string dir = root + "/cohort-test-" + std::to_string(::getpid()) + "-" + name;
  std::filesystem::remove_all(dir);
  std::filesystem::create_directories(dir);
  return dir;
}

inline void write_prompts(const std::string& path, size_t n, const std::string& tag) {
  std::ofstream out(path);
  for (size_t i = 0; i < n; ++i) out << "{\"id\":\"" << tag << i << "\",\"prompt\":\"" << i << "\"}\n";
}

// What the fake grader says: a function of the text alone.
inline double grade(const std::string& text) {
  return static_cast<double>(std::hash<std::string>{}(text) % 5) / 4;
}

class FakeRun {
 public:
  // A worker's Link: reliable messages are kept until acknowledged and sent again after each Welcome.
  struct Peer {
    std::string name;
    Role role = Role::rollout;
    uint32_t pid = 0, rank = 0;
    PeerId id;
    bool welcomed = false;
    uint32_t trained_steps = 0;  // of its Welcome
    double said_hello = -1e9;
    uint64_t seq = 0;
    std::deque<Envelope> unacked;
    std::deque<Message> inbox;
    double last_beat = 0;
  };
  struct Rollout : Peer {
    Version version = 0;
    struct Active {
      GroupId group;
      uint32_t index;
      std::string prompt;
      bool eval;
      double done_at;
      std::vector<VersionRun> versions;
    };
    std::vector<Active> active;
    uint64_t granted = 0, leases = 0;
    std::map<GroupId, size_t> open;
    double swap_at = -1;
    Version coming = 0;
  };
  struct Reward : Peer {
    struct Job {
      GradeJob job;
      double done_at;
    };
    std::vector<Job> jobs;
    uint64_t granted = 0;
  };
  struct Rank : Peer {
    uint32_t step = 0;
    std::optional<Batch> batch;
    double asked = -1e9;
    bool left = false;
  };

  explicit FakeRun(FakeRunOptions options, const std::string& dir)
      : options_(std::move(options)), dir_(dir), rng_(options_.seed) {
    start_coordinator();
    for (size_t i = 0; i < options_.rollouts; ++i)
      rollouts_.emplace_back(), restart(rollouts_.back(), Role::rollout, "rollout", i);
    for (size_t i = 0; i < options_.rewards; ++i)
      rewards_.emplace_back(), restart(rewards_.back(), Role::reward, "reward", i);
    ranks_.resize(options_.ranks);
    restart_learner();
  }
  ~FakeRun() {
    coordinator_.reset();
    if (ledger_) ledger_->abandon();
  }

  // Advances everything by one tick.
  void tick() {
    now_ += 0.01 + 0.02 * uniform();
    crash_something();
    for (Rollout& r : rollouts_) run_rollout(r);
    for (Reward& r : rewards_) run_reward(r);
    run_learner();
    deliver();
    if (coordinator_) coordinator_->advance(now_);
    if (rng_() % 3 == 0) ledger_->commit_now();  // a commit takes a while: what waits for it must wait
    if (coordinator_) coordinator_->advance(now_);
  }
  // Until the coordinator has ended in order; false when it did not within `ticks`.
  bool run(size_t ticks) {
    for (size_t i = 0; i < ticks; ++i) {
      tick();
      if (finished()) {
        ledger_->commit_now();
        return true;
      }
    }
    return false;
  }
  bool finished() const { return coordinator_->finished(now_); }

  // What the learner really trained on, by step, in its present lineage.
  struct TrainedStep {
    std::vector<GroupId> groups;
    std::map<std::pair<GroupId, uint32_t>, std::string> samples;  // token ids as text
    bool operator==(const TrainedStep&) const = default;
  };
  std::map<uint32_t, TrainedStep> lineage;
  std::map<uint32_t, TrainedStep> first_delivery;
  uint32_t max_lag = 0;
  uint64_t crashes = 0, redelivered = 0;

  Coordinator& coordinator() { return *coordinator_; }
  double now() const { return now_; }
  uint64_t leases_seen = 0;
  uint32_t most_leased_groups = 0;
  std::vector<Version> weights_announced;
  std::function<bool(const GradeJob&, const std::string& worker)> break_grading;  // true: infra_error

  void stop_coordinator_in_order() { coordinator_->begin_shutdown("test", now_); }
  void crash_coordinator() {
    ++crashes;
    coordinator_.reset();
    ledger_->abandon();
    ledger_.reset();
    wire_.clear();
    for (Rollout& r : rollouts_) lose_link(r);
    for (Reward& r : rewards_) lose_link(r);
    for (Rank& r : ranks_) lose_link(r);
    start_coordinator();
  }
  void kill_rollout(size_t i) {
    ++crashes, restart(rollouts_[i], Role::rollout, "rollout", i), rollouts_[i].version = 0;
  }
  void kill_reward(size_t i) { ++crashes, restart(rewards_[i], Role::reward, "reward", i); }
  void kill_learner() { ++crashes, restart_learner(); }

 private:
  double uniform() { return std::uniform_real_distribution<>(0, 1)(rng_); }
  double heavy(double scale) { return std::min(200.0, scale * std::pow(1 - uniform(), -0.8)); }

  void start_coordinator() {
    PromptFile train(options_.config.data.train), eval;
    if (!options_.config.data.eval.empty()) eval = PromptFile(options_.config.data.eval);
    LedgerOptions ledger{dir_};
    ledger.background = false;
    ledger.fsync = false;
    ledger_ = std::make_unique<Ledger>(ledger, RunIdentity{"test", options_.config.toml, train.hash()});
    coordinator_ = std::make_unique<Coordinator>(
        options_.config, train, eval, *ledger_,
        [this](const PeerId& peer, const Envelope& e) { return to_worker(peer, e); }, now_);
  }

  // ---- links
  template <class P>
  void restart(P& p, Role role, const std::string& kind, size_t i) {
    const std::string name = kind + "-" + std::to_string(i);
    if (!p.id.empty()) by_id_.erase(p.id);
    drop_wire(p.id);
    p = P{};
    p.name = name;
    p.role = role;
    p.rank = static_cast<uint32_t>(i);
    p.pid = ++pids_;
  }
  void drop_wire(const PeerId& id) {
    std::erase_if(wire_, [&](const Incoming& m) { return m.peer == id; });
  }
  void lose_link(Peer& p) {
    by_id_.erase(p.id);
    drop_wire(p.id);
    p.id.clear();
    p.welcomed = false;
    p.inbox.clear();
    p.said_hello = -1e9;
  }
  bool to_worker(const PeerId& id, const Envelope& e) {
    auto it = by_id_.find(id);
    if (it == by_id_.end()) return false;
    Peer& p = *it->second;
    if (const auto* ack = std::get_if<Ack>(&e.message)) {
      while (!p.unacked.empty() && p.unacked.front().seq <= ack->seq) p.unacked.pop_front();
    } else if (std::holds_alternative<HelloAgain>(e.message)) {
      p.welcomed = false;
      p.said_hello = -1e9;
    } else if (std::holds_alternative<Refused>(e.message)) {
      throw std::logic_error(p.name + " was refused: " + std::get<Refused>(e.message).reason);
    } else {
      p.inbox.push_back(e.message);
    }
    return true;
  }
  static bool reliable(const Message& m) {
    return std::holds_alternative<Completion>(m) || std::holds_alternative<LeaseReturned>(m) ||
           std::holds_alternative<Graded>(m) || std::holds_alternative<Trained>(m) ||
           std::holds_alternative<Checkpointed>(m);
  }
  void send(Peer& p, Message m) {
    Envelope e{0, std::move(m)};
    if (reliable(e.message)) {
      e.seq = ++p.seq;
      p.unacked.push_back(e);
    }
    if (p.welcomed) wire_.push_back({p.id, std::move(e)});
  }
  // Says Hello when it has to. True when Welcome was just received.
  bool greet(Peer& p, const Hello& hello) {
    if (p.id.empty()) {
      p.id = "peer" + std::to_string(++ids_);
      by_id_[p.id] = &p;
    }
    bool welcomed = false;
    for (auto it = p.inbox.begin(); it != p.inbox.end();)
      if (const auto* welcome = std::get_if<Welcome>(&*it)) {
        p.welcomed = welcomed = true;
        p.trained_steps = welcome->trained_steps;
        it = p.inbox.erase(it);
      } else {
        ++it;
      }
    if (welcomed)
      for (const Envelope& e : p.unacked) wire_.push_back({p.id, e});
    if (!p.welcomed && now_ - p.said_hello > 1) {
      p.said_hello = now_;
      wire_.push_back({p.id, {0, hello}});
    }
    if (p.welcomed && now_ - p.last_beat > 0.5) {
      p.last_beat = now_;
      Heartbeat beat;
      beat.version = hello.version;
      send(p, beat);
    }
    return welcomed;
  }
  Hello hello_of(const Peer& p) const {
    Hello h;
    h.role = p.role;
    h.name = p.name;
    h.pid = p.pid;
    h.rank = p.rank;
    h.ranks = static_cast<uint32_t>(options_.ranks);
    h.host = "here";
    return h;
  }
  // Any number of the waiting messages, each peer's in their order.
  void deliver() {
    size_t n = wire_.empty() ? 0 : rng_() % (wire_.size() + 1);
    while (n-- > 0) {
      Incoming m = std::move(wire_.front());
      wire_.pop_front();
      coordinator_->handle(m, now_);
    }
  }
  template <class T>
  std::optional<Message> next(T& p) {
    if (p.inbox.empty()) return {};
    Message m = std::move(p.inbox.front());
    p.inbox.pop_front();
    return m;
  }

  void run_rollout(Rollout& r);
  void run_reward(Reward& r);
  void run_learner();
  void restart_learner();
  void train(uint32_t step);
  void crash_something();

  FakeRunOptions options_;
  std::string dir_;
  std::mt19937_64 rng_;
  double now_ = 100;
  uint32_t pids_ = 0;
  uint64_t ids_ = 0, nonce_ = 0;
  std::unique_ptr<Ledger> ledger_;
  std::unique_ptr<Coordinator> coordinator_;
  std::deque<Incoming> wire_;
  std::map<PeerId, Peer*> by_id_;
  std::deque<Rollout> rollouts_;
  std::deque<Reward> rewards_;
  std::deque<Rank> ranks_;
  uint32_t checkpoint_on_disk_ = 0;  // survives a kill of the learner
  uint32_t learner_step_ = 0;
  double train_until_ = -1;
  bool published_again_ = false;
};

}  // namespace cohort::testing
