// The verdict contract's list of cases: tests/reward/contract/cases*.toml (the format is at the top of cases.toml).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "transport/verdict.h"

namespace cohort {

struct ContractCase {
  std::string name, group, title, verdict;
  std::string language, source;  // of the program
  std::string input, output = "ok";
  std::vector<std::string> inputs;  // one run for each; at least one
  std::string test_code, entry_point, record, limits, options, reason, take, fallback;
  std::vector<std::string> absent;
  double score = 0;
  int runs = 1;
};

std::vector<ContractCase> read_contract(const std::string& folder, const std::string& secret_file);

}  // namespace cohort
