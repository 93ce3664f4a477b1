#include "launch/train/status_line.h"

#include <fmt/core.h>

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

std::string waits(const Json& status) {
  std::string out;
  for (const Json& w : part(status, "waits"))
    out += (out.empty() ? "" : ", ") + w.value("who", "") + " waits for " + w.value("for", "");
  return out;
}

std::string held_out(const Json& status) {
  const Json& evals = part(status, "evals");
  if (!evals.is_array() || evals.empty()) return "";
  const Json& e = evals.back();
  return fmt::format("held-out {:.3f} ({:.3f} to {:.3f}) at {}", number(e, "pass_at_1"), number(e, "low"),
                     number(e, "high"), static_cast<int64_t>(number(e, "version")));
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

std::string status_line(const Json& status, const Pace& pace) {
  const auto step = static_cast<int64_t>(number(status, "step")),
             total = static_cast<int64_t>(number(status, "total_steps"));
  std::string out = fmt::format("step {}/{}", step, total);
  auto add = [&](const std::string& text) {
    if (!text.empty()) out += " | " + text;
  };
  if (step > 0) add(fmt::format("reward {:.3f}", number(status, "reward_mean")));
  add(held_out(status));
  const Json& speed = part(status, "tokens_per_s");
  add(fmt::format("tokens/s {} sampled {} trained", rate(number(speed, "rollout")),
                  rate(number(speed, "learner"))));
  const Json& q = part(status, "queues");
  add(fmt::format("sampling {:.0f} grading {:.0f} ready {:.0f}", number(q, "completions_sampling"),
                  number(q, "completions_to_grade") + number(q, "completions_grading"),
                  number(q, "groups_ready")));
  add(waits(status));
  if (status.value("state", "") == "stopping" && step < total)
    add("stopping");
  else if (const std::string left = pace.time_left(total - step); !left.empty() && step < total)
    add(left + " left");
  return out;
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
