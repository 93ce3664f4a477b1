// What a grader says of one completion. Typed, so that only the candidate's own behaviour can make a low
// reward.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace cohort {

enum class VerdictKind : uint8_t {
  passed,
  failed,     // a wrong answer
  no_answer,  // nothing that could be graded was found
  compile_error,
  candidate_timeout,  // the candidate's program used its time
  candidate_memory,
  candidate_output,  // wrote more than it may
  candidate_crash,
  unknown,      // the checker cannot decide
  infra_error,  // a fault of ours: retried elsewhere, never a reward
  cancelled,    // no longer wanted
};
const char* to_string(VerdictKind kind);
// Throws Error for a name that is none.
VerdictKind verdict_kind_from(const std::string& name);

struct Verdict {
  VerdictKind kind = VerdictKind::infra_error;
  double score =
      0;  // the reward of this part before its weight, usually in [0, 1]; 0 for infra_error and cancelled
  std::string reason;  // one short line for a person
  std::string
      evidence;  // a JSON object: exit status or signal, first failing test, seconds, bytes …; "" is {}
  std::string
      hash;  // xxh3-128 in hex of all that decided: grader, its version and options, record, completion
  bool operator==(const Verdict&) const = default;
};

// One entry of the run's reward list: which grader, and what its score counts.
struct RewardPart {
  std::string name;  // as in the run file, e.g. "countdown"
  double weight = 1;
  Verdict verdict;
  bool operator==(const RewardPart&) const = default;
};

}  // namespace cohort
