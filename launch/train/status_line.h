// The coordinator's Status document (docs/ledger.md, "Status") as text for a person.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace cohort {

// How fast steps go, from the statuses seen so far, for the time left.
class Pace {
 public:
  void see(int64_t step, double seconds);
  // Of `steps` more; "" while unknown.
  std::string time_left(int64_t steps) const;

 private:
  int64_t first_step_ = -1, step_ = -1;
  bool paced_ = false;
  double first_s_ = 0, seconds_ = 0;  // when first_step_ and step_ were first seen
};

// "step 12/30 | reward 0.57 | held-out 0.44 (0.40 to 0.48) at 10 | …". One line, no line end. Fields that the
// document lacks are left out. `width`: the columns it may take, in shorter words where the full ones do not fit
// ("queues 308/0/24", "q 308/0/24": completions sampling, completions in grading, groups ready); 0: no limit.
std::string status_line(const nlohmann::json& status, const Pace& pace, size_t width = 0);

// The same as a screen: the line's facts, one worker a line, staleness. For `cohort status`.
std::string status_screen(const nlohmann::json& status);

std::string duration_text(double seconds);  // "42 s", "3:07", "2:03:07"

}  // namespace cohort
