// Logging: one line an event on stderr and, once a run folder exists, in a file of the process. Thread-safe.
// spdlog stays in log.cc, so that files with Torch in them can log (Torch brings its own fmt headers).
#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>

namespace cohort::log {

enum class Level { debug, info, warn, error };

// Names this process in every line ("rollout-1"). `file`: also append there; "" for stderr only.
// `to_stderr`: lowest level that still goes to stderr (the file gets everything from debug on).
void init(const std::string& process_name, const std::string& file = "", Level to_stderr = Level::info);
void write(Level level, std::string_view line);
void flush();

template <class... Args>
void debug(fmt::format_string<Args...> f, Args&&... a) {
  write(Level::debug, fmt::format(f, std::forward<Args>(a)...));
}
template <class... Args>
void info(fmt::format_string<Args...> f, Args&&... a) {
  write(Level::info, fmt::format(f, std::forward<Args>(a)...));
}
template <class... Args>
void warn(fmt::format_string<Args...> f, Args&&... a) {
  write(Level::warn, fmt::format(f, std::forward<Args>(a)...));
}
template <class... Args>
void error(fmt::format_string<Args...> f, Args&&... a) {
  write(Level::error, fmt::format(f, std::forward<Args>(a)...));
}

}  // namespace cohort::log
