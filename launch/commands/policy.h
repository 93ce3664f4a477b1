// What generate, score and eval share: the flags for a model and for sampling, and loading the model.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "rollout/model_runner.h"
#include "rollout/prompt.h"

namespace cohort {

struct PolicyFlags {
  std::string model;
  int threads = 0;
  int batch = 64;
  int max_context = 0;
  std::string device = "cpu";
  std::string dtype = "float32";
  void add_to(CLI::App& app);
};

struct SamplingFlags {
  SamplingParams params;
  int n = 1;
  void add_to(CLI::App& app);
};

// The folder's config, tokenizer and weights. `sequences` and `context`: what the job needs at most (0: not
// known); the flags and the model's own limit bound them. Throws Error when the folder has no weights.
struct Policy {
  std::shared_ptr<const PromptEncoder> prompts;
  std::unique_ptr<ModelRunner> runner;
};
Policy load_policy(const PolicyFlags& flags, int64_t sequences = 0, int64_t context = 0);

// The verbs of cohort-rollout. argv[0] is "cohort VERB".
int command_generate(int argc, char** argv);
int command_score(int argc, char** argv);
int command_eval(int argc, char** argv);

}  // namespace cohort
