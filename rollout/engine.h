// Continuous batching: decides which tokens of which sequences each forward pass of a ModelRunner takes.
//
//   add() -> waiting groups -> (prompt prefilled once, in chunks) -> slots of running sequences -> step()'s
//   completions
//
// One step() is one forward pass: a token of every running sequence, and prompt chunks of waiting groups up
// to `max_num_batched_tokens`, so that a long prompt delays decoding by a bounded amount. A group's prompt
// but its last token is prefilled into one slot; each sequence of the group copies that slot and starts by
// feeding the last token, the group's last sequence takes the slot itself. A finished sequence leaves in the
// step in which it ended and its slot is used again in the next.
//
// Prompts are computed at once while a sequence could start from them. Where all may run that can, a runner with slots for
// prompts (ModelRunner::prompt_slots) has them computed ahead and together: none while at least as many prefilled sequences
// wait as it has such slots, then all that wait and find a slot. So most steps have no prompt in them.
//
// A runner that overlaps is kept one step ahead: step() plans and queues a forward pass in which every running sequence
// goes on from the token that is just being sampled, and only then waits for the pass before it. What a sequence that
// has ended meanwhile computed in the pass ahead is dropped. So the completions come one step() later.
//
// Where the runner's cache is full, prompts that were prefilled ahead are given up first, then the sequence that started
// last: it keeps its tokens, waits, and its KV is computed again when there is room for all of it. The oldest
// sequence is never given up and the cache holds at least one, so there is always one that advances.
//
// Deterministic: which tokens a completion has depends on (seed, group, index, prompt, weights) alone, never
// on what else is in the batch (as far as the runner's arithmetic does not depend on it). No thread of its
// own.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "rollout/model_runner.h"
#include "rollout/options.h"
#include "rollout/tokenizer/tokenizer.h"
#include "transport/messages.h"

namespace cohort {

struct EngineOptions {
  int32_t max_num_batched_tokens = 2048;  // prompt tokens a step
  WeightSync weight_sync = WeightSync::in_flight;
};

// The completions `indices` of one prompt.
struct EngineRequest {
  GroupId group = 0;
  std::vector<uint32_t> indices;
  std::vector<int32_t> prompt_ids;
  SamplingParams sampling;
};

class Engine {
 public:
  // `runner` must outlive the engine. Without a tokenizer completions have no text, and stop strings are
  // refused.
  Engine(ModelRunner& runner, std::shared_ptr<const Tokenizer> tokenizer, EngineOptions options = {});
  ~Engine();

  // Appends to the waiting queue. Throws Error, and takes nothing, for a request that can never be sampled:
  // an empty prompt, one that leaves no room in the context, a token the model does not have, bad sampling
  // parameters. Indices of the group that are already held are ignored.
  void add(EngineRequest request);
  // Drops all of the group's sequences, running or not. Unknown groups are ignored.
  void cancel(GroupId group);
  // Drops the sequences that have no slot yet, or all of them, and says which those were.
  std::vector<HeldLease> give_back(bool running_too);
  // What is held and not finished.
  std::vector<HeldLease> held() const;

  // One forward pass (none when idle), preceded by the weight swap that is due. The completions that ended in
  // it.
  std::vector<Completion> step();

  // Tell the engine that the runner has staged weights. Any thread. The swap happens in a later step(): the
  // next one (in_flight), or the first in which no sequence runs (drain; until then nothing new starts).
  void weights_staged() { staged_ = true; }
  Version version() const { return runner_.version(); }
  bool swapped() const { return swapped_; }  // ever

  bool idle() const { return groups_.empty(); }  // a staged swap is done by step() even when idle
  size_t running() const { return running_.size(); }
  size_t waiting() const;  // sequences without a slot
  size_t held_groups() const { return groups_.size(); }
  uint64_t tokens_sampled() const { return tokens_sampled_; }
  uint64_t tokens_prefilled() const { return tokens_prefilled_; }
  uint64_t preemptions() const { return preemptions_; }

 private:
  struct Group;
  struct Sequence;
  struct Pass;

  void swap_if_due();
  void forget_prefills();
  void give_up_prompt(Group& group);
  void start_sequences();
  bool resume_preempted();
  bool prefill_is_due() const;
  size_t places() const;
  Group* prefill_candidate();
  int32_t take_slot();
  void free_slot(int32_t slot);
  void leave(Sequence& sequence);
  bool make_room(const Sequence* for_whom, int32_t slot, int32_t tokens);
  void preempt(std::shared_ptr<Sequence> sequence);
  Pass plan();
  std::vector<Completion> conclude(Pass& pass, const std::vector<Sampled>& sampled);
  bool accept(Sequence& sequence, const Sampled& sampled, Version version,
              std::chrono::steady_clock::time_point now);
  bool certainly_over(const Sequence& sequence) const;
  Completion finish(Sequence& sequence);
  void end_of(Group& group);

  ModelRunner& runner_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  EngineOptions options_;
  int32_t max_context_ = 0;
  size_t max_running_ = 0, prompt_slots_ = 0;
  std::atomic<bool> staged_ = false;
  bool swapped_ = false;
  std::vector<int32_t> free_slots_;
  std::list<Group> groups_;  // in the order they came; gone when its last sequence ended
  std::vector<std::shared_ptr<Sequence>> running_;   // with a slot, in the order they first started
  std::deque<std::shared_ptr<Sequence>> preempted_;  // without, likewise; they go before anything new
  std::unique_ptr<Pass> ahead_;                      // begun and not ended
  uint64_t tokens_sampled_ = 0, tokens_prefilled_ = 0, preemptions_ = 0, started_ = 0;
};

}  // namespace cohort
