#include "reward/worker.h"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <tuple>

#include "transport/base/error.h"
#include "transport/base/log.h"
#include "transport/base/measure.h"
#include "transport/link.h"

namespace cohort {
namespace {

using Clock = std::chrono::steady_clock;
constexpr double kAheadSeconds = 0.05;
constexpr double kMostAhead = 64;
constexpr size_t kMaxUnacked = 1024;

// A job the worker holds, queued or being graded. Shared with the thread that grades it.
struct Held {
  GradeJob job;
  std::atomic<bool> cancelled = false;
  bool running = false;
  Clock::time_point came = Clock::now();
};

class RewardWorker {
 public:
  explicit RewardWorker(const RewardWorkerOptions& options) : options_(options), link_(link_options()) {}
  ~RewardWorker() { stop_graders(); }

  void run() {
    const Welcome welcome = link_.wait_welcome(options_.welcome_s);
    const TomlTable config = TomlTable::parse(welcome.config_toml, "run file");
    rewards_ =
        make_reward_list(config.get_tables("reward").value_or(std::vector<TomlTable>{}), welcome.run_id);
    int concurrency = options_.concurrency;
    if (auto grading = config.get_table("grading"); concurrency == 0 && grading)
      concurrency = static_cast<int>(grading->get_int("concurrency").value_or(0));
    if (concurrency <= 0) concurrency = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
    {
      std::lock_guard lock(mutex_);
      concurrency_ = concurrency;
    }
    for (int i = 0; i < concurrency; ++i)
      graders_.emplace_back([this, i] {
        pthread_setname_np(pthread_self(), fmt::format("grader-{}", i).c_str());
        grade_loop();
      });
    log::info("joined run '{}' at {}: {} rewards, {} at once", welcome.run_id, options_.endpoint,
              rewards_.specs.size(), concurrency);
    {
      std::lock_guard lock(mutex_);
      grant(lock);
    }
    receive_loop();
    stop_graders();
    if (!link_.flush(options_.flush_s)) log::warn("left before the coordinator had taken every verdict");
    link_.send(Goodbye{reason_});
    link_.close();
    log::info("left: {}", reason_);
  }

 private:
  using Locked = std::lock_guard<std::mutex>;
  // Earliest deadline first, then the order of coming.
  using Place = std::tuple<int64_t, uint64_t, uint64_t>;

  LinkOptions link_options() {
    const std::string host = host_name();
    const std::string name =
        options_.name.empty() ? fmt::format("reward-{}-{}", host, getpid()) : options_.name;
    LinkOptions o;
    o.endpoint = options_.endpoint;
    o.max_unacked = kMaxUnacked;
    o.give_up_s = options_.give_up_s;
    o.hello = [this, host, name] {
      Hello h;
      h.role = Role::reward;
      h.name = name;
      h.host = host;
      h.pid = static_cast<uint32_t>(getpid());
      std::lock_guard lock(mutex_);
      std::set<uint64_t> held(sent_.begin(), sent_.end());
      for (const auto& [id, job] : held_) held.insert(id);
      h.held_jobs.assign(held.begin(), held.end());
      return h;
    };
    o.heartbeat = [this] {
      Heartbeat h;
      h.rss_bytes = resident_bytes();
      h.cpu_s = cpu_seconds(RUSAGE_SELF) + cpu_seconds(RUSAGE_CHILDREN);
      std::lock_guard lock(mutex_);
      h.active = running_;
      h.queued = static_cast<uint32_t>(queue_.size());
      const double threads = std::max(1, concurrency_);
      h.busy_s = busy_s_ / threads;  // of one thread, as for the other workers
      h.wait_s = std::max(0.0, seconds_since(began_) - h.busy_s);
      return h;
    };
    return o;
  }

  void receive_loop() {
    for (;;) {
      const std::optional<Message> message = link_.receive(std::chrono::milliseconds(50));
      if (const std::string ended = link_.ended(); !message && !ended.empty()) throw Error(ended);
      std::lock_guard lock(mutex_);
      if (failure_) std::rethrow_exception(failure_);
      if (message) handle(*message, lock);
      if (!leaving_ && options_.stop && options_.stop())
        leave({.drain = false, .reason = "asked to stop"}, lock);
      if (leaving_ && held_.empty()) return;
    }
  }

  void handle(const Message& message, const Locked& lock) {
    if (const auto* job = std::get_if<GradeJob>(&message)) {
      ++received_;
      const bool on_its_way = std::find(sent_.begin(), sent_.end(), job->job) != sent_.end();
      if (leaving_ || on_its_way || held_.contains(job->job)) {
        grant(lock);
        return;
      }
      auto held = std::make_shared<Held>();
      held->job = *job;
      held_[job->job] = held;
      queue_[Place{job->deadline_step, ++arrivals_, job->job}] = held;
      work_.notify_one();
    } else if (const auto* cancel = std::get_if<Cancel>(&message)) {
      drop(cancel->job, lock);
    } else if (const auto* shutdown = std::get_if<Shutdown>(&message)) {
      leave(*shutdown, lock);
    } else if (std::holds_alternative<Welcome>(
                   message)) {  // a new conversation: its credit starts at nothing
      received_ = granted_ = 0;
      grant(lock);
    }
  }

