// What the end of a jailed program says of the candidate.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "reward/sandbox/jail.h"
#include "transport/verdict.h"

namespace cohort::code {

struct Judged {
  VerdictKind kind = VerdictKind::passed;
  std::string reason;
};

// How it ended, whatever it wrote: passed means a clean exit.
Judged judge_ending(const sandbox::Outcome& o);

// exit status or signal, seconds, memory and the end of standard error into a verdict's evidence.
void add_usage(nlohmann::json& evidence, const sandbox::Outcome& o);

bool contains(const std::string& text, std::string_view what);
std::string last_line(const std::string& text);  // at most 200 bytes

}  // namespace cohort::code
