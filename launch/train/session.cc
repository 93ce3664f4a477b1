// What the loop below waits for and what ends it:
//
//   starting   the coordinator writes its endpoint file (or ends: its error is ours)
//   running    children that end are started again by the Supervisor; a hopeless one ends the run with its
//   error.
//              Once a second the coordinator is asked for its status, over an observer's Link
//   stopping   after the first Ctrl-C: SIGTERM to the coordinator, which has the learner write a checkpoint
//   and tells all
//              to leave. Also after the coordinator's own end with 0: the run is complete. Bounded by kLeave
//   killed     after the second Ctrl-C, a hopeless child, or when stopping took too long
//
// A coordinator that dies comes back on its old port and the workers find it there; should the port be taken
// meanwhile, it writes another endpoint and the workers are started anew with that.
#include "launch/train/session.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "actors/supervisor.h"
#include "launch/data/jsonl.h"
#include "launch/front.h"
#include "launch/train/children.h"
#include "launch/train/observer.h"
#include "launch/train/status_line.h"
#include "transport/base/log.h"
#include "transport/base/measure.h"

namespace cohort {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::json;
using namespace std::chrono_literals;

// A line that fills the last column would wrap, and "\r" would not come back to its beginning.
size_t terminal_width() {
  winsize size{};
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

constexpr double kStartSeconds = 60;  // for the coordinator to open its ledger and bind
constexpr double kLeaveSeconds = 20;  // for the others to leave once the coordinator has

class Session {
 public:
  Session(const RunConfig& config, const std::string& dir, Live live, const SessionParts& parts)
      : config_(config),
        dir_(dir),
        live_(live),
        parts_(parts),
        endpoint_file_(dir + "/coordinator.endpoint"),
        supervisor_({.log_dir = dir + "/logs",
                     .guard = sibling_program("cohort"),
                     .environment = quiet_environment()}) {
    // What the observer's link has to say (the coordinator is gone, …) is for the log: the live line and the children's
    // ends say it on the screen.
    std::filesystem::create_directories(dir + "/logs");
    log::init("train", dir + "/logs/train.log", log::Level::error);
  }

  int run() {
    start();
    while (!ended_) {
      handle_ends(supervisor_.wait(200ms));
      handle_interrupts();
      follow_endpoint();
      watch();
      dismiss_workers();
      if (deadline_ && Clock::now() > *deadline_) {
        say("it takes too long: the rest is killed");
        // Workers hold nothing that is not in the ledger; a learner that hangs may have left no model.
        if (!coordinator_left_ || supervisor_.running("learner")) outcome_ = std::max(outcome_, 1);
        ended_ = true;
      }
    }
    last_word();
    link_.reset();
    supervisor_.kill_all();
    clear_line();
    try {
      leave_usage();
    } catch (const Error&) {
      if (outcome_ == 0) throw;  // else what ended the run has been said, a full disk for one
    }
    return outcome_;
  }

 private:
  double seconds() const { return seconds_since(began_); }

  // The endpoint file's identity: a coordinator of before may have left one, and this one replaces it by
  // rename.
  std::pair<ino_t, int64_t> endpoint_stamp() const {
    struct stat info {};
    if (stat(endpoint_file_.c_str(), &info) != 0) return {};
    return {info.st_ino, info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec};
  }
  std::string read_endpoint() const {
    std::ifstream file(endpoint_file_);
    std::string line;
    std::getline(file, line);
    return line;
  }

  void start() {
    if (parts_.coordinator)
      start_coordinator();
    else
      endpoint_ = parts_.endpoint;
    if (ended_) return;
    if (parts_.on_endpoint) parts_.on_endpoint(endpoint_);
    each_child([&](const ChildSpec& child) { supervisor_.start(child); });
    if (parts_.coordinator) {
      status_file_.open(dir_ + "/status.jsonl", std::ios::app);
      link_ = make_observer(endpoint_, "train");
    }
  }

  void start_coordinator() {
    const auto before = endpoint_stamp();
    supervisor_.start(coordinator_child(dir_, parts_.endpoint));
    while (!ended_ && (endpoint_stamp() == before || endpoint_stamp().first == 0)) {
      handle_ends(supervisor_.wait(50ms));
      if (supervisor_.interrupts() > 0) outcome_ = 1, ended_ = true;
      if (seconds() > kStartSeconds)
        fail("the coordinator does not start: see {}", supervisor_.log_path("coordinator"));
    }
    endpoint_stamp_ = endpoint_stamp();
    endpoint_ = read_endpoint();
  }

  // Every process that talks to the coordinator.
  template <class F>
  void each_child(F&& f) {
    const int rewards = parts_.workers ? config_.grading.workers : 0;
    const int rollouts = parts_.workers ? config_.rollout.workers : 0;
    for (int i = 0; i < rewards; ++i) f(reward_child(config_, endpoint_, i, parts_.node));
    const int ranks = parts_.learner ? config_.learner.ranks : parts_.learners;
    const int learners = config_.learner.device == "cpu" ? 0 : ranks;
    for (int i = 0; i < rollouts; ++i) f(rollout_child(config_, endpoint_, i, parts_.node, learners));
    if (parts_.learner) f(learner_child(config_, endpoint_));
  }

  void follow_endpoint() {
    if (!parts_.coordinator || stopping_ || endpoint_stamp() == endpoint_stamp_ ||
        endpoint_stamp().first == 0)
      return;
    endpoint_stamp_ = endpoint_stamp();
    const std::string now = read_endpoint();
    if (now.empty() || now == endpoint_) return;
    say("the coordinator listens at " + now + " now: its workers are started anew");
    endpoint_ = now;
    each_child([&](const ChildSpec& child) { supervisor_.replace(child); });
    link_ = make_observer(endpoint_, "train");
  }

  void handle_ends(const std::vector<ChildEnd>& ends) {
    for (const ChildEnd& end : ends) {
      if (end.hopeless) {
        clear_line();
        const std::string error = end.error.empty() ? end.text() + ": see " + supervisor_.log_path(end.name)
                                                    : end.name + ": " + end.error;
        fmt::print(stderr, "cohort train: {}\n", error);
        outcome_ = end.exit_code == Error::kBadUsage ? Error::kBadUsage : Error::kFailed;
        ended_ = true;
        return;
      }
      if (end.will_restart)
        say(end.text() + "; starting it again");
      else if (end.exit_code != 0)
        say(end.text());
      if (end.name == "coordinator" && !end.will_restart) {
        if (end.exit_code != 0) outcome_ = 1;
        leave(kLeaveSeconds);
        coordinator_left_ = true;
        dismissal_ = Clock::now() + 1s;
      }
    }
    if ((coordinator_left_ || !parts_.coordinator) && supervisor_.active_count() == 0) ended_ = true;
  }

  // The coordinator told its workers to leave. One that was just being started again did not hear it, and
  // would look for a coordinator for ever.
  void dismiss_workers() {
    if (!dismissal_ || Clock::now() < *dismissal_) return;
    dismissal_.reset();
    each_child([&](const ChildSpec& child) {
      if (child.name != "learner" && supervisor_.running(child.name)) supervisor_.send(child.name, SIGTERM);
    });
  }

  void leave(double within) {
    stopping_ = true;
    supervisor_.no_more_restarts();
    deadline_ =
        Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(within));
  }

  void handle_interrupts() {
    const int count = supervisor_.interrupts();
    if (count >= 1 && !interrupted_) {
      interrupted_ = true;
      outcome_ = 1;
      say("stopping: a checkpoint is written first (Ctrl-C again stops at once)");
      const bool there = supervisor_.running("coordinator");
      if (!coordinator_left_) leave(config_.coordinator.shutdown_s + kLeaveSeconds);
      if (parts_.coordinator)
        supervisor_.send("coordinator", SIGTERM);
      else
        supervisor_.send_all(SIGTERM);  // workers give back what they hold
      if (parts_.coordinator && !there && !coordinator_left_)
        ended_ = true;  // it had died and nobody else could order the end
    }
    if (count >= 2 && !ended_) {
      say("stopped at once");
      ended_ = true;
    }
  }

  // Asks for the status once a second and shows the newest answer.
  void watch() {
    if (!link_) return;
    if (Clock::now() >= next_request_) {
      next_request_ = Clock::now() + 1s;
      link_->send(StatusRequest{});
    }
    while (auto message = link_->receive(0ms)) {
      const auto* status = std::get_if<Status>(&*message);
      if (!status) continue;
      Json json = Json::parse(status->json, nullptr, false);
      if (!json.is_object()) continue;
      json["seconds"] = seconds();
      status_file_ << json.dump() << "\n" << std::flush;
      const auto step = json.value("step", int64_t{0});
      pace_.see(step, seconds());
      show(status_line(json, pace_, live_ == Live::line ? terminal_width() - 1 : 0), step);
    }
  }

  // The coordinator's last status, which it sends when it ends: the last steps and the evaluation that ended with them.
  void last_word() {
    if (!link_ || !coordinator_left_) return;
    next_request_ = Clock::time_point::max();
    watch();
    if (newest_ == shown_) return;
    next_plain_ = {};
    show(newest_, shown_step_);
  }

  void show(const std::string& line, int64_t step) {
    newest_ = line;
    if (live_ == Live::off) return;
    if (live_ == Live::line) {
      fmt::print("\r\033[K{}", line);
      std::fflush(stdout);
      line_shown_ = true;
      shown_ = line;
    } else if (step != shown_step_ || Clock::now() >= next_plain_) {
      fmt::print("[{:>6}] {}\n", duration_text(seconds()), line);
      std::fflush(stdout);
      shown_ = line;
      shown_step_ = step;
      next_plain_ = Clock::now() + 10s;
    }
  }
  void clear_line() {
    if (line_shown_) fmt::print("\n");
    line_shown_ = false;
    std::fflush(stdout);
  }
  void say(const std::string& text) {
    clear_line();
    fmt::print(stderr, "[{}] {}\n", duration_text(seconds()), text);
  }

  // Who used how much CPU: printed, and kept for the report.
  void leave_usage() {
    Json processes = Json::array();
    double total = 0;
    if (live_ != Live::off)
      fmt::print("\n{:<14} {:>9} {:>9} {:>12} {:>8} {:>7}\n", "process", "CPU s", "wall s", "of one core",
                 "MiB", "starts");
    for (const ChildUsage& u : supervisor_.usage()) {
      if (live_ != Live::off)
        fmt::print("{:<14} {:>9.1f} {:>9.1f} {:>11.0f}% {:>8} {:>7}\n", u.name, u.cpu_s, u.wall_s,
                   u.wall_s > 0 ? 100 * u.cpu_s / u.wall_s : 0, u.max_rss_kb / 1024, u.starts);
      total += u.cpu_s;
      processes.push_back({{"name", u.name},
                           {"cpu_s", u.cpu_s},
                           {"wall_s", u.wall_s},
                           {"max_rss_mb", u.max_rss_kb / 1024.0},
                           {"starts", u.starts}});
    }
    if (live_ != Live::off)
      fmt::print("{:<14} {:>9.1f} {:>9.1f} {:>11.0f}% of {} cores\n\n", "all", total, seconds(),
                 100 * total / seconds(), sysconf(_SC_NPROCESSORS_ONLN));
    write_text(dir_ + "/usage" + (parts_.coordinator ? "" : "-" + parts_.node) + ".json",
               Json{{"processes", processes}, {"wall_s", seconds()}, {"cpu_s", total}}.dump(1) + "\n");
  }

  const RunConfig& config_;
  const std::string dir_;
  const Live live_;
  const SessionParts parts_;
  const std::string endpoint_file_;
  std::ofstream status_file_;
  const Clock::time_point began_ = Clock::now();
  Supervisor supervisor_;
  std::unique_ptr<Link> link_;  // after the Supervisor: its thread inherits the blocked signals
  std::string endpoint_;
  std::pair<ino_t, int64_t> endpoint_stamp_;
  bool stopping_ = false, interrupted_ = false, coordinator_left_ = false, ended_ = false,
       line_shown_ = false;
  int outcome_ = 0;
  std::optional<Clock::time_point> deadline_, dismissal_;
  Clock::time_point next_request_, next_plain_;
  int64_t shown_step_ = -1;
  std::string newest_, shown_;  // lines
  Pace pace_;
};

}  // namespace

int run_session(const RunConfig& config, const std::string& dir, Live live, const SessionParts& parts) {
  return Session(config, dir, live, parts).run();
}

}  // namespace cohort
