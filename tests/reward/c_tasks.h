// Tasks in C as records have them: a right program, tests with a main, and mistakes, each a replacement in the program.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace cohort::code_testing {

struct CTask {
  const char* name;
  std::string program, tests;
  std::vector<std::pair<const char*, const char*>> mistakes;
};

std::vector<CTask> c_tasks();

}  // namespace cohort::code_testing
