#include "launch/commands/policy.h"

#include <algorithm>
#include <filesystem>
#include <thread>

#include "rollout/worker.h"
#include "transport/base/error.h"

namespace cohort {

void PolicyFlags::add_to(CLI::App& app) {
  app.add_option("--model", model, "Hugging Face model folder")->required();
  app.add_option("--threads", threads, "compute threads, 0: one a core")->check(CLI::NonNegativeNumber);
  app.add_option("--batch", batch, "sequences decoded at once")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--max-context", max_context,
                 "tokens of prompt and completion, 0: the model's, at most 2048")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--device", device, "cpu or cuda:N")->capture_default_str();
  app.add_option("--dtype", dtype, "float32 or bfloat16")->capture_default_str();
}

void SamplingFlags::add_to(CLI::App& app) {
  app.add_option("--temperature", params.temperature, "0 is greedy")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--top-p", params.top_p, "nucleus, 1: off")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--top-k", params.top_k, "0: off")->check(CLI::NonNegativeNumber)->capture_default_str();
  app.add_option("--min-p", params.min_p, "0: off")->check(CLI::Range(0.0, 1.0))->capture_default_str();
  app.add_option("--max-tokens", params.max_tokens, "longest completion")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--stop", params.stop, "a string that ends a completion (repeat for more)");
  app.add_option("--stop-token-id", params.stop_token_ids,
                 "a token that ends a completion (repeat for more)");
  app.add_flag("--ignore-eos", params.ignore_eos, "go on after the model's end-of-text token");
  app.add_option("--n", n, "completions a prompt")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--seed", params.seed, "the same seed gives the same completions")->capture_default_str();
}

Policy load_policy(const PolicyFlags& flags, int64_t sequences, int64_t context) {
  if (!std::filesystem::is_directory(flags.model)) fail("{}: is not a model folder", flags.model);
  RunnerOptions o;
  o.threads = flags.threads > 0 ? flags.threads : int32_t(std::max(1u, std::thread::hardware_concurrency()));
  o.device = flags.device;
  o.dtype = flags.dtype;
  o.max_slots = sequences > 0 ? int32_t(std::min<int64_t>(sequences, flags.batch)) : flags.batch;
  const int64_t limit = ModelConfig::read(flags.model).max_position_embeddings;
  int64_t length = flags.max_context > 0 ? flags.max_context : context > 0 ? context : 2048;
  if (limit > 0) length = std::min(length, limit);
  o.max_context = int32_t(length);
  WorkerModel model = load_rollout_model(flags.model, o);
  if (!model.has_weights)
    fail("{}: has no model.safetensors (or its index): there are no weights to use", flags.model);
  return {std::move(model.prompts), std::move(model.runner)};
}

}  // namespace cohort
