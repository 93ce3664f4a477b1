#include "reward/code/harness.h"

#include <fmt/core.h>
#include <sys/random.h>

#include "reward/infra_error.h"

namespace cohort::code {

std::string make_nonce() {
  uint64_t words[2] = {};
  if (getrandom(words, sizeof words, 0) != sizeof words) throw InfraError("no random numbers");
  return fmt::format("{:016x}{:016x}", words[0], words[1]);
}

// Runs program and tests in one interpreter and reports on descriptor 3. Assertions that fail are a wrong
// answer, anything else that is raised is a crash. Only the last line, reached by no way but through the
// tests, says ok.
const std::string_view kPythonHarness = R"(import os, sys
def run():
    nonce = sys.argv[1]
    entry = sys.argv[2]
    del sys.argv[1:]
    report = os.dup(3)
    os.close(3)
    def say(text):
        os.write(report, (nonce + " " + text[:500]).encode("utf-8", "replace"))
    def load(name):
        with open(name, encoding="utf-8") as file:
            return compile(file.read(), name, "exec")
    space = {"__name__": "__candidate__"}
    try:
        program = load("solution.py")
    except (SyntaxError, ValueError) as error:
        return say("syntax " + repr(error))
    tests = load("tests.py")
    os.unlink("tests.py")
    stage = "program"
    try:
        exec(program, space)
        stage = "tests"
        exec(tests, space)
        if entry:
            space["check"](space[entry])
    except AssertionError as error:
        return say(("assert " if stage == "tests" else "raised ") + repr(error))
    except BaseException as error:
        return say("raised " + repr(error))
    say("ok")
run()
)";

const std::string_view kNativeHarness = R"(#include <unistd.h>
#ifdef __cplusplus
extern "C" {
#endif
int __real_main(int, char**, char**);
int __wrap_main(int argc, char** argv, char** envp) {
  int status = __real_main(argc, argv, envp);
  if (status == 0 && write(3, COHORT_NONCE " ok", sizeof COHORT_NONCE + 2) < 0) return 1;
  return status;
}
#ifdef __cplusplus
}
#endif
)";

}  // namespace cohort::code
