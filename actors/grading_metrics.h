// What grading took and said since the coordinator began, by part of the reward; and what the run has spent at paid
// endpoints, which outlives a restart. Event loop's thread only.
#pragma once

#include <map>
#include <string>

#include "actors/exposition.h"
#include "transport/base/options.h"
#include "transport/messages.h"

namespace cohort {

class GradingMetrics {
 public:
  // `run_file` tells each part's kind and budget.
  explicit GradingMetrics(const TomlTable& run_file);

  // A verdict that counts: `queued_s` from the completion's commit to the start of its grading.
  void graded(const Graded& graded, double queued_s);
  // One that does not, with its reason in one of the parts (or none at all: no verdict).
  void failed(const Graded& graded);
  // Jobs whose worker was lost.
  void lost(size_t jobs) { lost_ += jobs; }

  struct Spent {
    uint64_t calls = 0, tokens = 0;
  };
  // Per part, of the whole run: kept in the ledger's meta table as "spent/PART".
  void restore_spent(const std::string& part, const Spent& spent) { parts_[part].spent = spent; }
  Spent spent(const std::string& part) const;
  // The first part that has used up its budget, with how much that is, in one line; "" when none has.
  std::string over_budget() const;

  void write(Exposition& out) const;

 private:
  struct Part {
    std::string kind = "unknown";
    Histogram seconds;
    std::map<VerdictKind, uint64_t> verdicts;
    uint64_t retries = 0, reused = 0;
    Spent spent, budget;
  };
  std::map<std::string, Part> parts_;
  Histogram queued_;
  uint64_t lost_ = 0;
};

}  // namespace cohort
