// [rollout] of the run file: how completions are sampled, and what one rollout worker may use.
#pragma once

#include <string>
#include <vector>

#include "transport/base/options.h"
#include "transport/messages.h"
#include "transport/weights.h"

namespace cohort {

enum class WeightSync {
  in_flight,  // sequences go on with the new weights from their next token
  drain,      // nothing new starts until the running sequences ended on the old ones
};
inline EnumNames<WeightSync> enum_names(WeightSync) {
  return {{WeightSync::in_flight, "in_flight"}, {WeightSync::drain, "drain"}};
}

struct RolloutOptions {
  using is_options = void;
  int workers = 1;
  int num_generations = 8;
  double temperature = 1;
  double top_p = 1;
  int top_k = 0;
  double min_p = 0;
  int max_new_tokens = 256;
  std::vector<std::string> stop;
  std::vector<int> stop_token_ids;
  bool ignore_eos = false;
  int max_num_seqs = 64;
  int max_num_batched_tokens = 2048;
  int max_context = 2048;
  WeightSync weight_sync = WeightSync::in_flight;
  int threads = 1;
  std::string device = "cpu";
  std::string dtype = "float32";
  WeightTransport weight_transport = WeightTransport::automatic;
  double weight_timeout_s = 10;
  bool batch_invariant = false;
  double kv_memory_gib = 0;

  template <class V>
  void visit(V& v) {
    v("workers", workers,
      "rollout worker processes to start on this machine (or node); more may join at any time", at_least(0));
    v("num_generations", num_generations, "completions a group (GRPO's G)", at_least(1));
    v("temperature", temperature, "sampling temperature, 0 is greedy", at_least(0));
    v("top_p", top_p, "nucleus: the fewest tokens whose probability reaches this; 1: off", between(0, 1));
    v("top_k", top_k, "only the k likeliest tokens; 0: off", at_least(0));
    v("min_p", min_p, "only tokens at least this fraction as likely as the likeliest; 0: off", between(0, 1));
    v("max_new_tokens", max_new_tokens, "a completion ends here with finish_reason length", at_least(1));
    v("stop", stop, "strings that end a completion; left out of its text, kept in its tokens");
    v("stop_token_ids", stop_token_ids, "tokens that end a completion, besides the model's eos", at_least(0));
    v("ignore_eos", ignore_eos, "go on after the model's eos");
    v("max_num_seqs", max_num_seqs, "sequences decoded at once by one worker", at_least(1));
    v("max_num_batched_tokens", max_num_batched_tokens,
      "prompt tokens one step may take, so that long prompts do not hold up decoding", at_least(1));
    v("max_context", max_context, "tokens of prompt and completion one sequence may have", at_least(2));
    v("weight_sync", weight_sync,
      "in_flight: swap between two decode steps; drain: finish the sequences first (async.partial_rollout = "
      "false)");
    v("threads", threads, "compute threads of one worker (CPU); 0: one a core", at_least(0));
    v("device", device,
      "cpu, cuda (the workers of a node share its GPUs out, after its learner ranks) or cuda:N");
    v("dtype", dtype, "float32 or bfloat16");
    v("weight_transport", weight_transport,
      "how the learner's weights come: cuda_ipc (learner and worker on one GPU), nccl (a broadcast to "
      "workers on other "
      "GPUs), zmq, auto: the first of these that is possible");
    v("weight_timeout_s", weight_timeout_s,
      "a broadcast of weights (nccl) that has not ended by then is given up; a worker that does not answer "
      "is left out "
      "until it asks again",
      at_least(0.1));
    v("batch_invariant", batch_invariant,
      "a completion's bits do not depend on what shared its batch; slower (GPU)");
    v("kv_memory_gib", kv_memory_gib,
      "of the KV cache on a GPU; 0: what max_num_seqs sequences of max_context need, at most what is free",
      at_least(0));
  }

  // [rollout] of a whole run file. async.partial_rollout is the field's name for the same choice as
  // weight_sync: a completion goes on with newer weights (in_flight) or never has tokens of two versions
  // (drain). This is the one place that reads both; where they contradict each other it throws Error.
  static RolloutOptions of_run(const TomlTable& run_file) {
    RolloutOptions out;
    const auto rollout = run_file.get_table("rollout"), async = run_file.get_table("async");
    if (rollout) read_options(*rollout, out);
    const auto partial = async ? async->get_bool("partial_rollout") : std::nullopt;
    if (!partial) return out;
    const WeightSync meant = *partial ? WeightSync::in_flight : WeightSync::drain;
    if (rollout && rollout->has("weight_sync") && out.weight_sync != meant)
      fail_usage("{} = {} contradicts {} = \"{}\": they are one choice, so give only one of them",
                 async->where("partial_rollout"), *partial, rollout->where("weight_sync"),
                 *partial ? "drain" : "in_flight");
    out.weight_sync = meant;
    return out;
  }

  // What a lease carries. `seed`: the run's.
  SamplingParams sampling(uint64_t seed) const {
    SamplingParams p;
    p.temperature = temperature, p.top_p = top_p, p.top_k = top_k, p.min_p = min_p;
    p.max_tokens = max_new_tokens, p.stop = stop, p.ignore_eos = ignore_eos, p.seed = seed;
    p.stop_token_ids.assign(stop_token_ids.begin(), stop_token_ids.end());
    return p;
  }
};

}  // namespace cohort
