// cohort train and cohort run to their end, with their real processes: what the ledger, the model and the
// process table look like then. Kills and interrupts are in train_kill_test.cc.
#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "launch/data/jsonl.h"
#include "tests/integration/train_fixture.h"

namespace cohort {
namespace {

using testing::HasSubstr;

TEST_F(TrainProcess, AWholeRun) {
  Process p(folder, train({"run.eval_steps=3", "run.eval_prompts=8"}));
  const Outcome out = p.wait(60);
  ASSERT_EQ(out.code, 0) << out.output << out.error;
  EXPECT_TRUE(p.all_gone(0)) << "processes are left";
  expect_whole(6);
  for (double gradient : metric("grad_norm", 6)) EXPECT_GT(gradient, 0);
  EXPECT_EQ(integers("SELECT version FROM evals ORDER BY version"), (std::vector<int64_t>{0, 3, 6}));
  EXPECT_THAT(read_text(dir() + "/report.html"), HasSubstr("</html>"));
  EXPECT_FALSE(std::filesystem::exists(dir() + "/coordinator.endpoint"));

  EXPECT_NE(read_text(dir() + "/model/model.safetensors"),
            read_text(folder + "/data/model/model.safetensors"));
  const Outcome said = run(folder, {"generate", "--model", dir() + "/model", "--prompt", "3 5 2 = 7",
                                    "--temperature", "0", "--max-tokens", "8"});
  EXPECT_EQ(said.code, 0) << said.error;
  EXPECT_THAT(said.output, HasSubstr("\"completion\""));

  const Outcome again = run(folder, train({"run.eval_steps=3", "run.eval_prompts=8"}));
  EXPECT_EQ(again.code, 0) << again.error;
  EXPECT_THAT(again.output, HasSubstr("nothing to do"));

  // more steps than before: goes on from the last checkpoint
  const Outcome more = run(folder, train({"run.total_steps=8", "run.eval_steps=3", "run.eval_prompts=8"}));
  EXPECT_EQ(more.code, 0) << more.error;
  expect_whole(8);
}

TEST_F(TrainProcess, WithoutStalenessEveryTokenIsOfTheStepsOwnVersion) {
  const Outcome out = run(folder, train({"async.max_staleness=0"}));
  ASSERT_EQ(out.code, 0) << out.output << out.error;
  expect_whole(6, 0);
  for (double lag : metric("staleness/max", 6)) EXPECT_EQ(lag, 0);
}

TEST_F(TrainProcess, WithALearningRateOfZeroSamplerAndLearnerAgree) {
  const Outcome out = run(folder, train({"async.max_staleness=0", "learner.learning_rate=0"}));
  ASSERT_EQ(out.code, 0) << out.output << out.error;
  expect_whole(6, 0);
  for (double kl : metric("mismatch_kl", 6)) EXPECT_NEAR(kl, 0, 1e-6);
  for (double ratio : metric("ratio", 6)) EXPECT_NEAR(ratio, 1, 1e-5);
  EXPECT_TRUE(read_text(dir() + "/model/model.safetensors").size() > 1000);
}

TEST_F(TrainProcess, WorkersJoinAndLeaveARunningJob) {
  std::filesystem::create_directory(folder + "/a"), std::filesystem::create_directory(folder + "/b");
  // It must not learn: before the others have joined a slow machine, all groups would have one reward and be filtered.
  Process p(folder, train({"run.total_steps=100000", "run.save_steps=20", "async.max_staleness=4",
                           "learner.learning_rate=0"}));
  ASSERT_TRUE(reaches(p, 1)) << p.output();
  const std::string endpoint = read_text(dir() + "/coordinator.endpoint")
                                   .substr(0, read_text(dir() + "/coordinator.endpoint").find('\n'));
  const auto worked = [&](const std::string& column, const std::string& name) {
    return integer("SELECT COUNT(*) FROM completions WHERE " + column + " = '" + name + "'") > 0;
  };
  Process rollout(folder + "/a", {"rollout", "--join", endpoint, "--name", "extra-rollout"});
  Process reward(folder + "/b",
                 {"reward", "--join", endpoint, "--name", "extra-reward", "--concurrency", "1"});
  EXPECT_TRUE(
      p.until([&] { return worked("worker", "extra-rollout") && worked("graded_by", "extra-reward"); }, 30));
  rollout.signal(SIGKILL), reward.signal(SIGKILL);
  EXPECT_TRUE(rollout.all_gone(5) && reward.all_gone(5));
  EXPECT_TRUE(reaches(p, formed() + 40)) << "the run stands still without them";
  p.signal(SIGINT);
  const Outcome out = p.wait(60);
  EXPECT_EQ(out.code, 1) << out.output << out.error;
  EXPECT_TRUE(p.all_gone(0));
  expect_whole(checkpointed(), 4);
}

// The coordinator's last words did not reach it, for it was gone without any: it looks for another for a while and leaves.
TEST_F(TrainProcess, AJoinedWorkerThatNobodyDismissedGivesUp) {
  std::filesystem::create_directory(folder + "/a");
  Process p(folder, train({"run.total_steps=100000"}));
  ASSERT_TRUE(reaches(p, 1)) << p.output();
  const std::string endpoint = read_text(dir() + "/coordinator.endpoint")
                                   .substr(0, read_text(dir() + "/coordinator.endpoint").find('\n'));
  Process reward(folder + "/a", {"reward", "--join", endpoint, "--name", "extra", "--give-up", "1.5"});
  ASSERT_TRUE(
      p.until([&] { return integer("SELECT COUNT(*) FROM completions WHERE graded_by='extra'") > 0; }, 30));
  p.signal(SIGKILL);
  EXPECT_TRUE(p.all_gone(10));
  const Outcome out = reward.wait(20);
  EXPECT_EQ(out.code, 1);
  EXPECT_THAT(out.error, testing::EndsWith("cohort-reward: no answer from the coordinator at " + endpoint +
                                           " for 1.5 s\n"));
}

TEST_F(TrainProcess, UnderMpirun) {
  Process p(folder,
            {"mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "3", COHORT_BIN_DIR "/cohort", "run",
             folder + "/run.toml"},
            "/usr/bin/env");
  const Outcome out = p.wait(60);
  ASSERT_EQ(out.code, 0) << out.output << out.error;
  EXPECT_TRUE(p.all_gone(0.5)) << "processes are left";
  expect_whole(6);
  EXPECT_TRUE(std::filesystem::exists(dir() + "/model/model.safetensors"));
}

// What a batch system does before the time limit (launch/slurm.sbatch).
TEST_F(TrainProcess, UnderMpirunASignalEndsItWithACheckpointAndTheSameCommandGoesOn) {
  const std::vector<std::string> command = {"mpirun",
                                            "--allow-run-as-root",
                                            "--oversubscribe",
                                            "-n",
                                            "4",
                                            COHORT_BIN_DIR "/cohort",
                                            "run",
                                            folder + "/run.toml",
                                            "--set",
                                            "run.total_steps=60",
                                            "--set",
                                            "run.save_steps=1000",
                                            "--set",
                                            "learner.ranks=2"};
  {
    Process p(folder, command, "/usr/bin/env");
    ASSERT_TRUE(reaches(p, 3)) << p.output();
    p.signal(SIGUSR2);
    const Outcome out = p.wait(60);
    EXPECT_EQ(out.code, 1) << out.output << out.error;
    EXPECT_TRUE(p.all_gone(0.5)) << "processes are left";
  }
  const int64_t kept = checkpointed();
  EXPECT_GE(kept, 3);
  EXPECT_LT(kept, 60) << "the run ended before it was stopped: too few steps for this test";
  EXPECT_EQ(kept, integer("SELECT MAX(step) + 1 FROM metrics WHERE name = 'trained'"))
      << "trained steps were lost";
  Process p(folder, command, "/usr/bin/env");
  const Outcome out = p.wait(120);
  ASSERT_EQ(out.code, 0) << out.output << out.error;
  expect_whole(60);
}

TEST_F(TrainProcess, BadInputIsOneLineAndLeavesNothing) {
  const auto expect = [&](const std::vector<std::string>& set, int code,
                          const std::vector<std::string>& named) {
    Process p(folder, train(set));
    const Outcome out = p.wait(60);
    EXPECT_EQ(out.code, code) << out.error;
    EXPECT_EQ(std::count(out.error.begin(), out.error.end(), '\n'), 1) << out.error;
    for (const std::string& part : named) EXPECT_THAT(out.error, HasSubstr(part));
    EXPECT_TRUE(p.all_gone(0));
  };
  expect({"async.max_stalenes=1"}, 2, {"async.max_stalenes", "max_staleness"});
  expect({"async.max_staleness=-1"}, 2, {"async.max_staleness"});
  expect({"model.path=" + folder + "/none"}, 2, {"model.path", folder + "/none"});
  expect({"data.train=" + folder + "/none.jsonl"}, 2, {"data.train", folder + "/none.jsonl"});
  EXPECT_FALSE(std::filesystem::exists(dir())) << "a run that never began left its folder";

  const int taken = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET, address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  ASSERT_EQ(bind(taken, reinterpret_cast<sockaddr*>(&address), length), 0);
  ASSERT_EQ(listen(taken, 1), 0);
  getsockname(taken, reinterpret_cast<sockaddr*>(&address), &length);
  const std::string port = std::to_string(ntohs(address.sin_port));
  expect({"coordinator.endpoint=tcp://127.0.0.1:" + port}, 1, {port, "in use"});
  close(taken);

  std::ofstream(folder + "/bad.jsonl") << read_text(folder + "/data/train.jsonl") << "{\"id\": \n";
  expect({"run.dir=" + folder + "/bad", "data.train=" + folder + "/bad.jsonl"}, 1, {"bad.jsonl:"});
  std::filesystem::copy(folder + "/data/model", folder + "/broken");
  std::filesystem::resize_file(folder + "/broken/model.safetensors", 1000);
  expect({"run.dir=" + folder + "/bad2", "model.path=" + folder + "/broken"}, 1, {"model.safetensors"});

  const Outcome out = run(folder, train({"run.total_steps=1"}));  // the refused starts left the folder usable
  ASSERT_EQ(out.code, 0) << out.error;
  expect({"async.groups_per_batch=5"}, 2, {"async.groups_per_batch is 4 there and 5 here"});
  expect({"run.name=other"}, 2, {"run.name"});
  {
    Process first(folder + "/data", train({"run.total_steps=100000"}));
    ASSERT_TRUE(reaches(first, 2));
    expect({"run.total_steps=100000"}, 1, {"in use by another process"});
  }
}

}  // namespace
}  // namespace cohort
