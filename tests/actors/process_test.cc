// The real cohort-coordinator process: killed with SIGKILL while workers talk to it over real sockets,
// stopped in order, and what it says about bad input.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "tests/actors/link_workers.h"
#include "tests/actors/run_check.h"
#include "transport/base/log.h"

extern char** environ;

namespace cohort::testing {
namespace {

using namespace std::chrono_literals;

pid_t start(const std::vector<std::string>& arguments, const std::string& output) {
  std::vector<char*> argv;
  const std::string program = COHORT_BIN_DIR "/cohort-coordinator";
  argv.push_back(const_cast<char*>(program.c_str()));
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 1, output.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  pid_t pid = -1;
  EXPECT_EQ(posix_spawn(&pid, program.c_str(), &actions, nullptr, argv.data(), environ), 0);
  posix_spawn_file_actions_destroy(&actions);
  return pid;
}

int wait_for(pid_t pid) {
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string text_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

class Process : public ::testing::Test {
 protected:
  void SetUp() override {
    log::init("test", "", log::Level::error);
    dir_ = temp_dir("process");
    write_prompts(dir_ + "/train.jsonl", 50, "t");
    config(link_config(dir_, 16, 4, 4));
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  void config(const std::string& toml) { std::ofstream(dir_ + "/run.toml") << toml; }
  std::vector<std::string> arguments() const {
    return {"--config", dir_ + "/run.toml", "--run-dir", dir_ + "/run"};
  }
  // Runs it to its end: exit code, and all it said.
  std::pair<int, std::string> run_once(std::vector<std::string> more = {}) {
    std::vector<std::string> a = arguments();
    a.insert(a.end(), more.begin(), more.end());
    std::filesystem::remove(dir_ + "/out");
    const int code = wait_for(start(a, dir_ + "/out"));
    return {code, text_of(dir_ + "/out")};
  }
  std::string endpoint() {
    for (int i = 0; i < 400; ++i) {
      std::string text = text_of(dir_ + "/run/coordinator.endpoint");
      if (text.ends_with("\n")) return text.substr(0, text.size() - 1);
      std::this_thread::sleep_for(25ms);
    }
    return "";
  }
  std::string dir_;
};

TEST_F(Process, SurvivesKillsWhileWorkersTalkToIt) {
  pid_t pid = start(arguments(), dir_ + "/out");
  LinkRun run;
  run.endpoint = endpoint();
  run.credit = 2;
  run.tokens = 8;
  ASSERT_FALSE(run.endpoint.empty());
  std::vector<std::thread> workers;
  for (int i = 0; i < 2; ++i)
    workers.emplace_back([&, i] { link_rollout(run, "rollout-" + std::to_string(i)); });
  for (int i = 0; i < 2; ++i)
    workers.emplace_back([&, i] { link_reward(run, "reward-" + std::to_string(i)); });
  workers.emplace_back([&] { link_learner(run, 5); });
  std::mt19937 rng(3);
  for (int kill = 0; kill < 3; ++kill) {
    const uint64_t before = run.batches, more = 1 + rng() % 3;  // so each one did some work
    for (int i = 0; i < 2000 && run.batches < before + more; ++i) std::this_thread::sleep_for(5ms);
    std::this_thread::sleep_for(std::chrono::milliseconds(rng() % 20));
    ASSERT_EQ(::kill(pid, SIGKILL), 0);
    wait_for(pid);
    pid = start(arguments(), dir_ + "/out");
  }
  const auto began = std::chrono::steady_clock::now();
  std::thread watchdog([&] {
    for (int i = 0; i < 1200 && !run.stop; ++i) std::this_thread::sleep_for(50ms);
    if (!run.stop.exchange(true)) ::kill(pid, SIGKILL);
  });
  const int code = wait_for(pid);
  for (auto& w : workers) w.join();
  run.stop = true;
  watchdog.join();
  EXPECT_EQ(code, 0) << text_of(dir_ + "/out");
  EXPECT_LT(std::chrono::steady_clock::now() - began, 30s)
      << "a worker did not leave: " << text_of(dir_ + "/out");
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/run/coordinator.endpoint"));
  ASSERT_EQ(run.trained.size(), 16u) << run.trouble << text_of(dir_ + "/out");
  std::set<GroupId> seen;
  for (const auto& [step, groups] : run.trained) {
    ASSERT_EQ(groups.size(), 4u);
    for (GroupId g : groups) ASSERT_TRUE(seen.insert(g).second) << "group " << g << " trained twice";
  }
  EXPECT_EQ(sql_number(dir_ + "/run", "SELECT COUNT(*) FROM groups WHERE state='consumed'"), 64);
  EXPECT_EQ(sql_number(dir_ + "/run", "SELECT value FROM meta WHERE key='epoch'"), 4);
}

TEST_F(Process, StopsInOrderOnSigterm) {
  config(link_config(dir_, 100000, 4, 4));
  pid_t pid = start(arguments(), dir_ + "/out");
  LinkRun run;
  run.endpoint = endpoint();
  run.tokens = 8;
  std::vector<std::thread> workers;
  workers.emplace_back([&] { link_rollout(run, "rollout-0"); });
  workers.emplace_back([&] { link_reward(run, "reward-0"); });
  workers.emplace_back([&] { link_learner(run, 1000000); });
  for (int i = 0; i < 1000 && run.batches < 5; ++i) std::this_thread::sleep_for(10ms);
  ASSERT_EQ(::kill(pid, SIGTERM), 0);
  EXPECT_EQ(wait_for(pid), 0) << text_of(dir_ + "/out");
  for (auto& w : workers) w.join();  // every worker was told and left
  EXPECT_EQ(sql_number(dir_ + "/run", "SELECT MAX(next_step) FROM checkpoints"),
            static_cast<int64_t>(run.trained.size()));
  EXPECT_EQ(sql_number(dir_ + "/run", "SELECT MAX(step)+1 FROM batches"),
            static_cast<int64_t>(run.trained.size()));
}

TEST_F(Process, BadInputIsOneClearLine) {
  auto expect = [&](const std::pair<int, std::string>& r, int code, const std::string& what) {
    EXPECT_EQ(r.first, code) << r.second;
    EXPECT_NE(r.second.find(what), std::string::npos) << r.second;
    EXPECT_EQ(std::count(r.second.begin(), r.second.end(), '\n'), 1) << r.second;
  };
  const std::string good = text_of(dir_ + "/run.toml");
  config(good + "[async2]\n");  // another component's section is not this one's business
  std::ofstream(dir_ + "/train.jsonl", std::ios::app) << "{\"id\":\"x\",\"prompt\":\n";
  expect(run_once(), 1, "train.jsonl:51: is not JSON");
  write_prompts(dir_ + "/train.jsonl", 50, "t");
  config(good + "heartbeet_ms = 3\n");
  expect(run_once(), 2, "heartbeat_ms");
  config("[run]\ntotal_steps = 0\n");
  expect(run_once(), 2, "run.toml:2");
  config("[async]\nmax_staleness = 1\nweight_sync_steps = 3\n" + good.substr(0, good.find("[async]")));
  expect(run_once(), 2, "weight_sync_steps");
  config(good);
  expect(run_once({"--endpoint", "tcp://nowhere.invalid:1"}), 1, "tcp://nowhere.invalid:1");
}

TEST_F(Process, TheFolderIsOneRunsAndOneCoordinators) {
  const pid_t first = start(arguments(), dir_ + "/first");
  ASSERT_FALSE(endpoint().empty());
  auto [code, said] = run_once();
  EXPECT_EQ(code, 1);
  EXPECT_NE(said.find("another coordinator (pid " + std::to_string(first) + ")"), std::string::npos) << said;
  ::kill(first, SIGTERM);
  EXPECT_EQ(wait_for(first), 0);
  std::string toml = text_of(dir_ + "/run.toml");
  const auto at = [&](const std::string& from, const std::string& to) {
    std::string changed = toml;
    changed.replace(changed.find(from), from.size(), to);
    return changed;
  };
  config(at("name = \"bench\"", "name = \"other\""));
  EXPECT_NE(run_once().second.find("belongs to another run"), std::string::npos);
  config(at("num_generations = 4", "num_generations = 5"));
  const auto [code2, said2] = run_once();
  EXPECT_EQ(code2, 1);
  EXPECT_NE(said2.find("rollout.num_generations is 4 there and 5 here"), std::string::npos) << said2;
  config(toml);
  write_prompts(dir_ + "/train.jsonl", 49, "t");
  EXPECT_NE(run_once().second.find("data.train was changed"), std::string::npos);
}

}  // namespace
}  // namespace cohort::testing
