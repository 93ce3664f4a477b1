#include "rollout/testing/fake_runner.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>
#include <stdexcept>
#include <thread>

namespace cohort {

FakeRunner::FakeRunner(FakeRunnerOptions options) : options_(options) {
  config_.model_type = "fake";
  config_.vocab_size = options.vocab_size;
  config_.max_position_embeddings = options.max_context;
  if (options.eos >= 0) config_.eos_token_ids = {options.eos};
  slots_.resize(size_t(options.max_slots + options.prompt_slots));
}

uint64_t FakeRunner::advance(uint64_t state, int32_t token) const {
  const auto r = philox4x32({uint32_t(state), uint32_t(state >> 32), uint32_t(token), version_}, {17, 4});
  return uint64_t{r[0]} << 32 | r[1];
}

std::vector<float> FakeRunner::logits(uint64_t state) const {
  std::vector<float> l(size_t(options_.vocab_size));
  for (size_t v = 0; v < l.size(); ++v) l[v] = float(4 * uniform_at(state, version_, uint32_t(v), 0));
  if (options_.eos >= 0) l[size_t(options_.eos)] += float(options_.eos_logit);
  return l;
}

void FakeRunner::step(std::span<const SequenceStep> sequence_steps, std::span<Sampled> out) {
  if (options_.overlaps) throw std::logic_error("step: this one overlaps");
  compute(sequence_steps, out);
}

// All of it is computed at once, as later calls take effect after it; what is known only at the end is the result.
void FakeRunner::begin_step(std::span<const SequenceStep> sequence_steps) {
  if (!options_.overlaps || begun_.size() > 1) throw std::logic_error("begin_step: not now");
  compute(sequence_steps, begun_.emplace_back(sequence_steps.size()));
}

void FakeRunner::end_step(std::span<Sampled> out) {
  if (begun_.empty() || begun_.front().size() != out.size()) throw std::logic_error("end_step: sizes differ");
  std::copy(begun_.front().begin(), begun_.front().end(), out.begin());
  begun_.pop_front();
}

void FakeRunner::compute(std::span<const SequenceStep> sequence_steps, std::span<Sampled> out) {
  if (sequence_steps.empty() || out.size() != sequence_steps.size())
    throw std::logic_error("step: sizes differ");
  std::set<int32_t> used;
  size_t prefill = 0, batch = 0;
  for (size_t i = 0; i < sequence_steps.size(); ++i) {
    const SequenceStep& s = sequence_steps[i];
    if (!used.insert(s.slot).second) throw std::logic_error("step: a slot twice");
    if (s.tokens.empty() != s.continue_last) throw std::logic_error("step: no tokens, or too many");
    Slot& slot = slots_.at(size_t(s.slot));
    if (s.continue_last && slot.last < 0) throw std::logic_error("step: nothing was sampled in this slot");
    const auto tokens = s.continue_last ? std::span<const int32_t>(&slot.last, 1) : s.tokens;
    if (!reserve(s.slot, int32_t(tokens.size())))
      throw std::logic_error("step: no room, it was not reserved");
    for (int32_t token : tokens) slot.state = advance(slot.state, token), ++slot.length;
    if (slot.length > options_.max_context) throw std::logic_error("step: context overrun");
    if (!s.sample) {
      prefill += s.tokens.size();
      continue;
    }
    ++batch;
    std::vector<float> l = logits(slot.state);
    out[i] = sample(l, *s.sampling, uniform_at(s.sampling->seed, s.group, s.index, s.position));
    slot.last = out[i].token;
  }
  ++steps;
  prefill_steps += prefill > 0;
  prefill_tokens += prefill;
  largest_batch = std::max(largest_batch, batch);
  largest_prefill = std::max(largest_prefill, prefill);
  if (options_.step_seconds > 0)
    std::this_thread::sleep_for(std::chrono::duration<double>(options_.step_seconds));
}

std::vector<float> FakeRunner::score(std::span<const int32_t> tokens) {
  std::vector<float> logprobs;
  uint64_t state = 0;
  for (size_t i = 0; i + 1 < tokens.size(); ++i) {
    state = advance(state, tokens[i]);
    const std::vector<float> l = logits(state);
    double sum = 0;
    for (float x : l) sum += std::exp(double(x));
    logprobs.push_back(float(l.at(size_t(tokens[i + 1])) - std::log(sum)));
  }
  return logprobs;
}

void FakeRunner::reset_slot(int32_t slot) {
  slots_.at(size_t(slot)) = {};
}
int32_t FakeRunner::pages_held() const {
  int32_t pages = 0;
  for (const Slot& s : slots_) pages += s.pages;
  return pages;
}
bool FakeRunner::reserve(int32_t slot, int32_t tokens) {
  Slot& s = slots_.at(size_t(slot));
  const int32_t wanted = (s.length + tokens + 3) / 4;
  if (wanted <= s.pages) return true;
  if (options_.capacity > 0 && pages_held() + wanted - s.pages > options_.capacity / 4) return false;
  s.pages = wanted;
  return true;
}
bool FakeRunner::copy_slot(int32_t from, int32_t to) {
  slots_.at(size_t(to)) = {};
  if (!reserve(to, slots_.at(size_t(from)).length)) return false;
  ++copies;
  slots_.at(size_t(to)) = slots_.at(size_t(from));
  slots_.at(size_t(to)).last = -1;
  return true;
}
int32_t FakeRunner::slot_length(int32_t slot) const {
  return slots_.at(size_t(slot)).length;
}

void FakeRunner::stage_weights(std::shared_ptr<const WeightSet> weights) {
  std::lock_guard lock(mutex_);
  staged_ = std::move(weights);
}

bool FakeRunner::swap_weights() {
  std::lock_guard lock(mutex_);
  if (!staged_) return false;
  version_ = staged_->manifest.version;
  staged_ = nullptr;
  return true;
}

}  // namespace cohort
