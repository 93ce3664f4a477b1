// One way of scoring a completion. Graders are made once per worker from the run file's reward list and used
// by many threads at once.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "transport/base/options.h"
#include "transport/verdict.h"

namespace cohort {

struct GradeInput {
  std::string
      record_json;  // the prompt's record, with the fields this grader reads (gold, numbers, target, tests …)
  std::string prompt;  // rendered prompt, may be ""
  std::string completion;
  std::string finish_reason;  // stop, length, …; "" when unknown
  uint32_t completion_tokens = 0;
};

class Grader {
 public:
  virtual ~Grader() = default;
  virtual const std::string& kind() const = 0;
  // Blocks until the verdict is there, within the grader's own limits whatever the candidate does. Any
  // thread, any number at once. Never throws for what the candidate did; a record without the needed fields
  // is an infra_error whose reason names the field. `cancelled` may turn true at any moment: return soon with
  // VerdictKind::cancelled.
  virtual Verdict grade(const GradeInput& input, const std::atomic<bool>& cancelled) = 0;
};

// One [[reward]] table of the run file: kind, name, weight, and that kind's own options.
struct RewardSpec {
  std::string kind;
  std::string name;  // default: kind
  double weight = 1;
  TomlTable options;
  std::string run_id;  // of the run it grades for; "" outside of one
};

// Throws a usage error "WHERE = "NAME" is no reward; …" unless there is a kind of that name.
void check_kind(const std::string& name, const std::string& where);
// Throws Error naming the key for an unknown kind or option.
std::unique_ptr<Grader> make_grader(const RewardSpec& spec);

// A part of the run's reward list, ready to use.
struct RewardList {
  std::vector<RewardSpec> specs;
  std::vector<std::unique_ptr<Grader>> graders;
  // Grades with every grader in order, up to the first verdict that is no reward (is_no_reward): then the
  // caller must not use the sum, and asks again for all of them.
  std::vector<RewardPart> grade(const GradeInput& input, const std::atomic<bool>& cancelled);
};
RewardList make_reward_list(const std::vector<TomlTable>& reward_tables, const std::string& run_id = "");

}  // namespace cohort
