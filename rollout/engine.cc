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
  int32_t next = 0;  // the token to feed: the prompt's last, then the one sampled last
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  std::vector<VersionRun> versions;
  Clock::time_point began, last;
  std::unique_ptr<StreamDecoder> decoder;  // only where stop strings have to be looked for
  std::string text;
  bool stopped_by_string = false, stopped_by_token = false;
  std::string finish_reason;
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
      return std::find(g.waiting.begin(), g.waiting.end(), index) != g.waiting.end() ||
             std::any_of(running_.begin(), running_.end(),
                         [&](const auto& s) { return s->group == &g && s->index == index; });
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
  std::erase_if(running_, [&](const std::unique_ptr<Sequence>& s) {
    if (s->group->request.group != id) return false;
    free_slot(s->slot);
    return true;
  });
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
    all.push_back(std::move(lease));
  }
  return all;
}

std::vector<HeldLease> Engine::give_back(bool running_too) {
  std::vector<HeldLease> all;
  if (running_too) {
    all = held();
    for (const auto& s : running_) free_slot(s->slot);
    running_.clear();
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
  size_t n = 0;
  for (const Group& g : groups_) n += g.waiting.size();
  return n;
}

// A prompt's KV made by other weights than its sequences' first token would be a distribution no learner can
// name.
void Engine::forget_prefills() {
  for (Group& g : groups_) {
    if (g.prompt_slot >= 0) free_slot(std::exchange(g.prompt_slot, -1));
    g.prefilled = 0;
  }
}

void Engine::swap_if_due() {
  if (!staged_ || (options_.weight_sync == WeightSync::drain && !running_.empty())) return;
  staged_ = false;  // before the swap: a set staged from here on is announced by a new flag
  if (!runner_.swap_weights()) return;
  swapped_ = true;
  forget_prefills();
}

int32_t Engine::take_slot() {
  const int32_t slot = free_slots_.back();
  free_slots_.pop_back();
  return slot;
}

void Engine::start_sequences() {
  if (staged_ && options_.weight_sync == WeightSync::drain) return;
  for (Group& g : groups_) {
    if (!g.ready()) continue;  // later groups may overtake one whose long prompt is still being prefilled
    while (!g.waiting.empty()) {
      int32_t slot;
      if (g.waiting.size() == 1 && g.prompt_slot >= 0) {
        slot = std::exchange(g.prompt_slot, -1);
      } else if (!free_slots_.empty()) {
        slot = take_slot();
        if (g.prompt_slot >= 0) {
          runner_.copy_slot(g.prompt_slot, slot);
        } else {
          runner_.reset_slot(slot);
        }
      } else if (g.prompt_slot >= 0 && running_.empty()) {
        slot = std::exchange(g.prompt_slot, -1);  // no second slot to be had: the rest prefills again
        g.prefilled = 0;
      } else {
        break;
      }
      auto s = std::make_unique<Sequence>();
      s->group = &g;
      s->index = g.waiting.front();
      s->slot = slot;
      s->next = g.request.prompt_ids.back();
      if (!g.request.sampling.stop.empty()) s->decoder = std::make_unique<StreamDecoder>(tokenizer_);
      g.waiting.pop_front();
      ++g.running;
      running_.push_back(std::move(s));
      if (!g.ready()) break;
    }
    if (free_slots_.empty()) break;
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

std::vector<Completion> Engine::step() {
  swap_if_due();
  start_sequences();

  std::vector<SequenceStep> steps;
  steps.reserve(running_.size() + 4);
  for (const auto& s : running_) {
    SequenceStep one;
    one.slot = s->slot;
    one.tokens = {&s->next, 1};
    one.sample = true;
    one.sampling = &s->group->request.sampling;
    one.group = s->group->request.group;
    one.index = s->index;
    one.position = uint32_t(s->tokens.size());
    steps.push_back(one);
  }
  const bool draining = staged_ && options_.weight_sync == WeightSync::drain;
  auto budget = size_t(options_.max_num_batched_tokens);
  while (budget > 0 && !draining) {
    Group* g = prefill_candidate();
    if (!g) break;
    const size_t count = std::min(budget, g->to_prefill() - g->prefilled);
    SequenceStep chunk;
    chunk.slot = g->prompt_slot;
    chunk.tokens = {g->request.prompt_ids.data() + g->prefilled, count};
    steps.push_back(chunk);
    g->prefilled += count;
    budget -= count;
    tokens_prefilled_ += count;
  }
  if (steps.empty()) return {};

  std::vector<Sampled> sampled(steps.size());
  runner_.step(steps, sampled);

  const auto now = Clock::now();
  std::vector<Completion> done;
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence& s = *running_[i];
    if (!accept(s, sampled[i], now)) continue;
    done.push_back(finish(s));
    free_slot(s.slot);
    --s.group->running;
    end_of(*s.group);
    running_[i] = nullptr;
  }
  std::erase(running_, nullptr);
  return done;
}

// Takes the sampled token; true when the sequence ended with it.
bool Engine::accept(Sequence& s, const Sampled& sampled, Clock::time_point now) {
  const SamplingParams& p = s.group->request.sampling;
  if (s.tokens.empty()) s.began = now;
  s.last = now;
  s.tokens.push_back(sampled.token);
  s.logprobs.push_back(sampled.logprob);
  if (s.versions.empty() || s.versions.back().version != runner_.version())
    s.versions.push_back({runner_.version(), 0});
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
