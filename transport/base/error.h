// The one error type of the project, and the frame every main() runs in.
#pragma once

#include <fmt/core.h>

#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

namespace cohort {

// Something a person has to act on: bad input, a missing file, a port in use. The message is one line, names
// the file, line or key, and says what to do. Thrown anywhere; main() prints it as "PROGRAM: MESSAGE" and
// exits. A fault of our own code is not an Error but an ordinary exception or assertion.
class Error : public std::runtime_error {
 public:
  static constexpr int kFailed = 1;    // the work could not be done
  static constexpr int kBadUsage = 2;  // the command line or configuration is wrong
  static constexpr int kFinal = 3;     // failed, and the same program started again would fail the same way
  explicit Error(const std::string& message, int exit_code = kFailed)
      : std::runtime_error(message), exit_code_(exit_code) {}
  int exit_code() const { return exit_code_; }

 private:
  int exit_code_;
};

template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...));
}

template <class... Args>
[[noreturn]] void fail_usage(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...), Error::kBadUsage);
}

// For a process that others start again: this end is not to be tried anew.
template <class... Args>
[[noreturn]] void fail_final(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...), Error::kFinal);
}

// Runs `body` and turns what it throws into one line on stderr and an exit code (Error: its own; anything
// else: 1).
int run_main(const std::string& program, const std::function<int()>& body);

// The member of `known` nearest to `name` by edit distance, or "" when none is near enough to be a slip of
// the pen.
std::string nearest_name(const std::string& name, const std::vector<std::string>& known);

}  // namespace cohort
