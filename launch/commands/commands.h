// The verbs of `cohort`, a file each. A verb gets what follows it on the command line with argv[0] = "cohort
// VERB" and returns the exit code (0 ok, 1 failed, 2 bad usage); it throws Error for what a person has to act
// on.
#pragma once

namespace cohort {

int command_train(int argc, char** argv);     // train.cc
int command_run(int argc, char** argv);       // run.cc
int command_sft(int argc, char** argv);       // sft.cc
int command_status(int argc, char** argv);    // status.cc
int command_doctor(int argc, char** argv);    // doctor.cc
int command_data(int argc, char** argv);      // data.cc
int command_report(int argc, char** argv);    // report.cc
int command_tokenize(int argc, char** argv);  // tokenize.cc

// Stands between the supervisor and one of its children; see actors/supervisor.h. Not listed in the help.
int command_guard(int argc, char** argv);  // guard.cc

}  // namespace cohort
