#include "reward/code/harness.h"

#include <fmt/core.h>
#include <sys/random.h>

#include <cstdint>

#include "reward/infra_error.h"

namespace cohort::code {

std::string make_nonce() {
  uint64_t words[2] = {};
  if (getrandom(words, sizeof words, 0) != sizeof words) throw InfraError("no random numbers");
  return fmt::format("{:016x}{:016x}", words[0], words[1]);
}

const std::string_view kPythonHarness =
#include "reward/code/harness_py.inc"
    ;

// Assertions that fail are a wrong answer, anything else that is raised is a crash. Only the last line, reached by
// no way but through the tests, says ok.
const std::string_view kPythonInProcess = R"(import os, sys
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
    prelude = load("prelude.py")
    tests = load("tests.py")
    os.unlink("tests.py")
    stage = "program"
    try:
        exec(prelude, space)  # the program comes after it: of two definitions its own counts
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

}  // namespace cohort::code
