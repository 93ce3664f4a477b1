#pragma once

#include <stdexcept>

namespace cohort {

// A fault of the record, the machine or of us, never of the candidate: becomes an infra_error with this
// reason.
class InfraError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace cohort
