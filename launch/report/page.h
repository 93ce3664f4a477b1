// The report of a run as one HTML page that needs nothing else: no scripts, no files, no network.
#pragma once

#include <string>

#include "launch/report/run_data.h"

namespace cohort {

std::string report_page(const RunData& run);

// 95% interval of a mean accuracy and the like, "0.52 (0.49 to 0.55)".
std::string with_interval(double value, double low, double high);

}  // namespace cohort
