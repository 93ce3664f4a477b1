// From a record's and the run file's limits to the jail's.
#pragma once

#include <nlohmann/json.hpp>

#include "reward/code.h"
#include "reward/sandbox/jail.h"

namespace cohort::code {

sandbox::Limits to_limits(const CodeLimits& o);

// The record's own "limits" take the place of the run file's, key by key. Throws InfraError naming the key.
CodeLimits record_limits(const nlohmann::json& record, CodeLimits limits);

}  // namespace cohort::code
