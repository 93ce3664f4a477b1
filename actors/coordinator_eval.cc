// Held-out evaluation while the run goes on: the same prompts every time, sampled by the version that is due
// or a newer one.
#include <fmt/core.h>

#include <algorithm>

#include "actors/coordinator.h"
#include "actors/rewards.h"
#include "actors/wall_clock.h"
#include "transport/base/log.h"

namespace cohort {

void Coordinator::maybe_start_eval(Version version, double now) {
  if (config_.run.eval_steps == 0 || eval_.size() == 0) return;
  const auto every = static_cast<Version>(config_.run.eval_steps);
  Version last = eval_run_ ? eval_run_->version : 0;
  for (const StoredEval& e : evals_) last = std::max(last, e.version);
  if (version / every <= last / every) return;
  if (eval_run_)
    eval_queued_ = version;
  else
    start_eval(version, now);
}

void Coordinator::start_eval(Version version, double now) {
  EvalRun run;
  run.version = version;
  size_t n = eval_.size();
  if (config_.run.eval_prompts > 0) n = std::min(n, static_cast<size_t>(config_.run.eval_prompts));
  PromptOrder order(eval_.size(), static_cast<uint64_t>(config_.run.seed), true);
  for (size_t i = 0; i < n; ++i) run.prompts.push_back(order.index_of(i));
  eval_run_ = std::move(run);
  eval_progress_ = now;
}

// Takes up the newest evaluation that a stopped coordinator left unfinished; false when there is none, or when
// it cannot be finished because run.eval_steps, eval_prompts or eval_samples were changed since. Then what it
// has is closed and, unless evaluation is off now, it begins anew.
bool Coordinator::restore_eval(const std::vector<const StoredGroup*>& stored) {
  std::vector<const StoredGroup*> left;
  Version newest = 0;
  for (const StoredGroup* g : stored)
    if (g->eval_version >= 0)
      left.push_back(g), newest = std::max(newest, static_cast<Version>(g->eval_version));
  if (left.empty()) return false;
  const bool on = config_.run.eval_steps > 0 && eval_.size() > 0;
  if (on) start_eval(newest, started_);
  const bool same = on && std::all_of(left.begin(), left.end(), [&](const StoredGroup* g) {
                      return static_cast<Version>(g->eval_version) != newest ||
                             (g->draw < eval_run_->prompts.size() &&
                              g->size == static_cast<uint32_t>(config_.run.eval_samples));
                    });
  if (same) return true;
  log::info("the evaluation of version {} was not finished and its options were changed: {}", newest,
            on ? "it begins anew" : "it is left out");
  for (const StoredGroup* g : left)
    row(Stmt::end_group, {std::string("abandoned"), std::string("the evaluation's options were changed"),
                          wall_seconds(), static_cast<int64_t>(g->group)});
  return false;
}

void Coordinator::eval_group_done(const Group& group, bool failed, double now) {
  if (!eval_run_ || eval_run_->version != group.birth) return;
  EvalRun& run = *eval_run_;
  eval_progress_ = now;
  if (failed) {
    ++run.failed;
  } else {
    uint32_t passes = 0;
    for (const Slot& slot : group.slots) {
      passes += !slot.parts.empty() && slot.parts[0].verdict.kind == VerdictKind::passed;
      run.reward_sum += slot.reward;
      ++run.completions;
      for (const VersionRun& v : slot.data.versions) {
        run.min_version = std::min(run.min_version, v.version);
        run.max_version = std::max(run.max_version, v.version);
      }
    }
    run.passes.push_back(passes);
    ++run.done;
  }
  if (run.done + run.failed < run.prompts.size()) return;
  const Interval pass = pass_at_1(run.passes, static_cast<uint32_t>(config_.run.eval_samples));
  const double reward = run.completions ? run.reward_sum / static_cast<double>(run.completions) : 0;
  if (run.completions == 0) run.min_version = run.max_version = run.version;
  row(Stmt::put_eval, {static_cast<int64_t>(run.version), static_cast<int64_t>(run.done),
                       static_cast<int64_t>(config_.run.eval_samples), static_cast<int64_t>(run.failed),
                       pass.mean, pass.low, pass.high, reward, static_cast<int64_t>(run.min_version),
                       static_cast<int64_t>(run.max_version), wall_seconds()});
  log::info("held-out pass@1 of version {}: {:.3f} [{:.3f}, {:.3f}], {} prompts x {}", run.version, pass.mean,
            pass.low, pass.high, run.done, config_.run.eval_samples);
  evals_.push_back({run.version, pass.mean, pass.low, pass.high, reward});
  eval_run_.reset();
  if (eval_queued_) {
    start_eval(*eval_queued_, now);
    eval_queued_.reset();
  }
}

// An evaluation that has begun is finished, and the last step's weights are evaluated, before the learner that serves
// them may leave. Given up when nothing moves for a minute, so that a run always ends.
bool Coordinator::final_eval_pending(double now) const {
  if (config_.run.eval_steps == 0 || eval_.size() == 0 || !shutdown_reason_.empty()) return false;
  if (registry_.count(Role::rollout) == 0 || registry_.count(Role::reward) == 0) return false;
  if (now - eval_progress_ >= 60) return false;
  if (eval_run_) return true;
  if (total_steps() % static_cast<uint32_t>(config_.run.eval_steps) != 0) return false;
  return std::none_of(evals_.begin(), evals_.end(),
                      [&](const StoredEval& e) { return e.version >= total_steps(); });
}

}  // namespace cohort
