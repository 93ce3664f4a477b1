#include "learner/grpo_step.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>

#include "transport/base/error.h"
#include "transport/base/measure.h"

namespace cohort {
namespace {

class Stopwatch {
 public:
  explicit Stopwatch(double& seconds) : seconds_(seconds), began_(std::chrono::steady_clock::now()) {}
  ~Stopwatch() { seconds_ += seconds_since(began_); }

 private:
  double& seconds_;
  std::chrono::steady_clock::time_point began_;
};

int64_t length_of(const Sample& s) {
  return static_cast<int64_t>(s.prompt_ids.size() + s.token_ids.size());
}

}  // namespace

// What one step carries along. Vectors by sample are in the order of batch.samples.
struct GrpoStep::Work {
  const Batch& batch;
  std::vector<double> advantage;             // by sample
  std::vector<std::vector<int32_t>> parts;   // samples of each mini-batch
  std::vector<std::vector<float>> old, ref;  // by sample; `old` empty where it is not known yet
  MismatchSums mismatch;
  LossSums sums;
  double updates = 0, skipped = 0, grad_norm = 0, learning_rate = 0;
  double forward_backward_s = 0, score_s = 0, reference_s = 0, all_reduce_s = 0, optimizer_s = 0, step_s = 0;

  void note_mismatch(int32_t i) {
    const Sample& s = batch.samples[static_cast<size_t>(i)];
    size_t t = 0;
    for (const VersionRun& run : s.versions)
      for (uint32_t n = 0; n < run.count; ++n, ++t)
        mismatch.add(batch.step - run.version, old[static_cast<size_t>(i)][t], s.logprobs[t]);
  }
};

GrpoStep::GrpoStep(const GrpoStepOptions& options, Policy& policy, Policy* reference, Updater& updater,
                   Collectives& ranks)
    : options_(options), policy_(policy), reference_(reference), updater_(updater), ranks_(ranks) {
  check_grpo_options(options_.grpo);
}

void GrpoStep::check(const Batch& batch) const {
  const int64_t vocab = policy_.config().vocab_size;
  for (const Sample& s : batch.samples) {
    const auto refuse = [&](const std::string& what) {
      fail("batch of step {}: completion {} of group {} {}", batch.step, s.index, s.group, what);
    };
    if (s.prompt_ids.empty() || s.token_ids.empty()) refuse("has no prompt or no tokens");
    if (s.logprobs.size() != s.token_ids.size()) refuse("has another number of log-probs than of tokens");
    for (const auto* ids : {&s.prompt_ids, &s.token_ids})
      for (int32_t id : *ids)
        if (id < 0 || id >= vocab)
          refuse(fmt::format("has the token {}, outside the vocabulary of {}", id, vocab));
    uint64_t tokens = 0;
    for (const VersionRun& run : s.versions) {
      tokens += run.count;
      if (run.version > batch.step)
        refuse(fmt::format("was sampled by version {}, which does not exist yet", run.version));
      if (batch.step - run.version > options_.max_staleness)
        refuse(fmt::format("has tokens of version {}, staler than max_staleness {}", run.version,
                           options_.max_staleness));
    }
    if (tokens != s.token_ids.size()) refuse("has version runs that do not cover its tokens");
  }
}

void GrpoStep::score(Work& work, std::span<const int32_t> samples, const Policy& policy,
                     std::vector<std::vector<float>>& out) const {
  std::vector<int64_t> lengths;
  for (int32_t i : samples) lengths.push_back(length_of(work.batch.samples[static_cast<size_t>(i)]));
  for (const auto& micro : micro_batches(lengths, options_.micro_batch_tokens)) {
    PackedBatch pack;
    for (int32_t m : micro) {
      const Sample& s = work.batch.samples[static_cast<size_t>(samples[static_cast<size_t>(m)])];
      pack.add(s.prompt_ids, s.token_ids);
    }
    const TokenScores scores = policy.score(pack, options_.temperature);
    for (size_t j = 0; j < micro.size(); ++j)
      out[static_cast<size_t>(samples[static_cast<size_t>(micro[j])])].assign(
          scores.logprobs.begin() + pack.cu_targets[j], scores.logprobs.begin() + pack.cu_targets[j + 1]);
  }
}

// One optimizer update on this rank's `samples` of a mini-batch. `first_pass`: the weights are still those of
// the step's start, so this forward pass also tells the old log-probs where they are not known.
void GrpoStep::learn(Work& work, std::span<const int32_t> samples, const LossCounts& counts,
                     bool first_pass) {
  const GrpoOptions& o = options_.grpo;
  const double scale = o.loss_scale_factor > 0 ? o.loss_scale_factor : options_.max_new_tokens;
  policy_.zero_gradients();
  {
    const Stopwatch time(work.forward_backward_s);
    std::vector<int64_t> lengths;
    for (int32_t i : samples) lengths.push_back(length_of(work.batch.samples[static_cast<size_t>(i)]));
    const auto micros = micro_batches(lengths, options_.micro_batch_tokens);
    for (const auto& micro : micros) {
      PackedBatch pack;
      std::vector<float> behav, old, ref;
      std::vector<double> advantage;
      for (int32_t m : micro) {
        const auto i = static_cast<size_t>(samples[static_cast<size_t>(m)]);
        const Sample& s = work.batch.samples[i];
        pack.add(s.prompt_ids, s.token_ids);
        advantage.push_back(work.advantage[i]);
        behav.insert(behav.end(), s.logprobs.begin(), s.logprobs.end());
        if (reference_) ref.insert(ref.end(), work.ref[i].begin(), work.ref[i].end());
      }
      policy_.forward_backward(
          pack, options_.temperature, o.entropy_coef != 0,
          [&](const TokenScores& scores, std::span<float> grad_logprobs, std::span<float> grad_entropy) {
            for (size_t j = 0; j < micro.size(); ++j) {
              const int32_t i = samples[static_cast<size_t>(micro[j])];
              std::vector<float>& mine = work.old[static_cast<size_t>(i)];
              if (mine.empty() && first_pass) {
                mine.assign(scores.logprobs.begin() + pack.cu_targets[j],
                            scores.logprobs.begin() + pack.cu_targets[j + 1]);
                work.note_mismatch(i);
              }
              if (o.recomputes()) old.insert(old.end(), mine.begin(), mine.end());
            }
            const LossInputs<float> in{
                pack.cu_targets, advantage, scores.logprobs, o.recomputes() ? old : behav,
                behav,           ref,       scores.entropy};
            work.sums.add(grpo_loss<float>(o, scale, in, counts, grad_logprobs, grad_entropy));
          },
          &micro == &micros.back() ? [this](size_t from) { updater_.complete(from); } : Policy::Complete());
    }
  }
  const Updater::Step step = updater_.step();
  work.all_reduce_s += step.exchange_s;
  work.optimizer_s += step.update_s;
  work.updates += 1;
  work.skipped += step.skipped;
  work.grad_norm += step.grad_norm;
  work.learning_rate = step.learning_rate;
}

std::vector<Metric> GrpoStep::train(const Batch& batch) {
  std::string error;
  try {
    check(batch);
  } catch (const Error& e) {
    error = e.what();
  }
  if (error = ranks_.first_error(error); !error.empty()) throw Error(error);

  Work work{batch, {}, {}, {}, {}, {}, {}};
  {
    const Stopwatch time(work.step_s);
    const GrpoOptions& o = options_.grpo;
    const auto by_group = advantages(o.scale_rewards, batch.groups);
    const auto parts = static_cast<size_t>(o.mini_batches);
    std::map<GroupId, size_t> position;
    for (size_t g = 0; g < batch.groups.size(); ++g) position[batch.groups[g].group] = g;
    work.parts.resize(parts);
    std::vector<double> counts(2 * parts, 0);
    for (size_t i = 0; i < batch.samples.size(); ++i) {
      const Sample& s = batch.samples[i];
      const auto found = position.find(s.group);
      if (found == position.end() || s.index >= by_group[found->second].size())
        throw std::logic_error("a sample of a group that is not in its batch");
      work.advantage.push_back(by_group[found->second][s.index]);
      const size_t part = found->second * parts / batch.groups.size();
      work.parts[part].push_back(static_cast<int32_t>(i));
      counts[2 * part] += static_cast<double>(s.token_ids.size());
      counts[2 * part + 1] += 1;
    }
    ranks_.sum(counts);
    work.old.resize(batch.samples.size());
    work.ref.resize(batch.samples.size());

    // The first mini-batch learns its old log-probs from its own forward pass; the others come after an
    // update.
    if (o.recomputes()) {
      const Stopwatch scoring(work.score_s);
      for (size_t part = 1; part < parts; ++part) {
        score(work, work.parts[part], policy_, work.old);
        for (int32_t i : work.parts[part]) work.note_mismatch(i);
      }
    }
    if (reference_) {
      const Stopwatch scoring(work.reference_s);
      for (const auto& part : work.parts) score(work, part, *reference_, work.ref);
    }
    for (int epoch = 0; epoch < o.ppo_epochs; ++epoch)
      for (size_t part = 0; part < parts; ++part)
        if (counts[2 * part] > 0)  // fewer groups than mini-batches leaves some empty, on every rank alike
          learn(work, work.parts[part], {counts[2 * part], counts[2 * part + 1]}, epoch == 0 && part == 0);
  }
  return metrics(batch, work);
}

std::vector<Metric> GrpoStep::metrics(const Batch& batch, Work& work) {
  // One all-reduce of everything that adds up: loss sums, lengths, lags, then the mismatch by lag.
  std::vector<double> sums(work.sums.values().begin(), work.sums.values().end());
  const size_t lags = static_cast<size_t>(options_.max_staleness) + 1;
  double tokens = 0, truncated = 0, prompt_tokens = 0, longest = 0;
  std::vector<double> by_lag(lags, 0);
  for (const Sample& s : batch.samples) {
    tokens += static_cast<double>(s.token_ids.size());
    prompt_tokens += static_cast<double>(s.prompt_ids.size());
    longest = std::max(longest, static_cast<double>(s.token_ids.size()));
    truncated += s.truncated;
    for (const VersionRun& run : s.versions) by_lag[batch.step - run.version] += run.count;
  }
  work.mismatch.kl.resize(lags), work.mismatch.tokens.resize(lags), work.mismatch.max_abs.resize(lags);
  const size_t counts_at = sums.size();
  for (double x : {tokens, prompt_tokens, truncated, static_cast<double>(batch.samples.size()),
                   work.forward_backward_s, work.all_reduce_s})
    sums.push_back(x);
  const size_t lag_at = sums.size();
  for (const auto* v : {&by_lag, &work.mismatch.kl, &work.mismatch.tokens})
    sums.insert(sums.end(), v->begin(), v->end());
  ranks_.sum(sums);
  longest = static_cast<double>(ranks_.max(static_cast<int64_t>(longest)));
  LossSums all;
  std::copy_n(sums.begin(), LossSums::kFields, all.values().begin());
  tokens = sums[counts_at], prompt_tokens = sums[counts_at + 1], truncated = sums[counts_at + 2];
  const double samples = sums[counts_at + 3], ranks = ranks_.size();

  std::vector<Metric> out;
  const auto put = [&](const std::string& name, double value) { out.push_back({name, value}); };
  double reward = 0, squares = 0, n = 0, even = 0;
  for (const GroupRewards& g : batch.groups) {
    const auto [low, high] = std::minmax_element(g.rewards.begin(), g.rewards.end());
    even += g.rewards.empty() || *low == *high;
    for (double r : g.rewards)
      if (!std::isnan(r)) reward += r, squares += r * r, ++n;
  }
  reward /= std::max(n, 1.0);
  put("reward/mean", reward);
  put("reward/std", std::sqrt(std::max(0.0, squares / std::max(n, 1.0) - reward * reward)));
  put("reward/zero_variance_groups", even / std::max<double>(1, static_cast<double>(batch.groups.size())));

  const double seen = std::max(all.tokens, 1.0), updates = std::max(work.updates, 1.0);
  put("loss", all.loss / updates);
  put("policy_loss", all.policy_loss / updates);
  if (reference_) put("kl_loss", all.kl_loss / updates), put("kl", all.kl / seen);
  put("entropy", all.entropy / seen);
  put("approx_kl", all.approx_kl / seen);
  put("ratio", all.ratio / seen);
  put("clip_ratio", (all.clip_low + all.clip_high) / seen);
  put("clip_ratio/low", all.clip_low / seen);
  put("clip_ratio/high", all.clip_high / seen);
  put("clip_ratio/dual", all.clip_dual / seen);
  if (options_.grpo.rollout_is || options_.grpo.use_decoupled_loss)
    put("is_weight/mean", all.is_weight / seen), put("is_weight/cut", all.is_cut / seen);
  put("grad_norm", work.grad_norm / updates);
  put("learning_rate", work.learning_rate);
  put("updates", work.updates);
  put("updates/skipped", work.skipped);

  double mismatch = 0, measured = 0, lag_sum = 0, oldest = 0;
  for (size_t lag = 0; lag < lags; ++lag) {
    const double count = sums[lag_at + lag], kl = sums[lag_at + lags + lag],
                 compared = sums[lag_at + 2 * lags + lag];
    lag_sum += count * static_cast<double>(lag);
    if (count > 0)
      oldest = static_cast<double>(lag), put(fmt::format("staleness/lag_{}", lag), count / tokens);
    if (compared > 0) put(fmt::format("mismatch_kl/lag_{}", lag), kl / compared);
    mismatch += kl, measured += compared;
  }
  put("mismatch_kl", mismatch / std::max(measured, 1.0));
  put("staleness/mean", lag_sum / std::max(tokens, 1.0));
  put("staleness/max", oldest);
  put("response_length/mean", tokens / std::max(samples, 1.0));
  put("response_length/max", longest);
  put("response_length/truncated", truncated / std::max(samples, 1.0));
  put("tokens", tokens);
  put("prompt_tokens", prompt_tokens);
  put("samples", samples);
  put("time/forward_backward", sums[counts_at + 4] / ranks);
  put("time/all_reduce", sums[counts_at + 5] / ranks);
  put("time/old_log_prob", work.score_s);
  put("time/reference", work.reference_s);
  put("time/optimizer", work.optimizer_s);
  put("time/train", work.step_s);
  put("tokens_per_second", (tokens + prompt_tokens) / std::max(work.step_s, 1e-9));
  return out;
}

}  // namespace cohort
