#include "learner/sft.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <optional>

#include "learner/metrics_file.h"
#include "learner/packing.h"
#include "learner/sft_data.h"
#include "learner/training_state.h"
#include "transport/base/log.h"
#include "transport/base/measure.h"

namespace cohort {
namespace {

using Clock = std::chrono::steady_clock;
// One line that is rewritten on a terminal; elsewhere a line every few seconds.
class Progress {
 public:
  Progress(bool on, int64_t from, int64_t total)
      : on_(on), terminal_(isatty(STDERR_FILENO)), from_(from), total_(total) {}
  void show(int64_t step, double loss, double eval_loss, double tokens_per_second) {
    if (!on_) return;
    const bool last = step == total_;
    if (!last && seconds_since(shown_) < (terminal_ ? 0.2 : 5.0)) return;
    shown_ = Clock::now();
    const double left = seconds_since(began_) / static_cast<double>(std::max<int64_t>(1, step - from_)) *
                        static_cast<double>(total_ - step);
    std::string line = fmt::format("sft  step {}/{}  loss {:.4f}", step, total_, loss);
    if (eval_loss > 0) line += fmt::format("  eval {:.4f}", eval_loss);
    line += fmt::format("  {:.0f} tokens/s  {:.0f} s left", tokens_per_second, left);
    line = terminal_ ? "\r" + line + "\033[K" + (last ? "\n" : "") : line + "\n";
    std::fputs(line.c_str(), stderr);
    std::fflush(stderr);
  }

 private:
  bool on_, terminal_;
  int64_t from_, total_;
  Clock::time_point began_ = Clock::now(), shown_{};
};

class Tuner {
 public:
  Tuner(const SftRun& run, Collectives& ranks, const std::atomic<bool>& stop)
      : run_(run), o_(run.sft), ranks_(ranks), stop_(stop) {}

  void run() {
    on_all(ranks_, [&] { load(); });
    int64_t step = 0;
    if (const auto header = state_->restore()) {
      step = static_cast<int64_t>(header->next_step);
      if (ranks_.is_root()) log::info("sft continues at step {} of {}", step, total_steps_);
    }
    on_root(ranks_,
            [&] { metrics_.emplace(run_.run_dir + "/sft-metrics.jsonl", static_cast<uint64_t>(step)); });
    Progress progress(ranks_.is_root(), step, total_steps_);
    double eval_loss = 0;
    while (step < total_steps_ && !stopped_) {
      const auto began = Clock::now();
      std::vector<Metric> metrics = update(step);
      ++step;
      const double seconds = seconds_since(began), loss = metrics[0].value;
      const double tokens_per_second = metrics[1].value / std::max(seconds, 1e-9);
      metrics.push_back({"tokens_per_second", tokens_per_second});
      smooth_loss_ = smooth_loss_ == 0 ? loss : 0.95 * smooth_loss_ + 0.05 * loss;
      smooth_speed_ =
          smooth_speed_ == 0 ? tokens_per_second : 0.95 * smooth_speed_ + 0.05 * tokens_per_second;
      if (!eval_.samples.empty() &&
          (step == total_steps_ || (o_.eval_steps > 0 && step % o_.eval_steps == 0))) {
        eval_loss = evaluate();
        metrics.push_back({"eval_loss", eval_loss});
      }
      write_metrics(step - 1, metrics);
      progress.show(step, smooth_loss_, eval_loss, smooth_speed_);
      if (stopped_ || step == total_steps_ || (o_.save_steps > 0 && step % o_.save_steps == 0))
        state_->save(static_cast<uint64_t>(step));
    }
    if (stopped_ && step < total_steps_) {
      if (ranks_.is_root()) log::info("sft stopped after step {}; the same command continues", step);
      return;
    }
    const WeightSet weights = exact_weights(*updater_, policy_->config(), 0);
    on_root(ranks_, [&] {
      const ModelConfig& config = policy_->config();
      write_model_folder(o_.output, config, weights, config.dtype, o_.model);
      log::info("sft wrote {}", o_.output);
    });
  }

