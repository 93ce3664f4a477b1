// A Link that only asks the coordinator for its status: `cohort status` and the live line of `cohort train`.
#pragma once

#include <memory>
#include <string>

#include "transport/link.h"

namespace cohort {

// `who` names it in the coordinator's log. Does not wait for the connection.
std::unique_ptr<Link> make_observer(const std::string& endpoint, const std::string& who);

}  // namespace cohort
