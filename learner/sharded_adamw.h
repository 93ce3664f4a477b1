// AdamW whose float32 master weights and moments are split over the ranks (ZeRO stage 1, Rajbhandari et al. 2020).
//
//   the flat layout is cut into buckets, each bucket into one slice a rank; a rank owns its slice of every bucket
//   backward completes gradients from the end of the layout to its beginning
//     bucket complete   reduce-scatter of its gradients begins (the next layers' backward goes on meanwhile)
//   step()              the buckets that are left; norm of all slices, over ranks; clip factor
//     each bucket       AdamW on the own slice, rounded into the policy's weights; their all-gather begins
//
// A bucket's order, and with it every sum, depends on the layout, the bucket size and the number of ranks alone. Which
// rank a checkpoint's element belongs to is decided when it is read, so a run goes on with another number of ranks.
#pragma once

#include "learner/shards.h"
#include "learner/updater.h"

namespace cohort {

constexpr size_t kBucketElements = size_t{32} << 20;

// `arrays`: of the policy, with room for padding beyond the layout: the last bucket is filled up to whole slices.
// Borrows the arrays and ranks.
std::unique_ptr<Updater> make_sharded_adamw(const OptimizerOptions& options, const FlatArrays& arrays,
                                            const std::vector<TensorSpec>& tensors, int64_t total_updates,
                                            Collectives& ranks, std::unique_ptr<Shards> shards,
                                            size_t bucket_elements = kBucketElements);

}  // namespace cohort
