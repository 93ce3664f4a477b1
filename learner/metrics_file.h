// RUN_DIR/metrics.jsonl: one JSON object a step, {"step": k, "name": value, …}.
#pragma once

#include <string>
#include <vector>

#include "transport/messages.h"

namespace cohort {

class MetricsFile {
 public:
  // Lines of `next_step` and later are dropped: a restarted run trains those steps again, and the file holds
  // one lineage only.
  MetricsFile(std::string path, uint64_t next_step);
  // Appends one line and flushes it. Throws Error when it cannot be written.
  void write(uint64_t step, const std::vector<Metric>& metrics);
  // The lines of `first` and later, in order; null reads as NaN. For a ledger that a kill left behind the file.
  std::vector<Trained> since(uint64_t first) const;

 private:
  std::string path_;
};

}  // namespace cohort
