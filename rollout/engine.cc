#include "rollout/engine.h"

#include <algorithm>

#include "transport/base/error.h"

namespace cohort {

namespace {
using Clock = std::chrono::steady_clock;

bool contains(const std::vector<int32_t>& ids, int32_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}
}  // namespace

// The KV of a group's prompt sits in `prompt_slot` from the first prefilled chunk until its last sequence has
// started.
struct Engine::Group {
  EngineRequest request;
  std::deque<uint32_t> waiting;  // indices without a slot
  size_t running = 0;
  int32_t prompt_slot = -1;
  size_t prefilled = 0;  // prompt tokens in prompt_slot

  size_t to_prefill() const {
    return request.prompt_ids.size() - 1;
  }  // the last one is each sequence's first step
  bool ready() const { return to_prefill() == 0 || (prompt_slot >= 0 && prefilled == to_prefill()); }
};

struct Engine::Sequence {
  Group* group = nullptr;
  uint32_t index = 0;
  int32_t slot = -1;
  uint64_t order = 0;  // of its first start
  int32_t next = 0;    // the token to feed: the prompt's last, then the one sampled last
  std::vector<int32_t>
      again;  // after a pre-emption: all tokens whose KV has to be computed again, empty when it is
  size_t in_flight = 0;  // samples of passes begun and not ended
  bool left =
      false;  // ended, cancelled or pre-empted: passes ahead that still hold it are not its own any more
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  std::vector<VersionRun> versions;
  Clock::time_point began, last;
  std::unique_ptr<StreamDecoder> decoder;  // only where stop strings have to be looked for
  std::string text;
  bool stopped_by_string = false, stopped_by_token = false;
  std::string finish_reason;
};

// One forward pass: its steps and whose they are (null for prompt chunks). A sequence may have left meanwhile.
struct Engine::Pass {
  std::vector<SequenceStep> steps;
  std::vector<std::shared_ptr<Sequence>> sequences;
  Version version = 0;
};

Engine::Engine(ModelRunner& runner, std::shared_ptr<const Tokenizer> tokenizer, EngineOptions options)
    : runner_(runner), tokenizer_(std::move(tokenizer)), options_(options) {
  max_context_ = runner.max_context();
  const int64_t positions = runner.config().max_position_embeddings;
  if (positions > 0) max_context_ = int32_t(std::min<int64_t>(max_context_, positions));
  for (int32_t slot = runner.max_slots(); slot-- > 0;) free_slots_.push_back(slot);
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

void Engine::give_up_prompt(Group& group) {
  if (group.prompt_slot >= 0) free_slot(std::exchange(group.prompt_slot, -1));
  group.prefilled = 0;
}

void Engine::swap_if_due() {
  if (!staged_ || (options_.weight_sync == WeightSync::drain && !(running_.empty() && preempted_.empty())))
    return;
  staged_ = false;  // before the swap: a set staged from here on is announced by a new flag
  if (!runner_.swap_weights()) return;
  swapped_ = true;
  forget_prefills();
}

void Engine::free_slot(int32_t slot) {
  runner_.reset_slot(
      slot);  // a pass ahead may still write to it: it does so before any that is begun from here on
  free_slots_.push_back(slot);
}

void Engine::leave(Sequence& sequence) {
  sequence.left = true;
  free_slot(std::exchange(sequence.slot, -1));
}

int32_t Engine::take_slot() {
  const int32_t slot = free_slots_.back();
  free_slots_.pop_back();
  return slot;
}

// Room for `tokens` more tokens in the slot, if need be at the cost of what can be computed again: prompts prefilled ahead
// (the youngest group's first), then running sequences, the one that started last first, but never `for_whom` or an older
// one. False when there is nothing left to give up.
bool Engine::make_room(const Sequence* for_whom, int32_t slot, int32_t tokens) {
  while (!runner_.reserve(slot, tokens)) {
    const auto prompt = std::find_if(groups_.rbegin(), groups_.rend(), [&](const Group& g) {
      return g.prompt_slot >= 0 && g.prompt_slot != slot;
    });
    if (prompt != groups_.rend()) {
      give_up_prompt(*prompt);
      continue;
    }
    if (running_.empty() || !for_whom || running_.back()->order <= for_whom->order) return false;
    preempt(running_.back());
  }
  return true;
}

void Engine::preempt(std::shared_ptr<Sequence> s) {
  ++preemptions_;
  std::erase(running_, s);
  leave(*s);
  // What passes ahead sample for it is dropped, so it goes on as another object.
  auto waiting = std::make_shared<Sequence>(std::move(*s));
  s->left = true;
  waiting->left = false;
  waiting->in_flight = 0;
  waiting->again = waiting->group->request.prompt_ids;
  waiting->again.insert(waiting->again.end(), waiting->tokens.begin(), waiting->tokens.end());
  waiting->again.pop_back();  // the last is the next step's
  const auto place = std::find_if(preempted_.begin(), preempted_.end(),
                                  [&](const auto& p) { return p->order > waiting->order; });
  preempted_.insert(place, std::move(waiting));
}

// Gives the oldest pre-empted sequences slots again, where the cache has room for all they know and one token. False while
// some are left without: then nothing new may start.
bool Engine::resume_preempted() {
  while (!preempted_.empty()) {
    if (free_slots_.empty()) {
      const auto prompt =
          std::find_if(groups_.rbegin(), groups_.rend(), [](const Group& g) { return g.prompt_slot >= 0; });
      if (prompt == groups_.rend()) return false;
      give_up_prompt(*prompt);
    }
    Sequence& s = *preempted_.front();
    const int32_t slot = free_slots_.back();
    if (!make_room(nullptr, slot, int32_t(s.again.size()) + 1)) return false;
    s.slot = take_slot();
    const auto place =
        std::find_if(running_.begin(), running_.end(), [&](const auto& r) { return r->order > s.order; });
    running_.insert(place, std::move(preempted_.front()));
    preempted_.pop_front();
  }
  return true;
}

void Engine::start_sequences() {
  if (!resume_preempted()) return;
  if (staged_ && options_.weight_sync == WeightSync::drain) return;
  for (Group& g : groups_) {
    if (!g.ready()) continue;  // later groups may overtake one whose long prompt is still being prefilled
    while (!g.waiting.empty()) {
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
    if (claimed >= free_slots_.size()) return nullptr;
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
  while (budget > 0 && !draining && preempted_.empty()) {
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

std::vector<Completion> Engine::conclude(Pass& pass, const std::vector<Sampled>& sampled) {
  const auto now = Clock::now();
  std::vector<Completion> done;
  for (size_t i = 0; i < pass.sequences.size(); ++i) {
    const std::shared_ptr<Sequence>& s = pass.sequences[i];
    if (!s || s->left) continue;
    --s->in_flight;
    if (!accept(*s, sampled[i], pass.version, now)) continue;
    done.push_back(finish(*s));
    leave(*s);
    --s->group->running;
    end_of(*s->group);
  }
  std::erase_if(running_, [](const auto& s) { return s->left; });
  // A pre-empted sequence whose KV is whole again goes on with its last token.
  for (const auto& s : running_)
    if (!s->again.empty() && size_t(runner_.slot_length(s->slot)) == s->again.size()) s->again.clear();
  return done;
}

// Takes the sampled token; true when the sequence ended with it.
bool Engine::accept(Sequence& s, const Sampled& sampled, Version version, Clock::time_point now) {
  const SamplingParams& p = s.group->request.sampling;
  if (s.tokens.empty()) s.began = now;
  s.last = now;
  s.tokens.push_back(sampled.token);
  s.logprobs.push_back(sampled.logprob);
  if (s.versions.empty() || s.versions.back().version != version) s.versions.push_back({version, 0});
  ++s.versions.back().count;
  ++tokens_sampled_;
  s.next = sampled.token;

  if ((!p.ignore_eos && contains(runner_.config().eos_token_ids, sampled.token)) ||
      contains(p.stop_token_ids, sampled.token)) {
    s.stopped_by_token = true;
    s.finish_reason = "stop";
    return true;
  }
  if (s.decoder) {
    size_t longest = 0;
    for (const std::string& stop : p.stop) longest = std::max(longest, stop.size());
    const size_t from = s.text.size() < longest ? 0 : s.text.size() - longest + 1;
    s.text += s.decoder->push(sampled.token);
    size_t cut = std::string::npos;
    for (const std::string& stop : p.stop) cut = std::min(cut, s.text.find(stop, from));
    if (cut != std::string::npos) {
      s.text.resize(cut);
      s.stopped_by_string = true;
      s.finish_reason = "stop";
      return true;
    }
  }
  const bool full = int64_t(s.group->request.prompt_ids.size() + s.tokens.size()) >= max_context_;
  if (int64_t(s.tokens.size()) >= p.max_tokens || full) {
    s.finish_reason = "length";
    return true;
  }
  return false;
}

Completion Engine::finish(Sequence& s) {
  Completion c;
  c.group = s.group->request.group;
  c.index = s.index;
  c.prompt_ids = s.group->request.prompt_ids;
  if (s.stopped_by_string) {
    c.text = std::move(s.text);
  } else if (tokenizer_) {
    c.text = tokenizer_->decode(
        std::span<const int32_t>(s.tokens).first(s.tokens.size() - (s.stopped_by_token ? 1 : 0)));
  }
  c.token_ids = std::move(s.tokens);
  c.logprobs = std::move(s.logprobs);
  c.versions = std::move(s.versions);
  c.finish_reason = std::move(s.finish_reason);
  c.seconds = std::chrono::duration<double>(s.last - s.began).count();
  return c;
}

void Engine::end_of(Group& group) {
  if (group.running > 0 || !group.waiting.empty()) return;
  groups_.remove_if([&](const Group& g) { return &g == &group; });
}

}  // namespace cohort
