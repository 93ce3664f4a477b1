#include "learner/packing.h"

#include <algorithm>
#include <numeric>

namespace cohort {
namespace {

// Longest first, each into the emptiest bin; nothing when one would pass the limit.
std::vector<std::vector<int32_t>> fill(std::span<const int64_t> lengths, std::span<const int32_t> by_length,
                                       size_t bins, int64_t limit) {
  std::vector<std::vector<int32_t>> out(bins);
  std::vector<int64_t> load(bins, 0);
  for (int32_t i : by_length) {
    const size_t bin = static_cast<size_t>(std::min_element(load.begin(), load.end()) - load.begin());
    if (load[bin] > 0 && load[bin] + lengths[i] > limit) return {};
    load[bin] += lengths[i];
    out[bin].push_back(i);
  }
  for (auto& bin : out) std::sort(bin.begin(), bin.end());
  return out;
}

std::vector<int32_t> longest_first(std::span<const int64_t> lengths) {
  std::vector<int32_t> order(lengths.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return lengths[a] > lengths[b]; });
  return order;
}

}  // namespace

std::vector<std::vector<int32_t>> micro_batches(std::span<const int64_t> lengths, int64_t max_tokens) {
  if (lengths.empty()) return {};
  const std::vector<int32_t> order = longest_first(lengths);
  const int64_t total = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  for (size_t bins = std::max<size_t>(1, static_cast<size_t>((total + max_tokens - 1) / max_tokens));;
       ++bins) {
    auto out = fill(lengths, order, bins, max_tokens);
    if (out.empty()) continue;
    std::erase_if(out, [](const auto& bin) { return bin.empty(); });
    return out;
  }
}

std::vector<std::vector<int32_t>> balanced_shares(std::span<const int64_t> lengths, int parts) {
  return fill(lengths, longest_first(lengths), static_cast<size_t>(parts), INT64_MAX / 2);
}

void PackedBatch::add(std::span<const int32_t> prompt, std::span<const int32_t> completion) {
  std::vector<int32_t> all(prompt.begin(), prompt.end());
  all.insert(all.end(), completion.begin(), completion.end());
  std::vector<uint8_t> learnt(all.size(), 0);
  std::fill(learnt.begin() + static_cast<ptrdiff_t>(prompt.size()), learnt.end(), uint8_t{1});
  add_masked(all, learnt);
}

void PackedBatch::add_masked(std::span<const int32_t> sequence, std::span<const uint8_t> learnt) {
  if (cu_seqlens.empty()) cu_seqlens.push_back(0), cu_targets.push_back(0);
  const int64_t base = cu_seqlens.back();
  for (size_t i = 0; i < sequence.size(); ++i) {
    tokens.push_back(sequence[i]);
    positions.push_back(static_cast<int64_t>(i));
    if (i > 0 && learnt[i]) {
      rows.push_back(base + static_cast<int64_t>(i) - 1);
      targets.push_back(sequence[i]);
    }
  }
  cu_seqlens.push_back(base + static_cast<int64_t>(sequence.size()));
  cu_targets.push_back(static_cast<int64_t>(rows.size()));
}

}  // namespace cohort
