// The verdict contract's list of cases: tests/reward/contract/cases*.toml (the format is at the top of cases.toml).
#pragma once

#include <nlohmann/json.hpp>
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
// The case as a record of the `code` reward, without its limits. `input`: of its test, where that is one of standard input.
nlohmann::json contract_record(const ContractCase& c, const std::string& input);

}  // namespace cohort
