#include "reward/code/ending.h"

#include <fmt/core.h>
#include <string.h>

#include "reward/record.h"

namespace cohort::code {
namespace {

using sandbox::Ended, sandbox::Outcome;

std::string tail(const std::string& text, size_t size = 500) {
  return text.size() <= size ? text : text.substr(text.size() - size);
}

}  // namespace

bool contains(const std::string& text, std::string_view what) {
  return text.find(what) != std::string::npos;
}

std::string last_line(const std::string& text) {
  const std::string_view whole = trim(text);
  const size_t at = whole.rfind('\n');
  return std::string(whole.substr(at == std::string_view::npos ? 0 : at + 1).substr(0, 200));
}

Judged judge_ending(const Outcome& o) {
  auto seconds = [&](const char* what, double s) {
    return fmt::format("used its {} after {:.2f} s", what, s);
  };
  switch (o.ended) {
    case Ended::wall_timeout:
      return {VerdictKind::candidate_timeout, seconds("wall time", o.wall_s)};
    case Ended::cpu_timeout:
      return {VerdictKind::candidate_timeout, seconds("CPU time", o.cpu_s)};
    case Ended::memory:
      return {VerdictKind::candidate_memory, "used more memory than it may"};
    case Ended::output:
      return {VerdictKind::candidate_output, "wrote more than it may"};
    case Ended::processes:
      return {VerdictKind::candidate_crash, "started more processes than it may"};
    case Ended::cancelled:
      return {VerdictKind::cancelled, "cancelled"};
    case Ended::exited:
    case Ended::signalled:
      break;
  }
  if (o.ended == Ended::exited && o.exit_code == 0) return {};
  // An allocation refused by the address-space limit shows only in the program's last words.
  const bool no_memory = contains(o.err, "std::bad_alloc") || contains(o.err, "MemoryError");
  if (no_memory) return {VerdictKind::candidate_memory, "an allocation was refused"};
  if (o.ended == Ended::signalled)
    return {VerdictKind::candidate_crash,
            fmt::format("ended by signal {} ({})", o.signal, strsignal(o.signal))};
  return {VerdictKind::candidate_crash, fmt::format("exit status {}", o.exit_code)};
}

void add_usage(nlohmann::json& evidence, const Outcome& o) {
  if (o.ended == Ended::signalled)
    evidence["signal"] = o.signal;
  else if (o.ended == Ended::exited)
    evidence["exit_status"] = o.exit_code;
  else if (o.ended == Ended::cancelled)  // in a verdict only of one that served tests apart, to their end
    evidence["ended"] = "stopped when its tests had ended";
  else
    evidence["ended"] = sandbox::to_string(o.ended);
  evidence["wall_s"] = o.wall_s;
  evidence["cpu_s"] = o.cpu_s;
  evidence["memory_kb"] = o.peak_bytes / 1024;
  if (!o.err.empty()) evidence["stderr"] = tail(o.err);
}

}  // namespace cohort::code
