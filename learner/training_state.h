// What has to survive a restart of the learner: parameters, both moments and where it stood; gathered and saved by rank 0
// and given to the other ranks over MPI, so that a checkpoint knows nothing of how many ranks made it or will
// read it.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "learner/checkpoint.h"
#include "learner/collectives.h"
#include "learner/policy.h"
#include "learner/updater.h"

namespace cohort {

class TrainingState {
 public:
  // dir: where the checkpoints are. identity: what must agree (the model is added to it). All are borrowed.
  TrainingState(std::string dir, int keep, std::vector<std::pair<std::string, std::string>> identity,
                const Policy& policy, Updater& updater, Collectives& ranks);

  // Collective. Writes a checkpoint that contains every step < next_step; returns its path. A failure on rank
  // 0 is thrown as the same Error on every rank.
  std::string save(uint64_t next_step, const std::map<std::string, std::string>& extra = {});
  // Collective. The newest checkpoint into policy and updater; nothing when there is none.
  std::optional<CheckpointHeader> restore();
  // next_step of the newest checkpoint that was saved or restored here.
  std::optional<uint64_t> saved() const { return saved_; }

 private:
  std::string dir_;
  int keep_;
  std::vector<std::pair<std::string, std::string>> identity_;
  Updater& updater_;
  Collectives& ranks_;
  std::optional<uint64_t> saved_;
};

// Collective: `body` runs on rank 0 only; an Error it throws is thrown on all ranks, so that none is left
// waiting.
void on_root(Collectives& ranks, const std::function<void()>& body);
// Collective: `body` runs on every rank; the first rank's Error is thrown on all.
void on_all(Collectives& ranks, const std::function<void()>& body);

}  // namespace cohort
