// cohort-learner as processes under mpirun, against a fake coordinator: the conversation, weights,
// checkpoints, restart.
#include "learner/train_loop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/learner/mpirun.h"
#include "tests/learner/tiny.h"
#include "transport/testing/fake_coordinator.h"
#include "transport/weights.h"

namespace cohort {
namespace {

namespace fs = std::filesystem;
using cohort::testing::FakeCoordinator;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAreArray;

std::string read(const std::string& file) {
  std::stringstream text;
  text << std::ifstream(file, std::ios::binary).rdbuf();
  return text.str();
}

class TrainLoop : public ::testing::Test {
 protected:
  void SetUp() override {
    dir = fs::temp_directory_path() / ("cohort-train-loop-" + std::to_string(getpid()));
    fs::remove_all(dir);
    fs::create_directories(dir);
    policy.init_random(1);
    write_model_folder(dir + "/start", policy.config(), policy.snapshot(0, DType::f32), DType::f32, "");
  }
  void TearDown() override { fs::remove_all(dir); }

  std::string run_dir(const std::string& name) const { return dir + "/" + name; }

  // Answers each rank's request with its share of a made-up batch, NoMoreBatches after four steps.
  FakeCoordinator::Options coordinator(const std::string& name) {
    FakeCoordinator::Options o;
    o.welcome.run_id = "run-1";
    o.welcome.config_toml = fmt::format(
        "[run]\ndir = \"{}\"\ntotal_steps = 4\nsave_steps = 2\n[model]\npath = "
        "\"{}/start\"\n[rollout]\nmax_new_tokens = 9\n"
        "[async]\nmax_staleness = 2\nweight_sync_steps = 2\n[learner]\nlearning_rate = 1e-3\nranks = "
        "2\n[grpo]\nmini_batches = 2\n",
        run_dir(name), dir);
    o.on_message = [this](FakeCoordinator& fake, const std::string& worker, const Message& message) {
      const auto* request = std::get_if<BatchRequest>(&message);
      if (!request) return;
      if (request->step >= 4) return fake.send(worker, NoMoreBatches{"all steps are trained"});
      if (hold_at == static_cast<int>(request->step)) return;
      Batch batch = testing::made_up_batch(policy, request->step, 7 + request->step);
      if (spoil) batch.samples[0].token_ids[0] = 999;
      fake.send(worker, testing::share(batch, worker == "learner-0" ? 0 : 1, 2));
    };
    return o;
  }
  std::future<int> start(const FakeCoordinator& fake) {
    return std::async(std::launch::async, [this, endpoint = fake.endpoint()] {
      return testing::mpirun(2, std::string(COHORT_BIN_DIR) + "/cohort-learner --join " + endpoint,
                             dir + "/log");
    });
  }
  std::vector<uint32_t> trained(const FakeCoordinator& fake) {
    std::vector<uint32_t> out;
    for (const Trained& t : fake.all<Trained>()) out.push_back(t.step);
    return out;
  }
  // Kills both ranks as a power cut would.
  void kill_ranks(const FakeCoordinator& fake) {
    for (const Hello& h : fake.all<Hello>()) kill(static_cast<pid_t>(h.pid), SIGKILL);
  }

