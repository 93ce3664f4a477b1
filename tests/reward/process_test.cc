#include "reward/process.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "reward/length.h"

namespace cohort {
namespace {

using K = VerdictKind;

// Obeys its completion: "0.5" is a score, the words below are mischief.
constexpr const char* kProgram = R"(
import json, os, sys, time
for line in sys.stdin:
    job = json.loads(line)
    text = job["completion"]
    answer = {"id": job["id"], "score": 0.25, "reason": "pid %d" % os.getpid(), "evidence": {"n": job["record"].get("n")}}
    if text == "die": sys.exit(3)
    if text == "sleep": time.sleep(60)
    if text == "garbage": print("garbage", flush=True); continue
    if text == "late": print(json.dumps({"id": 0, "score": 9}))
    if text == "nan": answer["score"] = float("nan")
    if text == "text": answer["score"] = "good"
    if text == "wrong": answer.update(score=0, verdict="no_answer")
    if text == "nonsense": answer["verdict"] = "splendid"
    if text == "endless":
        while True: sys.stdout.write("x" * 65536)
    if text == "child":
        if os.fork() == 0: time.sleep(60)
    print(json.dumps(answer), flush=True)
)";

std::string script() {
  static const std::string path = [] {
    const std::string p = ::testing::TempDir() + "/process_reward_" + std::to_string(getpid()) + ".py";
    std::ofstream(p) << kProgram;
    return p;
  }();
  return path;
}
std::unique_ptr<Grader> make(int instances = 1, double timeout_s = 20) {
  return make_process_grader(
      TomlTable::parse(fmt::format("command = [\"python3\", \"{}\"]\ninstances = {}\ntimeout_s = {:.1f}\n",
                                   script(), instances, timeout_s),
                       "t.toml"));
}
Verdict ask(Grader& g, const std::string& completion) {
  GradeInput input;
  input.record_json = R"({"n": 7})";
  input.completion = completion;
  return g.grade(input, false);
}
bool have_python() {
  return std::system("python3 -c 1 >/dev/null 2>&1") == 0;
}

TEST(Process, AnswersAndStaysWarm) {
  if (!have_python()) GTEST_SKIP() << "python3 is not there";
  auto g = make();
  const Verdict first = ask(*g, "x");
  EXPECT_EQ(first.kind, K::passed) << first.reason;
  EXPECT_EQ(first.score, 0.25);
  EXPECT_EQ(first.evidence, R"({"n":7})");
  EXPECT_EQ(ask(*g, "y").reason, first.reason);  // the same process
  EXPECT_EQ(ask(*g, "wrong").kind, K::no_answer);
  EXPECT_EQ(ask(*g, "late").score, 0.25);
  EXPECT_EQ(ask(*g, std::string(3 << 20, 'a')).score, 0.25);  // more than any pipe holds
  EXPECT_EQ(ask(*g, "\xff\xfe").score, 0.25);
}

TEST(Process, FaultsAreNeverAScoreAndTheNextJobWorks) {
  if (!have_python()) GTEST_SKIP() << "python3 is not there";
  auto g = make(1, 5);
  for (const char* mischief : {"die", "garbage", "nan", "text", "nonsense", "endless"}) {
    const Verdict v = ask(*g, mischief);
    EXPECT_EQ(v.kind, K::infra_error) << mischief << " " << v.reason;
    EXPECT_EQ(v.score, 0);
    EXPECT_EQ(ask(*g, "x").kind, K::passed) << "after " << mischief;
  }
  auto quick = make(1, 1);
  const auto began = std::chrono::steady_clock::now();
  EXPECT_EQ(ask(*quick, "sleep").kind, K::infra_error);
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(10));
  auto absent = make_process_grader(TomlTable::parse("command = [\"/no/such/program\"]\n", "t.toml"));
  EXPECT_EQ(ask(*absent, "x").kind, K::infra_error);
  EXPECT_THROW(make_process_grader(TomlTable::parse("instances = 1\n", "t.toml")), Error);
}

TEST(Process, SeveralAtOnceAndCancelled) {
  if (!have_python()) GTEST_SKIP() << "python3 is not there";
  auto g = make(3);
  std::atomic<int> right = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 10; ++i) right += ask(*g, "x").kind == K::passed;
    });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(right, 60);
  std::atomic<bool> cancelled = false;
  std::thread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    cancelled = true;
  });
  GradeInput input;
  input.completion = "sleep";
  EXPECT_EQ(g->grade(input, cancelled).kind, K::cancelled);
  later.join();
}

TEST(Process, EndsWithItsChildren) {
  if (!have_python()) GTEST_SKIP() << "python3 is not there";
  pid_t pid = 0;
  {
    auto g = make();
    pid = std::stoi(ask(*g, "child").reason.substr(4));
    EXPECT_EQ(kill(-pid, 0), 0);
  }
  for (int i = 0; i < 200 && kill(-pid, 0) == 0; ++i) usleep(10000);  // its child is reaped by init
  EXPECT_NE(kill(pid, 0), 0);
}

TEST(Length, FallsLinearlyOverTheBuffer) {
  LengthOptions o;
  o.max_tokens = 100;
  o.buffer = 20;
  o.penalty = 0.5;
  EXPECT_EQ(grade_length(80, o).score, 0);
  EXPECT_DOUBLE_EQ(grade_length(90, o).score, -0.25);
  EXPECT_DOUBLE_EQ(grade_length(100, o).score, -0.5);
  EXPECT_DOUBLE_EQ(grade_length(1000, o).score, -0.5);
  EXPECT_EQ(grade_length(1000, o).kind, K::failed);
  EXPECT_THROW(make_length_grader(TomlTable::parse("buffer = 1\n", "t.toml")), Error);
}

}  // namespace
}  // namespace cohort
