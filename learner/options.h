// What a run file says to the learner: [learner] (optimizer, batching), [grpo] (the loss) and [sft] (the cold
// start). No Torch here, so that the command line and the coordinator can read and check them too.
#pragma once

#include <cstdint>
#include <string>

#include "actors/overlong_buffer.h"
#include "transport/base/options.h"

namespace cohort {

enum class Schedule : uint8_t { constant, linear, cosine };
inline EnumNames<Schedule> enum_names(Schedule) {
  return {{Schedule::constant, "constant"}, {Schedule::linear, "linear"}, {Schedule::cosine, "cosine"}};
}

enum class LossAggMode : uint8_t {
  token_mean,
  seq_mean_token_sum,
  seq_mean_token_mean,
  seq_mean_token_sum_norm
};
inline EnumNames<LossAggMode> enum_names(LossAggMode) {
  return {{LossAggMode::token_mean, "token-mean"},
          {LossAggMode::seq_mean_token_sum, "seq-mean-token-sum"},
          {LossAggMode::seq_mean_token_mean, "seq-mean-token-mean"},
          {LossAggMode::seq_mean_token_sum_norm, "seq-mean-token-sum-norm"}};
}

enum class ScaleRewards : uint8_t { group, batch, none };
inline EnumNames<ScaleRewards> enum_names(ScaleRewards) {
  return {{ScaleRewards::group, "group"}, {ScaleRewards::batch, "batch"}, {ScaleRewards::none, "none"}};
}

enum class ImportanceLevel : uint8_t { token, sequence };
inline EnumNames<ImportanceLevel> enum_names(ImportanceLevel) {
  return {{ImportanceLevel::token, "token"}, {ImportanceLevel::sequence, "sequence"}};
}

enum class KlEstimator : uint8_t { k1, k2, k3 };
inline EnumNames<KlEstimator> enum_names(KlEstimator) {
  return {{KlEstimator::k1, "k1"}, {KlEstimator::k2, "k2"}, {KlEstimator::k3, "k3"}};
}

enum class ModelInit : uint8_t { pretrained, random };
inline EnumNames<ModelInit> enum_names(ModelInit) {
  return {{ModelInit::pretrained, "pretrained"}, {ModelInit::random, "random"}};
}

enum class WireDtype : uint8_t { same, float32, bfloat16 };
inline EnumNames<WireDtype> enum_names(WireDtype) {
  return {{WireDtype::same, "same"}, {WireDtype::float32, "float32"}, {WireDtype::bfloat16, "bfloat16"}};
}

// AdamW and its schedule; the same keys in [learner] and in [sft].
struct OptimizerOptions {
  double learning_rate = 1e-6;
  Schedule lr_scheduler = Schedule::constant;
  int64_t warmup_steps = 0;
  double min_lr_ratio = 0.1;
  double weight_decay = 0;
  double adam_beta1 = 0.9, adam_beta2 = 0.999, adam_eps = 1e-8;
  double max_grad_norm = 1;

  template <class V>
  void visit_optimizer(V& v) {
    v("learning_rate", learning_rate, "peak learning rate of AdamW", at_least(0.0));
    v("lr_scheduler", lr_scheduler, "constant, linear, cosine");
    v("warmup_steps", warmup_steps, "optimizer updates of linear warm-up from 0", at_least(0.0));
    v("min_lr_ratio", min_lr_ratio, "where linear and cosine end, as a share of learning_rate",
      between(0.0, 1.0));
    v("weight_decay", weight_decay, "decoupled; of matrices only, not of norms and biases", at_least(0.0));
    v("adam_beta1", adam_beta1, "", between(0.0, 0.999999));
    v("adam_beta2", adam_beta2, "", between(0.0, 0.999999999));
    v("adam_eps", adam_eps, "", more_than(0.0));
    v("max_grad_norm", max_grad_norm, "global gradient norm is clipped to this; 0: never", at_least(0.0));
  }
};

struct LearnerOptions : OptimizerOptions {
  using is_options = void;
  int ranks = 1;
  int threads = 1;
  int64_t micro_batch_tokens = 8192;
  int keep_checkpoints = 2;
  std::string dtype = "float32";
  std::string device = "cpu";
  std::string recompute = "none";
  WireDtype weight_dtype = WireDtype::same;

  template <class V>
  void visit(V& v) {
    v("ranks", ranks, "learner ranks that mpirun starts", between(1, 4096));
    v("threads", threads, "compute threads of a rank; 1 when processes share cores", between(1, 1024));
    visit_optimizer(v);
    v("micro_batch_tokens", micro_batch_tokens,
      "prompt and completion tokens of one forward and backward of a rank", at_least(1.0));
    v("keep_checkpoints", keep_checkpoints, "how many of the newest checkpoints are kept", at_least(1.0));
    v("dtype", dtype,
      "of weights and activations: float32, or on a GPU bfloat16 (master weights, sums and moments are "
      "float32)");
    v("device", device, "cpu, cuda (each rank the GPU of its place on its node) or cuda:N");
    v("recompute", recompute,
      "none; layer: keep only each layer's input for backward, a third more arithmetic (GPU)");
    v("weight_dtype", weight_dtype, "of the published weights: float32, bfloat16, or same as dtype");
  }

