// Slots of the runner's cache: who has one, and who gives it up where the cache is full.
#include <algorithm>

#include "rollout/engine_parts.h"

namespace cohort {

void Engine::give_up_prompt(Group& group) {
  if (group.prompt_slot >= 0) free_slot(std::exchange(group.prompt_slot, -1));
  group.prefilled = 0;
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

}  // namespace cohort
