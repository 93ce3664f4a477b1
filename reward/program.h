// A program kept running and spoken to in lines: one socket to its standard input, one from its standard output, so
// that writing to a program that died is an error to handle and not a signal.
//
// It runs as an ordinary child that leads a process group, or inside a jail (reward/sandbox/jail.h), whose run() then
// lasts for the program's life on a thread of ours. Either way stop() leaves none of its processes behind.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "reward/infra_error.h"
#include "reward/sandbox/jail.h"

namespace cohort {

class Program {
 public:
  using Clock = std::chrono::steady_clock;
  Program() = default;
  virtual ~Program() = default;
  Program(const Program&) = delete;

  bool started() const { return in_ >= 0; }
  // False when it was never started or has ended since (also while nobody was asking).
  bool alive() const;
  void start();
  void stop();
  // Sends `line`, then gives the lines that come to `take` until that returns true. False when cancelled. Throws
  // InfraError at `until`, and when the program ends or writes a line without end; stop() it then.
  template <class Take>
  bool ask(const std::string& line, Clock::time_point until, const std::atomic<bool>& cancelled, Take take) {
    size_t sent = 0;
    for (std::string text;;) {
      while (next_line(text))
        if (take(text)) return true;
      if (cancelled.load(std::memory_order_relaxed)) return false;
      exchange(line, sent, until);
    }
  }

 protected:
  // Starts it on these two descriptors, which are its own from here on: none of ours may stay open, or its end would
  // not be noticed. Throws InfraError.
  virtual void launch(int standard_input, int standard_output) = 0;
  virtual void end() = 0;
  // How it ended, for a person: "exit status 3"; "" while that is not known.
  virtual std::string how() = 0;

 private:
  bool next_line(std::string& out);
  void exchange(const std::string& line, size_t& sent, Clock::time_point until);
  [[noreturn]] void fail_ended();
  int in_ = -1, out_ = -1;
  std::string buffer_;
};

std::unique_ptr<Program> plain_program(std::vector<std::string> command);
// Copies of the files that the command names are in its working folder, under their names without folders; what is below
// /usr is there anyway. `limits` with
// wall_s and cpu_s <= 0: it lives as long as it is asked.
std::unique_ptr<Program> jailed_program(const std::vector<std::string>& command,
                                        std::shared_ptr<const sandbox::Jail> jail,
                                        const sandbox::Limits& limits);

}  // namespace cohort
