// cohort verify replay RUN ID: a recorded completion graded again.
#pragma once

namespace cohort {

int command_replay(int argc, char** argv);

}  // namespace cohort
