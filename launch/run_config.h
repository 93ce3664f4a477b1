// The whole run file: the components' option structs, each documented where it is read.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "actors/options.h"
#include "learner/options.h"
#include "rollout/options.h"
#include "transport/base/options.h"

namespace cohort {

struct ModelOptions {  // [model]
  using is_options = void;
  std::string path;
  template <class V>
  void visit(V& v) {
    v("path", path, "a Hugging Face folder: config.json, model.safetensors, tokenizer.json");
  }
};

struct GradingOptions {  // [grading]
  using is_options = void;
  int workers = 1;
  int concurrency = 0;
  template <class V>
  void visit(V& v) {
    v("workers", workers,
      "reward worker processes to start on this machine (or node); more may join at any time", at_least(0));
    v("concurrency", concurrency, "jobs graded at once by one worker; 0: one a core", at_least(0));
  }
};

struct RunConfig {
  using is_options = void;
  RunOptions run;
  ModelOptions model;
  DataOptions data;
  RolloutOptions rollout;
  GradingOptions grading;
  std::vector<TomlTable> reward;  // each kind reads its own keys
  AsyncOptions async;
  LearnerOptions learner;
  GrpoOptions grpo;
  SftOptions sft;
  CoordinatorOptions coordinator;

  template <class V>
  void visit(V& v) {
    v("run", run, "");
    v("model", model, "");
    v("data", data, "");
    v("rollout", rollout, "");
    v("grading", grading, "");
    v("reward", reward, "");
    v("async", async, "");
    v("learner", learner, "");
    v("grpo", grpo, "");
    v("sft", sft, "");
    v("coordinator", coordinator, "");
  }
};

enum class Purpose { train, sft };

// Reads the file, applies each "section.key=value" and checks what `purpose` needs. Throws Error (exit code
// 2) naming file, line and key; for an unknown key, the nearest known one.
RunConfig read_run_config(const std::string& path, const std::vector<std::string>& set, Purpose purpose);

// This process's hold on a run folder; let go when it ends, however it ends.
class RunFolder {
 public:
  // Makes the folder and its logs/ where they do not exist, takes the folder's lock, refuses a folder that
  // another run or another configuration wrote (naming the key that differs) and saves the resolved
  // configuration as run.toml (sft.toml for Purpose::sft: a run and its cold start may share a folder).
  // `resumes` tells whether it was there before.
  explicit RunFolder(const RunConfig& config, Purpose purpose = Purpose::train);
  RunFolder(const RunFolder&) = delete;

  bool resumes() const { return resumes_; }
  const std::string& path() const { return path_; }
  std::string config_path() const { return path_ + (purpose_ == Purpose::sft ? "/sft.toml" : "/run.toml"); }
  std::string log_dir() const { return path_ + "/logs"; }

 private:
  std::string path_;
  Purpose purpose_;
  bool resumes_ = false;
  struct Lock {  // a member of its own, so that a constructor that throws lets go as well
    int fd = -1;
    ~Lock();
  } lock_;
};

}  // namespace cohort