 private:
  void load() {
    set_compute_threads(o_.threads);
    const ModelConfig config = ModelConfig::read(o_.model);
    tokenizer_ = Tokenizer::read(o_.model);
    SftDataOptions data{o_.train,
                        o_.model,
                        config.eos_token_ids.empty() ? -1 : config.eos_token_ids[0],
                        o_.append_eos,
                        o_.max_length > 0 ? o_.max_length : config.max_position_embeddings,
                        static_cast<int32_t>(config.vocab_size)};
    train_ = read_sft_data(data, *tokenizer_);
    if (!o_.eval.empty()) {
      data.path = o_.eval;
      eval_ = read_sft_data(data, *tokenizer_);
    }
    const double wanted = o_.epochs * static_cast<double>(train_.samples.size()) / o_.batch_size;
    total_steps_ = o_.max_steps > 0 ? o_.max_steps : std::max<int64_t>(1, std::llround(wanted));
    order_.emplace(train_.samples.size(), static_cast<uint64_t>(run_.seed));
    if (ranks_.is_root()) {
      log::info("sft: {} samples, {} steps of {} on {} ranks, {:.2f} M parameters", train_.samples.size(),
                total_steps_, o_.batch_size, ranks_.size(),
                static_cast<double>(config.num_parameters()) / 1e6);
      if (train_.cut > 0)
        log::warn(
            "{}: {} sequences are longer than {} tokens and were cut, {} of them had nothing left to learn",
            o_.train, train_.cut, data.max_length, train_.dropped);
    }
    policy_.emplace(config, o_.device, o_.dtype, true, o_.recompute);
    const WeightSet weights = o_.init == ModelInit::random
                                  ? random_weights(config, static_cast<uint64_t>(run_.seed))
                                  : read_weights(o_.model, config, DType::f32);
    policy_->load(weights);
    updater_ = make_updater(o_, *policy_, ranks_, total_steps_);
    updater_->start(weights);
    const std::vector<std::pair<std::string, std::string>> identity{
        {"kind", "sft"},
        {"train data", fmt::format("xxh3 {:016x}", train_.hash)},
        {"seed", std::to_string(run_.seed)},
        {"batch_size", std::to_string(o_.batch_size)},
        {"number of steps", std::to_string(total_steps_)}};
    state_.emplace(run_.run_dir + "/sft-checkpoints", o_.keep_checkpoints, identity, *policy_, *updater_,
                   ranks_);
  }

  // This rank's share of `samples`, and how many tokens all ranks learn.
  std::vector<const SftSample*> share(const std::vector<const SftSample*>& samples, double& targets,
                                      double& tokens) const {
    std::vector<int64_t> lengths;
    targets = tokens = 0;
    for (const SftSample* s : samples) {
      lengths.push_back(static_cast<int64_t>(s->tokens.size()));
      targets += static_cast<double>(s->targets());
      tokens += static_cast<double>(s->tokens.size());
    }
    std::vector<const SftSample*> mine;
    const auto shares = balanced_shares(lengths, ranks_.size());
    for (int32_t i : shares[static_cast<size_t>(ranks_.rank())])
      mine.push_back(samples[static_cast<size_t>(i)]);
    return mine;
  }

  // Calls `use` with each packed micro-batch of `mine`, and whether it is the last.
  template <class Use>
  void packed(const std::vector<const SftSample*>& mine, const Use& use) const {
    std::vector<int64_t> lengths;
    for (const SftSample* s : mine) lengths.push_back(static_cast<int64_t>(s->tokens.size()));
    const auto micros = micro_batches(lengths, o_.micro_batch_tokens);
    for (const auto& micro : micros) {
      PackedBatch pack;
      for (int32_t i : micro)
        pack.add_masked(mine[static_cast<size_t>(i)]->tokens, mine[static_cast<size_t>(i)]->learnt);
      use(pack, &micro == &micros.back());
    }
  }

