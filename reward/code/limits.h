// From a record's and the run file's limits to the jail's.
#pragma once

#include <nlohmann/json.hpp>

#include "reward/code.h"
#include "reward/sandbox/jail.h"

namespace cohort::code {

sandbox::Limits to_limits(const CodeLimits& o);

// Of a trial that asks whether something works on this host: more than a program's, so that a busy machine is no answer.
inline constexpr CodeLimits kTrialLimits = {.wall_s = 60, .cpu_s = 30, .memory_mb = 4096, .processes = 256};

// The record's own "limits" take the place of the run file's, key by key. Throws InfraError naming the key.
CodeLimits record_limits(const nlohmann::json& record, CodeLimits limits);

}  // namespace cohort::code
