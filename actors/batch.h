// From graded groups to what each learner rank gets.
#pragma once

#include <cstdint>
#include <vector>

#include "transport/messages.h"

namespace cohort {

// One whole batch, as the ledger has it: groups in their order, each with all its samples by index.
struct DeliveredBatch {
  uint32_t step = 0;
  std::vector<GroupRewards> groups;
  std::vector<std::vector<Sample>> samples;  // [group][index]
};

// The share of `rank` of `ranks`: every sample is in exactly one share, and shares have about the same number
// of tokens (prompt and completion), inside each of the `mini_batches` runs of consecutive groups (group j of
// n belongs to mini-batch j * mini_batches / n) and over the whole batch. A function of its arguments alone.
Batch share_of(const DeliveredBatch& batch, uint32_t rank, uint32_t ranks, uint32_t mini_batches);

// Throws std::logic_error when a token of the batch is older than max_staleness steps.
void assert_staleness(const DeliveredBatch& batch, uint32_t max_staleness);

}  // namespace cohort
