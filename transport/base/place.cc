#include "transport/base/place.h"

#include <cstdlib>
#include <initializer_list>

namespace cohort {

int place_on_node() {
  for (const char* name : {kPlaceVariable, "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID", "MPI_LOCALRANKID",
                           "PALS_LOCAL_RANKID"})
    if (const char* value = std::getenv(name)) return std::atoi(value);
  return 0;
}

}  // namespace cohort
