// Which of a machine's GPUs a process takes, when it is told "cuda" and no number.
#pragma once

namespace cohort {

// This process's place among those that share its node, from 0: COHORT_PLACE, which a supervisor sets for its rollout
// workers, else what mpirun or srun told it, else 0.
int place_on_node();

constexpr const char* kPlaceVariable = "COHORT_PLACE";

}  // namespace cohort
