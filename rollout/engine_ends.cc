// What a forward pass sampled: tokens are taken, sequences end, completions leave.
#include <algorithm>

#include "rollout/engine_parts.h"

namespace cohort {
namespace {

bool contains(const std::vector<int32_t>& ids, int32_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

}  // namespace

std::vector<Completion> Engine::conclude(Pass& pass, const std::vector<Sampled>& sampled) {
  const auto now = std::chrono::steady_clock::now();
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
bool Engine::accept(Sequence& s, const Sampled& sampled, Version version,
                    std::chrono::steady_clock::time_point now) {
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
