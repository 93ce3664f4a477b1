// What is held, and which of it the next forward pass takes. engine_slots.cc: where its KV lies; engine_ends.cc: what a pass
// sampled.
#include <algorithm>

#include "rollout/engine_parts.h"
#include "transport/base/error.h"

namespace cohort {

Engine::Engine(ModelRunner& runner, std::shared_ptr<const Tokenizer> tokenizer, EngineOptions options)
    : runner_(runner), tokenizer_(std::move(tokenizer)), options_(options) {
  max_context_ = runner.max_context();
  const int64_t positions = runner.config().max_position_embeddings;
  if (positions > 0) max_context_ = int32_t(std::min<int64_t>(max_context_, positions));
  max_running_ = size_t(runner.max_slots()), prompt_slots_ = size_t(runner.prompt_slots());
  for (auto slot = int32_t(max_running_ + prompt_slots_); slot-- > 0;) free_slots_.push_back(slot);
}

Engine::~Engine() = default;

void Engine::add(EngineRequest request) {
  const auto& prompt = request.prompt_ids;
  const SamplingParams& p = request.sampling;
  if (prompt.empty()) fail("the prompt has no tokens");
  if (int64_t(prompt.size()) >= max_context_)
    fail("the prompt has {} tokens, which leaves no room in a context of {} (max_context)", prompt.size(),
         max_context_);
  for (int32_t id : prompt)
    if (id < 0 || id >= runner_.config().vocab_size)
      fail("the prompt has token {}, but the model's vocabulary has {}", id, runner_.config().vocab_size);
  if (p.max_tokens < 1) fail("max_tokens is {}, must be at least 1", p.max_tokens);
  if (!(p.temperature >= 0)) fail("temperature is {}, must be at least 0", p.temperature);
  if (!(p.top_p >= 0 && p.top_p <= 1)) fail("top_p is {}, must be from 0 to 1", p.top_p);
  if (!(p.min_p >= 0 && p.min_p <= 1)) fail("min_p is {}, must be from 0 to 1", p.min_p);
  if (p.top_k < 0) fail("top_k is {}, must be at least 0", p.top_k);
  if (!p.stop.empty() && !tokenizer_) fail("stop strings need a tokenizer");
  for (const std::string& s : p.stop)
    if (s.empty()) fail("a stop string is empty");

  for (const Group& g : groups_) {
    if (g.request.group != request.group) continue;
    std::erase_if(request.indices, [&](uint32_t index) {
      const auto is_it = [&](const auto& s) { return s->group == &g && s->index == index; };
      return std::find(g.waiting.begin(), g.waiting.end(), index) != g.waiting.end() ||
             std::any_of(running_.begin(), running_.end(), is_it) ||
             std::any_of(preempted_.begin(), preempted_.end(), is_it);
    });
  }
  std::sort(request.indices.begin(), request.indices.end());
  request.indices.erase(std::unique(request.indices.begin(), request.indices.end()), request.indices.end());
  if (request.indices.empty()) return;
  Group& group = groups_.emplace_back();
  group.waiting.assign(request.indices.begin(), request.indices.end());
  group.request = std::move(request);
}

void Engine::cancel(GroupId id) {
  std::erase_if(running_, [&](const std::shared_ptr<Sequence>& s) {
    if (s->group->request.group != id) return false;
    leave(*s);
    return true;
  });
  std::erase_if(preempted_,
                [&](const std::shared_ptr<Sequence>& s) { return s->group->request.group == id; });
  std::erase_if(groups_, [&](const Group& g) {
    if (g.request.group != id) return false;
    if (g.prompt_slot >= 0) free_slot(g.prompt_slot);
    return true;
  });
}

std::vector<HeldLease> Engine::held() const {
  std::vector<HeldLease> all;
  for (const Group& g : groups_) {
    HeldLease lease{g.request.group, {g.waiting.begin(), g.waiting.end()}};
    for (const auto& s : running_)
      if (s->group == &g) lease.indices.push_back(s->index);
    for (const auto& s : preempted_)
      if (s->group == &g) lease.indices.push_back(s->index);
    all.push_back(std::move(lease));
  }
  return all;
}

std::vector<HeldLease> Engine::give_back(bool running_too) {
  std::vector<HeldLease> all;
  if (running_too) {
    all = held();
    for (const auto& s : running_) leave(*s);
    running_.clear();
    preempted_.clear();
    for (Group& g : groups_) g.running = 0;
  }
  for (auto g = groups_.begin(); g != groups_.end();) {
    if (!running_too && !g->waiting.empty())
      all.push_back({g->request.group, {g->waiting.begin(), g->waiting.end()}});
    g->waiting.clear();
    if (g->prompt_slot >= 0) free_slot(std::exchange(g->prompt_slot, -1));
    g = g->running == 0 ? groups_.erase(g) : std::next(g);
  }
  return all;
}

size_t Engine::waiting() const {
  size_t n = preempted_.size();
  for (const Group& g : groups_) n += g.waiting.size();
  return n;
}

// A prompt's KV made by other weights than its sequences' first token would be a distribution no learner can
// name.
void Engine::forget_prefills() {
  for (Group& g : groups_) give_up_prompt(g);
}

void Engine::swap_if_due() {
  if (!staged_ || (options_.weight_sync == WeightSync::drain && !(running_.empty() && preempted_.empty())))
    return;
  staged_ = false;  // before the swap: a set staged from here on is announced by a new flag
  if (!runner_.swap_weights()) return;
  swapped_ = true;
  forget_prefills();
}

void Engine::start_sequences() {
  if (!resume_preempted()) return;
  if (staged_ && options_.weight_sync == WeightSync::drain) return;
  for (Group& g : groups_) {
    if (!g.ready()) continue;  // later groups may overtake one whose long prompt is still being prefilled
    while (!g.waiting.empty() && places() > 0) {
      int32_t slot;
      if (g.waiting.size() == 1 && g.prompt_slot >= 0) {
        slot = std::exchange(g.prompt_slot, -1);
      } else if (!free_slots_.empty() &&
                 (g.prompt_slot < 0 || runner_.copy_slot(g.prompt_slot, free_slots_.back()))) {
        slot = take_slot();
        if (g.prompt_slot < 0) runner_.reset_slot(slot);
      } else if (g.prompt_slot >= 0 && running_.empty()) {
        slot = std::exchange(g.prompt_slot,
                             -1);  // no second slot, or no pages, to be had: the rest prefills again
        g.prefilled = 0;
      } else {
        break;
      }
      auto s = std::make_shared<Sequence>();
      s->group = &g;
      s->index = g.waiting.front();
      s->slot = slot;
      s->order = ++started_;
      s->next = g.request.prompt_ids.back();
      if (!g.request.sampling.stop.empty()) s->decoder = std::make_unique<StreamDecoder>(tokenizer_);
      g.waiting.pop_front();
      ++g.running;
      running_.push_back(std::move(s));
      if (!g.ready()) break;
    }
  }
}

// Sequences that may start.
size_t Engine::places() const {
  return max_running_ - running_.size();
}

// Is a prompt half computed, or would a place stay empty, or are the sequences prefilled ahead running out?
bool Engine::prefill_is_due() const {
  size_t prefilled = 0;
  for (const Group& g : groups_) {
    if (g.waiting.empty()) continue;
    if (g.ready())
      prefilled += g.waiting.size();
    else if (g.prompt_slot >= 0)
      return true;
  }
  return prefilled < places() + prompt_slots_;
}

// The oldest group that still has prompt to compute and has, or can get, a slot for it. A new prompt takes a
// slot only where the groups prefilled before it will leave one: else prompts would fill the slots their
// sequences need.
Engine::Group* Engine::prefill_candidate() {
  size_t claimed = 0;
  for (Group& g : groups_) {
    if (g.waiting.empty()) continue;
    if (g.prompt_slot >= 0 && !g.ready()) return &g;
    if (g.ready()) {
      claimed += g.waiting.size() - (g.prompt_slot >= 0 ? 1 : 0);
      continue;
    }
    if (std::min(claimed, places()) >= free_slots_.size()) return nullptr;
    g.prompt_slot = take_slot();
    g.prefilled = 0;
    runner_.reset_slot(g.prompt_slot);
    return &g;
  }
  return nullptr;
}

// Ends, whatever is sampled, with what passes begun already sample.
bool Engine::certainly_over(const Sequence& s) const {
  const auto count = int64_t(s.tokens.size() + s.in_flight);
  return s.in_flight > 0 && (count >= s.group->request.sampling.max_tokens ||
                             int64_t(s.group->request.prompt_ids.size()) + count >= max_context_);
}

Engine::Pass Engine::plan() {
  Pass pass;
  pass.version = runner_.version();
  auto budget = size_t(options_.max_num_batched_tokens);
  // An index, as make_room() takes sequences off the end.
  for (size_t i = 0; i < running_.size(); ++i) {
    const std::shared_ptr<Sequence> s = running_[i];
    if (certainly_over(*s)) continue;
    SequenceStep one;
    one.slot = s->slot;
    if (!s->again.empty()) {  // its slot has room for all of it
      const auto done = size_t(runner_.slot_length(s->slot));
      const size_t count = std::min(budget, s->again.size() - done);
      if (count == 0) continue;
      one.tokens = {s->again.data() + done, count};
      budget -= count, tokens_prefilled_ += count;
      pass.steps.push_back(one);
      pass.sequences.push_back(nullptr);
      continue;
    }
    if (!make_room(s.get(), s->slot, 1)) {
      preempt(s);  // and all that started after it are gone already
      break;
    }
    if (s->in_flight > 0)
      one.continue_last = true;
    else
      one.tokens = {&s->next, 1};
    one.sample = true;
    one.sampling = &s->group->request.sampling;
    one.group = s->group->request.group;
    one.index = s->index;
    one.position = uint32_t(s->tokens.size() + s->in_flight);
    pass.steps.push_back(one);
    pass.sequences.push_back(s);
  }
  const bool draining = staged_ && options_.weight_sync == WeightSync::drain;
  const bool due = !draining && preempted_.empty() && prefill_is_due();
  while (budget > 0 && due) {
    Group* g = prefill_candidate();
    if (!g) break;
    const size_t count = std::min(budget, g->to_prefill() - g->prefilled);
    // Prompts wait for room; only where nothing else runs they push others' prompts out.
    if (running_.empty() && pass.steps.empty() ? !make_room(nullptr, g->prompt_slot, int32_t(count))
                                               : !runner_.reserve(g->prompt_slot, int32_t(count)))
      break;
    SequenceStep chunk;
    chunk.slot = g->prompt_slot;
    chunk.tokens = {g->request.prompt_ids.data() + g->prefilled, count};
    pass.steps.push_back(chunk);
    pass.sequences.push_back(nullptr);
    g->prefilled += count;
    budget -= count;
    tokens_prefilled_ += count;
  }
  for (const auto& s : pass.sequences)
    if (s) ++s->in_flight;
  return pass;
}

std::vector<Completion> Engine::step() {
  swap_if_due();
  start_sequences();
  auto pass = std::make_unique<Pass>(plan());
  if (!runner_.overlaps()) {
    if (pass->steps.empty()) return {};
    std::vector<Sampled> sampled(pass->steps.size());
    runner_.step(pass->steps, sampled);
    return conclude(*pass, sampled);
  }
  if (pass->steps.empty())
    pass = nullptr;
  else
    runner_.begin_step(pass->steps);
  std::swap(ahead_, pass);
  if (!pass) return {};
  std::vector<Sampled> sampled(pass->steps.size());
  runner_.end_step(sampled);
  return conclude(*pass, sampled);
}

}  // namespace cohort
