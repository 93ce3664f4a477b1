// What `cohort VERB` stands for: a function of this executable or another executable of build/bin.
#pragma once

#include <string>
#include <vector>

namespace cohort {

struct Verb {
  std::string name;
  std::string line;                        // one line for `cohort --help`
  int (*function)(int argc, char** argv);  // nullptr: exec `program`
  std::string program;                     // "cohort-rollout"; it gets the verb as its first argument
  bool hidden = false;
};
const std::vector<Verb>& verbs();

// The absolute path of an executable that lies beside this one. Throws Error naming it when it is not there.
std::string sibling_program(const std::string& name);

}  // namespace cohort