  // Out of the queue, or told to stop: then its thread forgets it.
  void drop(uint64_t id, const Locked& lock) {
    const auto found = held_.find(id);
    if (found == held_.end()) return;
    found->second->cancelled = true;
    if (found->second->running) return;
    std::erase_if(queue_, [id](const auto& entry) { return std::get<2>(entry.first) == id; });
    held_.erase(found);
    grant(lock);
  }

  void leave(const Shutdown& shutdown, const Locked& lock) {
    if (leaving_ && shutdown.drain) return;
    leaving_ = true;
    reason_ = shutdown.reason;
    if (shutdown.drain) return;
    std::vector<uint64_t> all;
    for (const auto& [id, job] : held_) all.push_back(id);
    for (uint64_t id : all) drop(id, lock);
  }

  void grant(const Locked&) {
    if (leaving_) return;
    const double ahead = mean_s_ > 0 ? std::min(kMostAhead, kAheadSeconds * concurrency_ / mean_s_) : 0;
    const size_t capacity = static_cast<size_t>(concurrency_) + static_cast<size_t>(ahead);
    if (held_.size() >= capacity) return;
    const uint64_t grant = received_ + (capacity - held_.size());
    if (grant <= granted_) return;
    granted_ = grant;
    link_.send(Credit{granted_});
  }

  void grade_loop() {
    try {
      for (;;) {
        std::shared_ptr<Held> held;
        {
          std::unique_lock lock(mutex_);
          work_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
          if (queue_.empty()) return;
          held = queue_.begin()->second;
          queue_.erase(queue_.begin());
          held->running = true;
          ++running_;
        }
        grade(*held);
      }
    } catch (...) {
      std::lock_guard lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
    }
  }

  void grade(const Held& held) {
    const GradeJob& job = held.job;
    const Clock::time_point began = Clock::now();
    Graded graded;
    graded.job = job.job;
    graded.group = job.group;
    graded.index = job.index;
    graded.waited_s = std::chrono::duration<double>(began - held.came).count();
    graded.parts = rewards_.grade(
        {job.record_json, job.prompt_text, job.completion, job.finish_reason, job.completion_tokens},
        held.cancelled);
    graded.seconds = seconds_since(began);
    const double seconds = graded.seconds;
    bool wanted = !held.cancelled;
    for (const RewardPart& part : graded.parts) {
      wanted = wanted && part.verdict.kind != VerdictKind::cancelled;
      if (part.verdict.kind == VerdictKind::infra_error || part.verdict.kind == VerdictKind::budget_exhausted)
        log::warn("group {} completion {}: {}: {}", job.group, job.index, part.name, part.verdict.reason);
    }
    if (wanted) {
      {  // before it leaves: whenever a Hello is said, the job is held or on its way
        std::lock_guard lock(mutex_);
        sent_.push_back(job.job);
        if (sent_.size() > kMaxUnacked) sent_.pop_front();  // the Link keeps no more than these
      }
      link_.send(std::move(graded));  // may wait for acknowledgements: nothing is locked
    }
    std::lock_guard lock(mutex_);
    held_.erase(job.job);
    --running_;
    busy_s_ += seconds;
    mean_s_ = mean_s_ == 0 ? seconds : 0.9 * mean_s_ + 0.1 * seconds;
    grant(lock);
  }

  void stop_graders() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
      queue_.clear();
      for (const auto& [id, held] : held_) held->cancelled = true;
    }
    work_.notify_all();
    for (std::thread& thread : graders_) thread.join();
    graders_.clear();
  }

  const RewardWorkerOptions options_;
  const Clock::time_point began_ = Clock::now();
  RewardList rewards_;
  int concurrency_ = 0;

  std::mutex mutex_;  // all below
  std::condition_variable work_;
  std::map<uint64_t, std::shared_ptr<Held>> held_;  // by job: queued and running
  std::map<Place, std::shared_ptr<Held>> queue_;
  std::deque<uint64_t> sent_;  // maybe not acknowledged yet
  uint64_t arrivals_ = 0, received_ = 0, granted_ = 0;
  uint32_t running_ = 0;
  double busy_s_ = 0, mean_s_ = 0;
  bool leaving_ = false, stopping_ = false;
  std::string reason_;
  std::exception_ptr failure_;

  std::vector<std::thread> graders_;
  Link link_;  // last: its thread calls hello() and heartbeat(), which read the above
};

}  // namespace

void run_reward_worker(const RewardWorkerOptions& options) {
  RewardWorker(options).run();
}

}  // namespace cohort
