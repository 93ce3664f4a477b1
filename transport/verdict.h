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
  unknown,           // the checker cannot decide
  infra_error,       // a fault of ours: retried elsewhere, never a reward
  cancelled,         // no longer wanted
  budget_exhausted,  // the run may ask no more of a paid endpoint: no retry can help, the run ends in order
};
const char* to_string(VerdictKind kind);
// Says nothing of the candidate: no score may be made of it.
inline bool is_no_reward(VerdictKind kind) {
  return kind == VerdictKind::infra_error || kind == VerdictKind::cancelled ||
         kind == VerdictKind::budget_exhausted;
}
// Throws Error for a name that is none.
VerdictKind verdict_kind_from(const std::string& name);

struct Verdict {
  VerdictKind kind = VerdictKind::infra_error;
  double score = 0;    // the reward of this part before its weight, usually in [0, 1]; 0 where is_no_reward
  std::string reason;  // one short line for a person
  std::string
      evidence;  // a JSON object: exit status or signal, first failing test, seconds, bytes …; "" is {}
  std::string
      hash;  // xxh3-128 in hex of all that decided: grader, its version and options, record, completion
  bool reused = false;  // found (an earlier answer or compilation of the same content), not worked out again
  uint32_t calls = 0;   // requests made of a paid endpoint for this verdict, also those that failed …
  uint64_t tokens = 0;  // … and the tokens they used: what a budget counts
  bool operator==(const Verdict&) const = default;
};

// One entry of the run's reward list: which grader, and what its score counts.
struct RewardPart {
  std::string name;  // as in the run file, e.g. "countdown"
  double weight = 1;
  Verdict verdict;
  double seconds = 0;  // grading this part took
  bool operator==(const RewardPart&) const = default;
};

}  // namespace cohort
