#include "launch/run_config.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "actors/ledger_load.h"
#include "launch/data/jsonl.h"

namespace cohort {
namespace {

void need(const TomlTable& file, const std::string& path, const char* section, const char* key,
          const std::string& value) {
  if (!value.empty()) return;
  if (!file.has(section)) fail_usage("{}: [{}] {} is missing", path, section, key);
  fail_usage("{}: {}.{} is missing", path, section, key);
}

void need_file(const TomlTable& file, const char* section, const char* key, const std::string& value) {
  if (!std::filesystem::exists(value))
    fail_usage("{} = \"{}\": there is no such file or folder", file.get_table(section)->where(key), value);
}

void check(const TomlTable& file, const std::string& path, const RunConfig& config, Purpose purpose) {
  need(file, path, "run", "dir", config.run.dir);
  const bool own_model = purpose == Purpose::sft && !config.sft.model.empty();
  need(file, path, own_model ? "sft" : "model", own_model ? "model" : "path",
       own_model ? config.sft.model : config.model.path);
  need_file(file, own_model ? "sft" : "model", own_model ? "model" : "path",
            own_model ? config.sft.model : config.model.path);
  if (purpose == Purpose::sft) {
    need(file, path, "sft", "train", config.sft.train);
    need_file(file, "sft", "train", config.sft.train);
    return;
  }
  need(file, path, "data", "train", config.data.train);
  need_file(file, "data", "train", config.data.train);
  if (!config.data.eval.empty()) need_file(file, "data", "eval", config.data.eval);
  if (config.reward.empty()) fail_usage("{}: no [[reward]] is given; there is nothing to learn from", path);
  if (config.async.weight_sync_steps > config.async.max_staleness + 1)
    fail_usage("{}: async.weight_sync_steps = {} must be at most async.max_staleness + 1 = {}", path,
               config.async.weight_sync_steps, config.async.max_staleness + 1);
  if (config.rollout.max_new_tokens >= config.rollout.max_context)
    fail_usage("{}: rollout.max_new_tokens = {} leaves no room for a prompt in rollout.max_context = {}",
               path, config.rollout.max_new_tokens, config.rollout.max_context);
  config.grpo.overlong_buffer.check(config.rollout.max_new_tokens, path + ": grpo.overlong_buffer.len");
}

}  // namespace

RunConfig read_run_config(const std::string& path, const std::vector<std::string>& set, Purpose purpose) {
  TomlTable file = TomlTable::read(path);
  for (const std::string& assignment : set) file.set(assignment);
  RunConfig config;
  read_options(file, config);
  config.rollout = RolloutOptions::of_run(file);
  config.async.partial_rollout = config.rollout.weight_sync == WeightSync::in_flight;
  check(file, path, config, purpose);
  return config;
}

RunFolder::RunFolder(const RunConfig& config, Purpose purpose) : path_(config.run.dir), purpose_(purpose) {
  make_folder(path_);
  make_folder(log_dir());
  const std::string lock_path = path_ + "/lock";
  lock_.fd = open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock_.fd < 0) fail("{}: cannot be written: {}", lock_path, std::strerror(errno));
  if (flock(lock_.fd, LOCK_EX | LOCK_NB) != 0) {
    char owner[32] = {};
    const bool known = pread(lock_.fd, owner, sizeof owner - 1, 0) > 0;
    fail("{}: the run folder is in use by another process{}", path_,
         known ? " (" + std::string(owner) + ")" : "");
  }
  const std::string owner = "pid " + std::to_string(getpid());
  if (ftruncate(lock_.fd, 0) != 0 || pwrite(lock_.fd, owner.data(), owner.size(), 0) < 0)
    fail("{}: cannot be written: {}", lock_path, std::strerror(errno));

  const std::string resolved = write_options(config);
  if (std::filesystem::exists(config_path())) {
    const std::string before = read_text(config_path());
    resumes_ = true;
    if (const std::string what = config_difference(before, resolved); !what.empty())
      fail_usage(
          "{}: the run folder belongs to another {}: {}; change it back or use another run.dir "
          "(docs/ledger.md lists the keys that may change)",
          path_, what.starts_with("run.name ") ? "run" : "configuration", what);
  }
  write_text(config_path(), resolved);
}

RunFolder::Lock::~Lock() {
  if (fd >= 0) close(fd);
}

}  // namespace cohort
