// Starts a machine's processes, restarts those that die, and leaves none behind.
//
// Every child runs behind `cohort guard` (actors/guard.h), so that a supervisor killed with SIGKILL takes all
// with it.
//
// Each child is the leader of a process group of its own, so a terminal's Ctrl-C reaches the supervisor
// alone. Its output goes to log_dir/NAME.log, appended; its standard input is /dev/null.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <map>
#include <string>
#include <vector>

namespace cohort {

struct ChildSpec {
  std::string name;                  // "rollout-0": of the log file and in messages
  std::vector<std::string> command;  // the program's path and its arguments
  bool restart = true;  // started again when it ends otherwise than with 0, which says that it was told to
  std::map<std::string, std::string> environment = {};  // added to the supervisor's
};

struct ChildEnd {
  std::string name;
  int exit_code = -1;  // -1: a signal ended it
  int signal = 0;
  double lived_s = 0;
  bool will_restart = false;
  bool hopeless =
      false;  // it will not get better by starting it again: a bad configuration, a full disk, or it failed too often
  std::string error;  // the line it left for a person, without its program's name; "" when there is none
  std::string text() const;  // "rollout-0 was ended by signal 9", "learner exited with 1: FILE: …"
};

struct ChildUsage {
  std::string name;
  double cpu_s = 0, wall_s = 0;  // over all its lives, with the descendants it waited for
  long max_rss_kb = 0;
  int starts = 0;
};

struct SupervisorOptions {
  std::string log_dir;
  std::string guard;                               // the `cohort` executable
  std::map<std::string, std::string> environment;  // added to every child's
  double backoff_s = 0.25,
         max_backoff_s = 8;    // before a restart: doubled each time, from the start after a healthy life
  double healthy_s = 20;       // a life as long as this counts as healthy
  int max_quick_failures = 6;  // so many unhealthy lives in a row are hopeless
};

// Used by one thread, which must outlive it: a child is killed when the thread that started it ends. Blocks
// SIGINT, SIGTERM, SIGHUP, kOrderedEnd and SIGCHLD in that thread from construction on; start other threads afterwards, so
// that they inherit it.
class Supervisor {
 public:
  explicit Supervisor(SupervisorOptions options);
  ~Supervisor();  // kill_all()
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  // Throws Error when the program cannot be started or the log not be written.
  void start(const ChildSpec& spec);
  // Kills the child of this name where it runs, and starts this one in its place.
  void replace(const ChildSpec& spec);
  // Waits until a child ends, a signal comes or the time is over; starts again what is due. Returns the ends.
  std::vector<ChildEnd> wait(std::chrono::milliseconds timeout);
  int interrupts() const { return interrupts_; }  // SIGINT, SIGTERM, SIGHUP and kOrderedEnd so far

  void no_more_restarts();
  void send(const std::string& name,
            int signal);  // the child's guard passes SIGTERM, SIGINT and kOrderedEnd on
  void send_all(int signal);
  bool running(const std::string& name) const;
  size_t running_count() const;
  size_t active_count() const;               // running or waiting for their restart
  pid_t pid(const std::string& name) const;  // of its guard, whose child it is; 0 when it does not run
  // SIGKILL to every child and its group, then to whatever of theirs came to us; returns when nothing is
  // left.
  void kill_all();
  std::vector<ChildUsage> usage() const;  // in the order of the first start
  std::string log_path(const std::string& name) const;

 private:
  struct Child {
    ChildSpec spec;
    pid_t pid = 0;
    off_t log_begin = 0;  // where this life's output begins
    std::chrono::steady_clock::time_point started, due;
    bool waiting = false;  // for its restart
    int quick_failures = 0;
    double backoff_s = 0;
    ChildUsage usage;
  };
  void spawn(Child& child);
  bool kill_adopted();  // was there an orphan to kill?
  void reap(std::vector<ChildEnd>& ends);
  ChildEnd ended(Child& child, int status, double cpu_s, long rss_kb);
  Child* find(const std::string& name);
  const Child* find(const std::string& name) const;

  SupervisorOptions options_;
  std::vector<Child> children_;
  bool restarts_ = true;
  int interrupts_ = 0;
};

// This process's environment without what an mpirun around us left there (Open MPI would take a child for one
// of its own ranks), with `added` on top: NAME=VALUE strings.
std::vector<std::string> child_environment(const std::map<std::string, std::string>& added);

}  // namespace cohort