  // What is published.
  bool publishes_bf16() const {
    return weight_dtype == WireDtype::bfloat16 || (weight_dtype == WireDtype::same && dtype == "bfloat16");
  }
};

struct GrpoOptions {
  using is_options = void;
  int ppo_epochs = 1;
  int mini_batches = 1;
  double clip_ratio_low = 0.2, clip_ratio_high = 0.2;
  double clip_ratio_c = 0;
  LossAggMode loss_agg_mode = LossAggMode::token_mean;
  double loss_scale_factor = 0;
  ScaleRewards scale_rewards = ScaleRewards::group;
  ImportanceLevel importance_sampling_level = ImportanceLevel::token;
  double kl_loss_coef = 0;
  KlEstimator kl_estimator = KlEstimator::k3;
  bool recompute_logprob = false;
  bool rollout_is = false;
  double rollout_is_threshold = 2;
  bool use_decoupled_loss = false;
  double behav_imp_weight_cap = 0;
  double entropy_coef = 0;
  OverlongBuffer overlong_buffer;

  // Do the old log-probs come from a pass of the learner's own weights at the start of the step?
  bool recomputes() const { return recompute_logprob || rollout_is || use_decoupled_loss; }

  template <class V>
  void visit(V& v) {
    v("ppo_epochs", ppo_epochs, "passes over a step's batch", at_least(1.0));
    v("mini_batches", mini_batches, "optimizer updates a pass, each on its share of the groups",
      at_least(1.0));
    v("clip_ratio_low", clip_ratio_low, "ratio is clipped below at 1 - this", between(0.0, 1.0));
    v("clip_ratio_high", clip_ratio_high, "ratio is clipped above at 1 + this", at_least(0.0));
    v("clip_ratio_c", clip_ratio_c, "dual clip: bound of the ratio where the advantage is negative; 0: off",
      Check{[](double x) { return x == 0 || x > 1; }, "0 or more than 1"});
    v("loss_agg_mode", loss_agg_mode,
      "token-mean, seq-mean-token-sum, seq-mean-token-mean, seq-mean-token-sum-norm");
    v("loss_scale_factor", loss_scale_factor, "divisor of seq-mean-token-sum-norm; 0: rollout.max_new_tokens",
      at_least(0.0));
    v("scale_rewards", scale_rewards,
      "advantages are divided by the standard deviation of the group, the batch, or not (none)");
    v("importance_sampling_level", importance_sampling_level, "token, or sequence (GSPO)");
    v("kl_loss_coef", kl_loss_coef,
      "weight of the KL to the model the run started from; 0: no reference model is held", at_least(0.0));
    v("kl_estimator", kl_estimator, "k1, k2, k3");
    v("recompute_logprob", recompute_logprob,
      "old log-probs from the learner at the step's start instead of the sampler's");
    v("rollout_is", rollout_is, "weigh tokens by min(old / sampler's probability, rollout_is_threshold)");
    v("rollout_is_threshold", rollout_is_threshold, "", more_than(0.0));
    v("use_decoupled_loss", use_decoupled_loss,
      "clip around the proximal policy, weigh by proximal / sampler's probability");
    v("behav_imp_weight_cap", behav_imp_weight_cap,
      "with use_decoupled_loss: tokens whose weight is above are left out; 0: none", at_least(0.0));
    v("entropy_coef", entropy_coef, "weight of the entropy bonus");
    v("overlong_buffer", overlong_buffer, "");
  }
};

struct SftOptions : OptimizerOptions {
  using is_options = void;
  SftOptions() { learning_rate = 1e-5; }
  std::string train, eval;
  std::string output;
  std::string model;
  ModelInit init = ModelInit::pretrained;
  int64_t max_steps = 0;
  double epochs = 1;
  int batch_size = 16;
  int64_t max_length = 0;
  bool append_eos = true;
  int64_t micro_batch_tokens = 4096;
  int ranks = 1;
  int threads = 1;
  int64_t save_steps = 0, eval_steps = 0;
  int keep_checkpoints = 2;
  std::string dtype = "float32", device = "cpu", recompute = "none";

  template <class V>
  void visit(V& v) {
    v("train", train, "JSON lines of prompt and completion, or messages");
    v("eval", eval, "the same, for the evaluation loss; \"\": none");
    v("output", output, "the Hugging Face folder to write; \"\": DIR/sft of the run");
    v("model", model, "the Hugging Face folder to start from; \"\": model.path");
    v("init", init,
      "pretrained: that folder's weights; random: fresh ones, it needs config.json and tokenizer.json only");
    v("max_steps", max_steps, "optimizer updates; 0: what epochs says", at_least(0.0));
    v("epochs", epochs, "passes over the data", more_than(0.0));
    v("batch_size", batch_size, "sequences an update, over all ranks", at_least(1.0));
    v("max_length", max_length, "longer sequences are cut; 0: the model's max_position_embeddings",
      at_least(0.0));
    v("append_eos", append_eos, "a prompt's completion ends with the model's end token");
    visit_optimizer(v);
    v("micro_batch_tokens", micro_batch_tokens, "tokens of one packed forward and backward of a rank",
      at_least(1.0));
    v("ranks", ranks, "ranks that mpirun starts", between(1, 4096));
    v("threads", threads, "compute threads of a rank", between(1, 1024));
    v("save_steps", save_steps, "updates between checkpoints; 0: only at the end", at_least(0.0));
    v("eval_steps", eval_steps, "updates between evaluations; 0: only at the end", at_least(0.0));
    v("keep_checkpoints", keep_checkpoints, "how many of the newest checkpoints are kept", at_least(1.0));
    v("dtype", dtype, "of weights and activations: float32, or on a GPU bfloat16");
    v("device", device, "cpu, cuda (each rank the GPU of its place on its node) or cuda:N");
    v("recompute", recompute, "none; layer: keep only each layer's input for backward (GPU)");
  }
};

}  // namespace cohort
