#include "launch/train/status_line.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

namespace cohort {
namespace {

using Json = nlohmann::json;

double number(const Json& object, const char* key) {
  auto it = object.find(key);
  return it != object.end() && it->is_number() ? it->get<double>() : 0.0;
}
const Json& part(const Json& object, const char* key) {
  static const Json nothing = Json::object();
  auto it = object.find(key);
  return it != object.end() && (it->is_object() || it->is_array()) ? *it : nothing;
}

std::string rate(double v) {
  return v >= 10000  ? fmt::format("{:.0f}k", v / 1000)
         : v >= 1000 ? fmt::format("{:.1f}k", v / 1000)
                     : fmt::format("{:.0f}", v);
}

enum class Wording { full, short_words, shortest };

std::string waits(const Json& status, Wording wording) {
  std::string out;
  for (const Json& w : part(status, "waits")) {
    out += (out.empty()                ? ""
            : wording == Wording::full ? ", "
                                       : " ") +
           w.value("who", "") + (wording == Wording::full ? " waits for " : ">") + w.value("for", "");
    if (wording == Wording::shortest) break;  // the first is the one that holds up the learner, if any does
  }
  return out;
}

std::string held_out(const Json& status, Wording wording) {
  const Json& evals = part(status, "evals");
  if (!evals.is_array() || evals.empty()) return "";
  const Json& e = evals.back();
  if (wording == Wording::shortest) return fmt::format("held {:.3f}", number(e, "pass_at_1"));
  const auto version = static_cast<int64_t>(number(e, "version"));
  if (wording == Wording::short_words)
    return fmt::format("held-out {:.3f} (±{:.3f}) at {}", number(e, "pass_at_1"),
                       (number(e, "high") - number(e, "low")) / 2, version);
  return fmt::format("held-out {:.3f} ({:.3f} to {:.3f}) at {}", number(e, "pass_at_1"), number(e, "low"),
                     number(e, "high"), version);
}

std::string line_in(Wording wording, const Json& status, const Pace& pace) {
  const auto step = static_cast<int64_t>(number(status, "step")),
             total = static_cast<int64_t>(number(status, "total_steps"));
  const bool full = wording == Wording::full, shortest = wording == Wording::shortest;
  const char* between = shortest ? " " : " | ";
  std::string out = fmt::format("{}{}/{}", shortest ? "" : "step ", step, total);
  auto add = [&](const std::string& text) {
    if (!text.empty()) out += between + text;
  };
  if (step > 0) add(fmt::format("{} {:.3f}", shortest ? "rew" : "reward", number(status, "reward_mean")));
  add(held_out(status, wording));
  const Json& speed = part(status, "tokens_per_s");
  const std::string sampled = rate(number(speed, "rollout")), trained = rate(number(speed, "learner"));
  add(full ? fmt::format("tokens/s {} sampled {} trained", sampled, trained)
           : fmt::format("{}/{} {}", sampled, trained, shortest ? "t/s" : "tok/s"));
  const Json& q = part(status, "queues");
  const double sampling = number(q, "completions_sampling"),
               grading = number(q, "completions_to_grade") + number(q, "completions_grading"),
               ready = number(q, "groups_ready");
  add(full ? fmt::format("sampling {:.0f} grading {:.0f} ready {:.0f}", sampling, grading, ready)
           : fmt::format("{} {:.0f}/{:.0f}/{:.0f}", shortest ? "q" : "queues", sampling, grading, ready));
  add(waits(status, wording));
  if (status.value("state", "") == "stopping" && step < total)
    add("stopping");
  else if (const std::string left = pace.time_left(total - step); !left.empty() && step < total)
    add(left + " left");
  return out;
}

// How many columns it takes: every character but the one "±" is a byte.
size_t columns(const std::string& line) {
  return static_cast<size_t>(std::count_if(
      line.begin(), line.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

}  // namespace

std::string duration_text(double seconds) {
  const auto s = static_cast<int64_t>(std::llround(std::max(0.0, seconds)));
  if (s < 60) return fmt::format("{} s", s);
  if (s < 3600) return fmt::format("{}:{:02}", s / 60, s % 60);
  return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

void Pace::see(int64_t step, double seconds) {
  if (step == step_) return;
  // The first step of a session also holds everything's start, so the pace counts from its end; and anew when
  // a restart took the run back to its checkpoint.
  if (step_ < 0 || step < step_ || !paced_) {
    paced_ = step_ >= 0 && step > step_;
    first_step_ = step, first_s_ = seconds;
  }
  step_ = step, seconds_ = seconds;
}

std::string Pace::time_left(int64_t steps) const {
  if (steps <= 0) return duration_text(0);
  if (step_ <= first_step_) return "";
  return duration_text((seconds_ - first_s_) / static_cast<double>(step_ - first_step_) *
                       static_cast<double>(steps));
}

std::string status_line(const Json& status, const Pace& pace, size_t width) {
  std::string line;
  for (Wording wording : {Wording::full, Wording::short_words, Wording::shortest}) {
    line = line_in(wording, status, pace);
    if (width == 0 || columns(line) <= width) return line;
  }
  return line.substr(0, width);  // the shortest wording has no characters of several bytes
}

std::string status_screen(const Json& status) {
  std::string out =
      fmt::format("{} ({}), {} for {}\n", status.value("run_name", ""), status.value("run_id", ""),
                  status.value("state", ""), duration_text(number(status, "uptime_s")));
  out += status_line(status, {}) + "\n";
  out += fmt::format("in checkpoints: {:.0f} steps; weights published: version {:.0f}\n",
                     number(status, "checkpointed"), number(status, "version"));
  const Json& share = part(status, "wait_share");
  out += fmt::format("share of time spent waiting: rollout {:.0f}%, reward {:.0f}%, learner {:.0f}%\n",
                     100 * number(share, "rollout"), 100 * number(share, "reward"),
                     100 * number(share, "learner"));
  std::string lags;
  for (const auto& [lag, tokens] : part(status, "staleness_tokens").items())
    lags += fmt::format("{}{} steps: {} tokens", lags.empty() ? "" : ", ", lag,
                        tokens.is_number() ? tokens.get<int64_t>() : 0);
  if (!lags.empty()) out += "staleness: " + lags + "\n";
  out += fmt::format("groups left out for equal rewards: {:.0f}, failed: {:.0f}\n\n",
                     number(status, "groups_filtered"), number(status, "groups_failed"));
  out += fmt::format("{:<20} {:<14} {:>7} {:>8} {:>7} {:>9} {:>7} {:>8} {:>6}\n", "worker", "host", "version",
                     "active", "queued", "tokens/s", "waits", "CPU s", "MiB");
  for (const Json& w : part(status, "workers")) {
    const double busy = number(w, "busy_s"), wait = number(w, "wait_s");
    out += fmt::format("{:<20} {:<14} {:>7.0f} {:>8.0f} {:>7.0f} {:>9} {:>6.0f}% {:>8.1f} {:>6.0f}\n",
                       w.value("name", ""), w.value("host", ""), number(w, "version"), number(w, "active"),
                       number(w, "queued"), rate(number(w, "tokens_per_s")),
                       busy + wait > 0 ? 100 * wait / (busy + wait) : 0, number(w, "cpu_s"),
                       number(w, "rss_bytes") / 1048576);
  }
  return out;
}

}  // namespace cohort
