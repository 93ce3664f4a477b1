// One started command line of build/bin and all that descends from it, for tests with real processes.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

namespace cohort {

struct Outcome {
  int code = -1;  // exit code; 128 + signal
  std::string output, error;
};

class Process {
 public:
  // Starts `program` (default: cohort) with `arguments`, in a session of its own; output goes to files in
  // `folder`.
  Process(const std::string& folder, const std::vector<std::string>& arguments,
          const std::string& program = COHORT_BIN_DIR "/cohort");
  ~Process();  // SIGKILL to what is left of it
  Process(const Process&) = delete;

  void signal(int number) const;
  void signal_group(int number) const;  // what a terminal does on Ctrl-C
  Outcome wait(double seconds);         // killed, and code 137, after that
  bool until(const std::function<bool()>& condition,
             double seconds) const;  // polls; false when the time is over
  std::string output() const;
  std::vector<pid_t> alive() const;  // it and its descendants, by a mark in their environment
  std::vector<pid_t> alive(const std::string& program) const;  // those that run this executable
  bool all_gone(double seconds) const;

 private:
  std::string folder_, mark_;
  pid_t pid_ = 0;
  bool ended_ = false;
};

Outcome run(const std::string& folder, const std::vector<std::string>& arguments, double seconds = 120);

}  // namespace cohort