  std::vector<Metric> update(int64_t step) {
    std::vector<const SftSample*> batch;
    for (int64_t i = 0; i < o_.batch_size; ++i)
      batch.push_back(&train_.samples[order_->at(static_cast<uint64_t>(step * o_.batch_size + i))]);
    double targets = 0, tokens = 0;
    const auto mine = share(batch, targets, tokens);
    // What the ranks tell each other of this update; it also is the wait for the slowest of them.
    std::vector<double> told{0, stop_ ? 1.0 : 0.0, error_.empty() ? 0.0 : 1.0};
    double& loss = told[0];
    policy_->zero_gradients();
    packed(mine, [&](const PackedBatch& pack, bool last) {
      policy_->forward_backward(
          pack, 1, false,
          [&](const TokenScores& scores, std::span<float> grad, std::span<float>) {
            for (float logprob : scores.logprobs) loss -= static_cast<double>(logprob) / targets;
            std::fill(grad.begin(), grad.end(), static_cast<float>(-1 / targets));
          },
          last ? [this](size_t from) { updater_->complete(from); } : Policy::Complete());
    });
    ranks_.sum(told);
    stopped_ = told[1] > 0;
    if (told[2] > 0) throw Error(ranks_.first_error(error_));
    const AdamW::Step done = updater_->step(/*all_here=*/true);
    if (done.skipped && ++skipped_ >= 10)
      fail(
          "sft diverged: the gradient of {} steps in a row up to step {} was not finite; lower "
          "sft.learning_rate",
          skipped_, step);
    if (!done.skipped) skipped_ = 0;
    return {{"loss", loss},
            {"tokens", tokens},
            {"learnt_tokens", targets},
            {"grad_norm", done.grad_norm},
            {"learning_rate", done.learning_rate}};
  }

  // A failure is told to the other ranks with the next update.
  void write_metrics(int64_t step, const std::vector<Metric>& metrics) {
    if (!ranks_.is_root() || !error_.empty()) return;
    try {
      metrics_->write(static_cast<uint64_t>(step), metrics);
    } catch (const Error& e) {
      error_ = e.what();
    }
  }

  double evaluate() {
    std::vector<const SftSample*> all;
    for (const SftSample& s : eval_.samples) all.push_back(&s);
    double targets = 0, tokens = 0;
    std::vector<double> loss{0};
    packed(share(all, targets, tokens), [&](const PackedBatch& pack, bool) {
      for (float logprob : policy_->score(pack, 1).logprobs) loss[0] -= static_cast<double>(logprob);
    });
    ranks_.sum(loss);
    return loss[0] / targets;
  }

  const SftRun& run_;
  const SftOptions& o_;
  Collectives& ranks_;
  const std::atomic<bool>& stop_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  SftData train_, eval_;
  std::optional<SampleOrder> order_;
  std::optional<Policy> policy_;
  std::unique_ptr<Updater> updater_;
  std::optional<TrainingState> state_;
  std::optional<MetricsFile> metrics_;  // rank 0
  int64_t total_steps_ = 0;
  int skipped_ = 0;
  bool stopped_ = false;  // some rank was told to stop
  std::string error_;     // this rank's, for all to know at the next update
  double smooth_loss_ = 0, smooth_speed_ = 0;
};

}  // namespace

SftRun read_sft_run(const TomlTable& file) {
  SftRun run;
  const TomlTable section = file.get_table("run").value_or(TomlTable());
  run.run_dir = section.get_string("dir").value_or("");
  if (run.run_dir.empty()) fail_usage("run.dir is missing in the run file");
  run.seed = section.get_int("seed").value_or(run.seed);
  read_options(file.get_table("sft").value_or(TomlTable()), run.sft);
  if (run.sft.train.empty()) fail_usage("sft.train is missing in the run file");
  if (run.sft.model.empty())
    run.sft.model = file.get_table("model").value_or(TomlTable()).get_string("path").value_or("");
  if (run.sft.model.empty()) fail_usage("sft.model (or model.path) is missing in the run file");
  if (run.sft.output.empty()) run.sft.output = run.run_dir + "/sft";
  return run;
}

void run_sft(const SftRun& run, Collectives& ranks, const std::atomic<bool>& stop) {
  Tuner(run, ranks, stop).run();
}

}  // namespace cohort
