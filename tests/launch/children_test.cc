// The processes of a run as a node starts them.
#include "launch/train/children.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "transport/base/place.h"

namespace cohort {
namespace {

TEST(RolloutChild, TakesTheGpuAfterThoseOfTheLearnersOfItsNode) {
  ASSERT_EQ(rollout_environment(RunConfig{}, 1, 2).at(kPlaceVariable), "3");
  setenv("SLURM_LOCALID", "7", 1);
  EXPECT_EQ(place_on_node(), 7);
  setenv(kPlaceVariable, "3", 1);
  EXPECT_EQ(place_on_node(), 3) << "what the supervisor says counts, whatever an srun around it left";
  unsetenv(kPlaceVariable);
  unsetenv("SLURM_LOCALID");
  EXPECT_EQ(place_on_node(), 0);
}

}  // namespace
}  // namespace cohort
