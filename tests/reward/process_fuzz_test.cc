// A program that answers with any bytes at all: a verdict it may give or an infra_error, and the next job works.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <fstream>

#include "reward/process.h"
#include "tests/reward/text_fuzz.h"

namespace cohort {
namespace {

// Writes the bytes its completion spells in hex, the job's id where they say @, and should that be no answer to this
// job, one that is.
constexpr const char* kProgram = R"(
import json, sys
for line in sys.stdin:
    job = json.loads(line)
    answer = bytes.fromhex(job["completion"]) + b'\n{"id": @, "score": 0.125}\n'
    sys.stdout.buffer.write(answer.replace(b"@", str(job["id"]).encode()))
    sys.stdout.buffer.flush()
)";

std::string hex(const std::string& bytes) {
  std::string out;
  for (unsigned char c : bytes) out += fmt::format("{:02x}", c);
  return out;
}

TEST(ProcessFuzz, AnyBytesAreAVerdictOrAnInfraError) {
  if (std::system("python3 -c 1 >/dev/null 2>&1") != 0) GTEST_SKIP() << "python3 is not there";
  const std::string path = ::testing::TempDir() + "/process_fuzz_" + std::to_string(getpid()) + ".py";
  std::ofstream(path) << kProgram;
  auto grader = make_process_grader(TomlTable::parse(
      fmt::format("command = [\"python3\", \"-ISE\", \"{}\"]\ntimeout_s = 5.0\n", path), "t.toml"));
  auto ask = [&](const std::string& bytes) {
    GradeInput input;
    input.completion = hex(bytes);
    return grader->grade(input, false);
  };
  const std::string good = R"({"id": @, "score": 0.5, "reason": "r", "evidence": {"a": [1]}})";
  TextFuzz make(
      {good, R"({"id": @, "score": 1, "verdict": "failed"})",
       R"({"id": 0, "score": 1})"
       "\n" +
           good},
      {"{",      "}",       "[",     "]",       "\"",    ":", ",",   "\\",        "null",
       "@",      "\n",      "\xff",  "\\ud800", "1e999", "-", "NaN", "cancelled", "budget_exhausted",
       "passed", "verdict", "score", "id",      " "});
  size_t rounds = 0, read = 0;
  for (; make.more(rounds, 40); ++rounds) {
    const std::string bytes = rounds % 5 == 4 ? good : make.text();
    const Verdict v = ask(bytes);
    read += v.kind != VerdictKind::infra_error;
    EXPECT_TRUE(std::isfinite(v.score)) << bytes;
    EXPECT_NE(v.kind, VerdictKind::cancelled) << bytes;
    EXPECT_NE(v.kind, VerdictKind::budget_exhausted) << bytes;
    if (bytes == good) {
      EXPECT_EQ(v.score, 0.5) << v.reason;
    }
  }
  EXPECT_GT(read, rounds / 5 - 1);
  const std::string deep = std::string(300000, '[') + std::string(300000, ']');
  EXPECT_EQ(ask(R"({"id": @, "score": 1, "evidence": {"x": )" + deep + "}}").kind, VerdictKind::infra_error);
  EXPECT_EQ(ask(std::string(5 << 20, 'x')).kind, VerdictKind::infra_error);
  EXPECT_EQ(ask(R"({"id": @, "score": 1, "verdict": "cancelled"})").kind, VerdictKind::infra_error);
  EXPECT_EQ(ask(good).score, 0.5);
  GradeInput input;
  input.record_json = "{\"x\": " + deep + "}";
  EXPECT_EQ(grader->grade(input, false).kind, VerdictKind::infra_error);
}

}  // namespace
}  // namespace cohort
