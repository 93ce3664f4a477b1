#include "actors/wall_clock.h"

#include <chrono>

namespace cohort {

double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace cohort
