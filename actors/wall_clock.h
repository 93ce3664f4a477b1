#pragma once

namespace cohort {

double wall_seconds();  // since 1970, for records that people read; never for time-outs

}  // namespace cohort
