#include "reward/process.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
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
    if text == "last": print(json.dumps(answer), flush=True); sys.exit(0)
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

TEST(Process, OneThatEndedBetweenTwoJobsIsStartedAgain) {
  if (!have_python()) GTEST_SKIP() << "python3 is not there";
  auto g = make();
  std::string before;
  for (int i = 0; i < 5; ++i) {
    const Verdict v = ask(*g, "last");
    EXPECT_EQ(v.kind, K::passed) << v.reason;
    EXPECT_NE(v.reason, before) << "another process";
    before = v.reason;
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
  EXPECT_EQ(ask(*g, "die").reason, "process: the program ended: exit status 3");
}

TEST(Process, InTheJail) {
  if (!have_python()) GTEST_SKIP() << "python3 is not there";
  const std::string path = ::testing::TempDir() + "/jailed_reward_" + std::to_string(getpid()) + ".py";
  const std::string secret = ::testing::TempDir() + "/jailed_secret_" + std::to_string(getpid());
  std::ofstream(secret) << "secret";
  std::ofstream(path) << R"(
import json, os, socket, sys
for line in sys.stdin:
    job = json.loads(line)
    text = job["completion"]
    if text == "die": sys.stderr.write("so be it\n"); sys.exit(3)
    if text == "sleep":
        if os.fork() == 0: os.setsid()
        while True: pass
    if text == "memory": x = b"x" * (1 << 30); x = x + x
    seen = []
    for name, attempt in (("secret", lambda: open(job["record"]["secret"]).read()),
                          ("write", lambda: open("/usr/lib/x", "a")),
                          ("network", lambda: socket.create_connection(("127.0.0.1", job["record"]["port"]), 1))):
        try: attempt(); seen.append(name)
        except OSError: pass
    print(json.dumps({"id": job["id"], "score": 1, "reason": " ".join(seen), "evidence": {"pid": os.getpid()}}), flush=True)
)";
  auto g = make_process_grader(TomlTable::parse(
      fmt::format("command = [\"python3\", \"{}\"]\njail = true\ntimeout_s = 10.0\nmemory_mb = 256\n", path),
      "t.toml"));
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(listen(listener, 4), 0);
  socklen_t size = sizeof address;
  getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
  const std::string record = nlohmann::json{{"secret", secret}, {"port", ntohs(address.sin_port)}}.dump();
  auto graded = [&](const std::string& completion) {
    GradeInput input;
    input.record_json = record;
    input.completion = completion;
    return g->grade(input, false);
  };
  const Verdict first = graded("x");
  EXPECT_EQ(first.kind, K::passed) << first.reason;
  EXPECT_EQ(first.reason, "") << "what it reached outside";
  EXPECT_EQ(graded("y").evidence, first.evidence) << "kept warm";
  const Verdict died = graded("die");
  EXPECT_EQ(died.kind, K::infra_error);
  EXPECT_EQ(died.reason, "process: the program ended: exit status 3 (so be it)");
  EXPECT_EQ(graded("x").kind, K::passed);
  EXPECT_EQ(graded("memory").kind, K::infra_error);
  EXPECT_EQ(graded("x").kind, K::passed);
  g = make_process_grader(TomlTable::parse(
      fmt::format("command = [\"python3\", \"{}\"]\njail = true\ntimeout_s = 1.5\n", path), "t.toml"));
  EXPECT_EQ(graded("sleep").reason, "process: no answer in time");
  for (int i = 0; i < 3 && graded("x").kind != K::passed; ++i) {  // a start may take longer on a busy machine
  }
  std::atomic<bool> cancelled = true;
  EXPECT_EQ(g->grade({record, "", "x", "", 0}, cancelled).kind, K::cancelled);
  g.reset();  // ends at once though the program would go on
  close(listener);
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
