// What the coordinator reads from the run file. Sections of other components are read through TomlTable where
// only a value or two is needed (sampling_of).
#pragma once

#include <string>
#include <vector>

#include "actors/overlong_buffer.h"
#include "transport/base/options.h"
#include "transport/messages.h"

namespace cohort {

struct RunOptions {  // [run]
  using is_options = void;
  std::string name = "run";
  std::string dir;
  int64_t seed = 1;
  int total_steps = 100;
  int save_steps = 20;
  int eval_steps = 0;
  int eval_prompts = 64;
  int eval_samples = 4;
  template <class V>
  void visit(V& v) {
    v("name", name, "the run's name; a run folder belongs to one name");
    v("dir", dir, "everything of the run: ledger, checkpoints, logs, report");
    v("seed", seed, "decides the prompt order and every random number of a completion", at_least(0));
    v("total_steps", total_steps, "optimizer steps of the whole run", at_least(1));
    v("save_steps", save_steps, "a checkpoint every so many steps", at_least(1));
    v("eval_steps", eval_steps, "held-out evaluation every so many steps, 0: never", at_least(0));
    v("eval_prompts", eval_prompts, "held-out prompts an evaluation takes, 0: all", at_least(0));
    v("eval_samples", eval_samples, "completions of each held-out prompt", between(1, 4096));
  }
};

struct DataOptions {  // [data]
  using is_options = void;
  std::string train;
  std::string eval;
  bool shuffle = true;
  template <class V>
  void visit(V& v) {
    v("train", train, "prompts, one JSON object a line: id, prompt or messages, and what the rewards read");
    v("eval", eval, "held-out prompts of the same form; empty: no evaluation");
    v("shuffle", shuffle, "another order each epoch, decided by run.seed");
  }
};

struct AsyncOptions {  // [async]
  using is_options = void;
  int groups_per_batch = 32;
  int max_staleness = 2;
  int weight_sync_steps = 1;
  bool filter_groups = true;
  int max_num_gen_batches = 50;
  bool partial_rollout = true;
  int max_concurrent_rollouts = 0;
  template <class V>
  void visit(V& v) {
    v("groups_per_batch", groups_per_batch, "B: groups an optimizer step consumes", between(1, 1 << 20));
    v("max_staleness", max_staleness,
      "eta: no token is trained on more steps after the weights that sampled it; 0: on-policy",
      between(0, 1 << 20));
    v("weight_sync_steps", weight_sync_steps,
      "new weights go to the rollout workers every so many steps, at most max_staleness + 1", at_least(1));
    v("filter_groups", filter_groups, "groups whose rewards are all equal are left out");
    v("max_num_gen_batches", max_num_gen_batches,
      "with filter_groups: the run ends with an error when so many batches of groups were left out for one "
      "step; "
      "0: never",
      at_least(0));
    v("partial_rollout", partial_rollout,
      "a completion may go on with newer weights: the same choice as rollout.weight_sync (true: in_flight, "
      "false: drain), so one of the two is enough");
    v("max_concurrent_rollouts", max_concurrent_rollouts,
      "groups being sampled at once, 0: what the gate allows", at_least(0));
  }
};

struct CoordinatorOptions {  // [coordinator]
  using is_options = void;
  std::string endpoint = "tcp://127.0.0.1:0";
  int http_port = 0;
  std::string http_address = "127.0.0.1";
  int heartbeat_ms = 1000;
  int timeout_ms = 10000;
  int grading_attempts = 5;
  double shutdown_s = 60;
  template <class V>
  void visit(V& v) {
    v("endpoint", endpoint, "where workers connect; port 0 picks a free one");
    v("http_port", http_port, "the page and /metrics over HTTP; 0: none", between(0, 65535));
    v("http_address", http_address,
      "where they listen: this machine only; 0.0.0.0 for all who can reach it, who then can read them");
    v("heartbeat_ms", heartbeat_ms, "how often workers report", between(10, 600000));
    v("timeout_ms", timeout_ms, "silence after which a worker counts as gone", between(50, 3600000));
    v("grading_attempts", grading_attempts, "infrastructure errors after which a group is given up",
      between(1, 100));
    v("shutdown_s", shutdown_s, "how long an ordered shutdown may take", more_than(0.0));
  }
};

// All that decides what the coordinator does.
struct CoordinatorConfig {
  RunOptions run;
  DataOptions data;
  AsyncOptions async;
  CoordinatorOptions coordinator;
  OverlongBuffer overlong;  // [grpo.overlong_buffer]
  SamplingParams sampling;  // of training groups; seed is run.seed
  uint32_t num_generations = 16;
  uint32_t mini_batches = 1;  // [grpo]: shares are balanced inside each mini-batch's groups
  std::string toml;           // the whole run file, as given to workers in Welcome
};
// Throws Error naming file, line and key. Keys of other components' sections are not checked here.
CoordinatorConfig read_coordinator_config(const TomlTable& table, const std::string& toml);

}  // namespace cohort
