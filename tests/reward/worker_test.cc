#include "reward/worker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <set>
#include <thread>

#include "transport/testing/fake_coordinator.h"

namespace cohort {
namespace {

using testing::FakeCoordinator;
constexpr const char* kCountdown =
    "[[reward]]\nkind = \"countdown\"\n[[reward]]\nkind = \"format\"\nweight = 0.1\n";

// A reward that sleeps as long as its completion says, then appends it to the file in COHORT_ORDER.
std::string sleepy(int concurrency) {
  static const std::string path = [] {
    const std::string p = ::testing::TempDir() + "/sleepy_reward_" + std::to_string(getpid()) + ".py";
    std::ofstream(p) << "import json, sys, time\n"
                        "for line in sys.stdin:\n"
                        "    job = json.loads(line)\n"
                        "    time.sleep(float(job['completion']))\n"
                        "    print(json.dumps({'id': job['id'], 'score': 1}), flush=True)\n";
    return p;
  }();
  return fmt::format(
      "[grading]\nconcurrency = {}\n[[reward]]\nkind = \"process\"\ncommand = [\"python3\", "
      "\"{}\"]\ninstances = 8\n",
      concurrency, path);
}

GradeJob job_of(uint64_t id, const std::string& completion, int64_t deadline = 0) {
  GradeJob job;
  job.job = id;
  job.group = 1 + id / 4;
  job.index = static_cast<uint32_t>(id % 4);
  job.record_json = R"({"numbers": [3, 1, 6], "target": 9})";
  job.completion = completion;
  job.deadline_step = deadline;
  return job;
}

FakeCoordinator::Options with(const std::string& config) {
  FakeCoordinator::Options o;
  o.welcome.config_toml = config;
  return o;
}

struct Running {
  std::atomic<bool> stop = false;
  std::atomic<bool> done = false;
  std::string error;
  std::thread thread;
  explicit Running(const std::string& endpoint, int concurrency = 0) {
    thread = std::thread([this, endpoint, concurrency] {
      RewardWorkerOptions o;
      o.endpoint = endpoint;
      o.name = "reward-0";
      o.concurrency = concurrency;
      o.flush_s = 3;
      o.stop = [this] { return stop.load(); };
      try {
        run_reward_worker(o);
      } catch (const Error& e) {
        error = e.what();
      }
      done = true;
    });
  }
  ~Running() {
    stop = true;
    thread.join();
  }
};

TEST(RewardWorker, GradesWhatItIsGiven) {
  FakeCoordinator coordinator(with(kCountdown));
  Running worker(coordinator.endpoint(), 2);
  ASSERT_TRUE(coordinator.wait(10, [](const auto& c) { return !c.template all<Credit>().empty(); }));
  EXPECT_EQ(coordinator.all<Credit>()[0].granted, 2u);
  // as a coordinator does: never more than was granted
  uint64_t sent = 0;
  const std::string good = "<think>a</think><answer>3*1+6</answer>";
  while (sent < 200) {
    ASSERT_TRUE(
        coordinator.wait(10, [&](const auto& c) { return c.template all<Credit>().back().granted > sent; }));
    const uint64_t granted = coordinator.all<Credit>().back().granted;
    for (; sent < granted && sent < 200; ++sent)
      coordinator.send("reward-0", job_of(sent, sent % 2 ? good : "none"));
  }
  ASSERT_TRUE(coordinator.wait(10, [](const auto& c) { return c.template all<Graded>().size() == 200; }));
  std::set<uint64_t> seen;
  for (const Graded& g : coordinator.all<Graded>()) {
    seen.insert(g.job);
    EXPECT_EQ(g.group, 1 + g.job / 4);
    EXPECT_EQ(g.index, g.job % 4);
    ASSERT_EQ(g.parts.size(), 2u);
    EXPECT_EQ(g.parts[0].name, "countdown");
    EXPECT_EQ(g.parts[0].verdict.kind, g.job % 2 ? VerdictKind::passed : VerdictKind::no_answer);
    EXPECT_EQ(g.parts[1].weight, 0.1);
  }
  EXPECT_EQ(seen.size(), 200u);
  EXPECT_GT(coordinator.heartbeats(), 0u);
  coordinator.send("reward-0", Shutdown{true, "over"});
  ASSERT_TRUE(coordinator.wait(10, [](const auto& c) { return c.template all<Goodbye>().size() == 1; }));
  EXPECT_EQ(coordinator.all<Goodbye>()[0].reason, "over");
}

TEST(RewardWorker, TakesAsManyJobsAsItHasCores) {
  FakeCoordinator coordinator(with(kCountdown));
  Running worker(coordinator.endpoint());
  ASSERT_TRUE(coordinator.wait(10, [](const auto& c) { return !c.template all<Credit>().empty(); }));
  EXPECT_EQ(coordinator.all<Credit>()[0].granted, std::thread::hardware_concurrency());
}

TEST(RewardWorker, ParallelAndEarliestDeadlineFirst) {
  FakeCoordinator coordinator(with(sleepy(2)));
  Running worker(coordinator.endpoint());
  ASSERT_TRUE(coordinator.wait(10, [](const auto& c) { return !c.template all<Credit>().empty(); }));
  const auto began = std::chrono::steady_clock::now();
  // two slow ones fill both threads; the rest waits and is taken by deadline (more than was granted, to make
  // a queue)
  coordinator.send("reward-0", job_of(0, "1.5", 9));
  coordinator.send("reward-0", job_of(1, "1.5", 9));
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  for (uint64_t i = 2; i < 8; ++i)
    coordinator.send("reward-0", job_of(i, "0.02", static_cast<int64_t>(8 - i)));
  ASSERT_TRUE(coordinator.wait(20, [](const auto& c) { return c.template all<Graded>().size() == 8; }));
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(8));
  std::vector<uint64_t> order;
  for (const Graded& g : coordinator.all<Graded>())
    if (g.job >= 2) order.push_back(g.job);
  EXPECT_LE(std::abs(static_cast<int>(order[0]) - 7), 1);
  EXPECT_LE(std::abs(static_cast<int>(order[5]) - 2), 1);
}

TEST(RewardWorker, CancelShutdownAndHeldJobs) {
  auto coordinator = std::make_unique<FakeCoordinator>(with(sleepy(1)));
  const std::string endpoint = coordinator->endpoint();
  Running worker(endpoint);
  ASSERT_TRUE(coordinator->wait(10, [](const auto& c) { return !c.template all<Credit>().empty(); }));
  coordinator->send("reward-0", job_of(5, "60"));  // runs until it is cancelled
  coordinator->send("reward-0", job_of(6, "60"));  // waits
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  coordinator.reset();  // gone, and back: what is held is named, and credit begins anew
  FakeCoordinator::Options again = with(sleepy(1));
  again.endpoint = endpoint;
  FakeCoordinator second(again);
  ASSERT_TRUE(second.wait(15, [](const auto& c) { return !c.template all<Hello>().empty(); }));
  EXPECT_THAT(second.all<Hello>()[0].held_jobs, ::testing::UnorderedElementsAre(5, 6));
  second.send("reward-0", Cancel{0, 6});
  second.send("reward-0", Cancel{0, 5});
  ASSERT_TRUE(second.wait(10, [](const auto& c) {
    const auto credit = c.template all<Credit>();
    return !credit.empty() && credit.back().granted >= 1;
  }));
  second.send("reward-0", job_of(7, "0"));
  ASSERT_TRUE(second.wait(10, [](const auto& c) { return c.template all<Graded>().size() == 1; }));
  EXPECT_EQ(second.all<Graded>()[0].job, 7u);
  second.send("reward-0", job_of(8, "60"));
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  second.send("reward-0", Shutdown{false, "stop"});
  ASSERT_TRUE(second.wait(5, [](const auto& c) { return c.template all<Goodbye>().size() == 1; }));
  EXPECT_EQ(second.all<Graded>().size(), 1u);
}

TEST(RewardWorker, WrongRunFileOrRefusalEndsWithOneLine) {
  {
    FakeCoordinator coordinator(with("[[reward]]\nkind = \"countdwn\"\n"));
    Running worker(coordinator.endpoint());
    for (int i = 0; i < 500 && !worker.done; ++i) usleep(10000);
    EXPECT_THAT(worker.error, ::testing::HasSubstr("countdown"));
  }
  FakeCoordinator::Options refusing = with(kCountdown);
  refusing.refuse = "this is run b";
  FakeCoordinator coordinator(refusing);
  Running worker(coordinator.endpoint());
  for (int i = 0; i < 500 && !worker.done; ++i) usleep(10000);
  EXPECT_THAT(worker.error, ::testing::HasSubstr("this is run b"));
}

}  // namespace
}  // namespace cohort