  std::string dir;
  Policy policy{testing::tiny_config(), "cpu", "float32", true};
  std::atomic<int> hold_at = -1;  // this step's batch is never sent
  bool spoil = false;
};

TEST_F(TrainLoop, TrainsPublishesAndExports) {
  FakeCoordinator fake(coordinator("a"));
  hold_at = 3;
  std::future<int> exit_code = start(fake);
  ASSERT_TRUE(fake.wait(60, [&](const FakeCoordinator& f) { return f.all<Trained>().size() == 3; }))
      << read(dir + "/log");
  ASSERT_TRUE(fake.wait(5, [&](const FakeCoordinator& f) { return f.all<Published>().size() == 2; }));
  const Published published = fake.all<Published>().back();
  EXPECT_EQ(published.version, 2u);
  WeightClient client;
  const auto weights = client.fetch(published.endpoint, 2, 20);
  ASSERT_TRUE(weights);
  EXPECT_EQ(weights->manifest.version, 2u);
  EXPECT_EQ(weights->data.size(), published.bytes);
  EXPECT_NE(weights->data, policy.snapshot(0, DType::f32).data);
  hold_at = -1;
  for (int rank : {0, 1})
    fake.send(fmt::format("learner-{}", rank),
              testing::share(testing::made_up_batch(policy, 3, 10), rank, 2));
  EXPECT_EQ(exit_code.get(), 0) << read(dir + "/log");

  EXPECT_THAT(trained(fake), ElementsAre(0, 1, 2, 3));
  std::vector<uint32_t> checkpointed;
  for (const Checkpointed& c : fake.all<Checkpointed>()) checkpointed.push_back(c.next_step);
  EXPECT_THAT(checkpointed, ElementsAre(2, 4));
  const ModelConfig config = ModelConfig::read(run_dir("a") + "/model");
  EXPECT_EQ(read_weights(run_dir("a") + "/model", config, DType::f32).data.size(), weights->data.size());
  std::ifstream metrics(run_dir("a") + "/metrics.jsonl");
  std::string line;
  for (int step = 0; step < 4; ++step) {
    ASSERT_TRUE(std::getline(metrics, line));
    const auto j = nlohmann::json::parse(line);
    EXPECT_EQ(j["step"], step);
    EXPECT_TRUE(j.contains("reward/mean") && j.contains("time/wait_for_batch") && j.contains("mismatch_kl"));
  }
}

// Killed after step 2 (its checkpoint holds two steps): goes on at step 2 and ends with the same bits as if
// nothing was.
TEST_F(TrainLoop, KilledAndStartedAgainEndsTheSame) {
  std::vector<Metric> of_step_1;
  {
    FakeCoordinator whole(coordinator("whole"));
    ASSERT_EQ(start(whole).get(), 0) << read(dir + "/log");
  }
  {
    FakeCoordinator first(coordinator("killed"));
    hold_at = 3;
    std::future<int> exit_code = start(first);
    ASSERT_TRUE(first.wait(60, [&](const FakeCoordinator& f) { return f.all<Trained>().size() == 3; }))
        << read(dir + "/log");
    of_step_1 = first.all<Trained>()[1].metrics;
    kill_ranks(first);
    EXPECT_NE(exit_code.get(), 0);
    hold_at = -1;
  }
  FakeCoordinator::Options behind = coordinator("killed");
  behind.welcome.trained_steps = 1;  // the kill kept step 1's Trained from this one
  FakeCoordinator second(behind);
  ASSERT_EQ(start(second).get(), 0) << read(dir + "/log");
  EXPECT_THAT(trained(second), ElementsAre(1, 2, 3));
  EXPECT_THAT(second.all<Trained>().front().metrics, UnorderedElementsAreArray(of_step_1));
  EXPECT_EQ(second.all<Checkpointed>().front().next_step,
            2u);  // told again: the coordinator may not know of it
  EXPECT_EQ(second.all<Published>().front().version, 2u);
  const auto weights = [&](const char* run) { return read(run_dir(run) + "/model/model.safetensors"); };
  EXPECT_FALSE(weights("whole").empty());
  EXPECT_EQ(weights("killed"), weights("whole"));
  const std::string metrics = read(run_dir("killed") + "/metrics.jsonl");
  EXPECT_EQ(std::count(metrics.begin(), metrics.end(), '\n'), 4);  // one lineage

  FakeCoordinator::Options other = coordinator("killed");
  other.welcome.run_id = "run-2";
  FakeCoordinator third(other);
  EXPECT_EQ(start(third).get(), 1);
  EXPECT_THAT(read(dir + "/log"), HasSubstr("its run_id is run-1, this run's is run-2"));
}

TEST_F(TrainLoop, ABrokenBatchEndsAllRanksWithOneLine) {
  spoil = true;
  FakeCoordinator fake(coordinator("b"));
  EXPECT_EQ(start(fake).get(), 1);
  const std::string log = read(dir + "/log");
  EXPECT_THAT(log, HasSubstr("cohort-learner: batch of step 0: completion 0 of group 1 has the token 999, "
                             "outside the vocabulary of 23"));
  EXPECT_EQ(log.find("cohort-learner: "), log.rfind("cohort-learner: "));
}

TEST(TrainOptions, NameWhatIsWrong) {
  const auto message = [](const std::string& toml) {
    try {
      read_train_options(TomlTable::parse(toml, "run.toml"));
    } catch (const Error& e) {
      EXPECT_EQ(e.exit_code(), Error::kBadUsage);
      return std::string(e.what());
    }
    return std::string("accepted");
  };
  const std::string base = "[run]\ndir = \"r\"\n[model]\npath = \"m\"\n";
  EXPECT_EQ(message(base), "accepted");
  EXPECT_THAT(message("[run]\ndir = \"r\"\n"), HasSubstr("model.path"));
  EXPECT_THAT(message(base + "[rollout]\ntemperature = 0\n"), HasSubstr("rollout.temperature"));
  EXPECT_THAT(message(base + "[async]\nweight_sync_steps = 0\n"), HasSubstr("run.toml:6"));
  EXPECT_THAT(message(base + "[learner]\nlearning_rat = 1\n"), HasSubstr("learning_rate"));
}

}  // namespace
}  // namespace cohort
