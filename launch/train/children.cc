#include "launch/train/children.h"

#include <unistd.h>

#include "actors/guard.h"
#include "launch/front.h"
#include "transport/base/place.h"

namespace cohort {
namespace {

std::map<std::string, std::string> threads(int count) {
  // 0: one a core, which OpenMP does by itself
  return count > 0 ? std::map<std::string, std::string>{{"OMP_NUM_THREADS", std::to_string(count)}}
                   : std::map<std::string, std::string>{};
}

std::vector<std::string> mpirun(int ranks, const std::vector<std::string>& program) {
  std::vector<std::string> out = {"/usr/bin/env", "mpirun", "--oversubscribe",    "--bind-to",
                                  "none",         "-n",     std::to_string(ranks)};
  const auto guarded = guard_command(sibling_program("cohort"), 0, program);
  out.insert(out.end(), guarded.begin(), guarded.end());
  return out;
}

}  // namespace

std::map<std::string, std::string> quiet_environment() {
  std::map<std::string, std::string> out = {
      {"OMP_WAIT_POLICY", "passive"},
      {"GOMP_SPINCOUNT", "0"},
      {"OMP_NUM_THREADS", "1"},
      {"OMPI_MCA_mpi_yield_when_idle", "1"},
      // shared memory by copy: the one-copy way needs a right that containers withhold
      {"OMPI_MCA_btl_vader_single_copy_mechanism", "none"}};
  if (geteuid() == 0) out["OMPI_ALLOW_RUN_AS_ROOT"] = out["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1";
  return out;
}

ChildSpec coordinator_child(const std::string& run_dir, const std::string& endpoint) {
  ChildSpec spec{
      "coordinator",
      {sibling_program("cohort-coordinator"), "--config", run_dir + "/run.toml", "--run-dir", run_dir}};
  if (!endpoint.empty()) spec.command.insert(spec.command.end(), {"--endpoint", endpoint});
  return spec;
}

std::map<std::string, std::string> rollout_environment(const RunConfig& config, int index, int learners) {
  auto out = threads(config.rollout.threads);
  out[kPlaceVariable] = std::to_string(learners + index);
  return out;
}

// --give-up 0: the supervisor ends its own workers, so they may look for a coordinator as long as they live.
ChildSpec rollout_child(const RunConfig& config, const std::string& endpoint, int index,
                        const std::string& node, int learners) {
  const std::string name = node + "rollout-" + std::to_string(index);
  ChildSpec spec{name,
                 {sibling_program("cohort-rollout"), "--join", endpoint, "--name", name, "--give-up", "0"}};
  spec.environment = rollout_environment(config, index, learners);
  return spec;
}

ChildSpec reward_child(const RunConfig&, const std::string& endpoint, int index, const std::string& node) {
  const std::string name = node + "reward-" + std::to_string(index);
  return {name, {sibling_program("cohort-reward"), "--join", endpoint, "--name", name, "--give-up", "0"}};
}

ChildSpec learner_child(const RunConfig& config, const std::string& endpoint) {
  ChildSpec spec{"learner",
                 mpirun(config.learner.ranks, {sibling_program("cohort-learner"), "--join", endpoint})};
  spec.environment = threads(config.learner.threads);
  return spec;
}

ChildSpec sft_child(const RunConfig& config, const RunFolder& folder) {
  ChildSpec spec{
      "sft",
      mpirun(config.sft.ranks, {sibling_program("cohort-learner"), "sft", "--config", folder.config_path()}),
      false};
  spec.environment = threads(config.sft.threads);
  return spec;
}

}  // namespace cohort
