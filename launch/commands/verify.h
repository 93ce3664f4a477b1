#pragma once

namespace cohort {

// `cohort verify KIND --input FILE.jsonl`: one typed verdict a line. argv[0] is "cohort verify".
int command_verify(int argc, char** argv);

}  // namespace cohort
