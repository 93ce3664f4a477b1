// The rollout worker over real sockets: what it samples, what it gives back, when it swaps, how it ends.
#include "rollout/worker.h"

#include <gtest/gtest.h>

#include "tests/rollout/worker_fixture.h"
#include "transport/weights.h"

namespace cohort {
namespace {

TEST(Worker, SamplesWhatItIsLeasedAndKeepsItsSlotsBusy) {
  Dealer dealer(40);
  FakeRunnerOptions runner;
  runner.step_seconds = 0.0005;
  FakeCoordinator coordinator(dealer.options());
  RunningWorker worker(coordinator.endpoint(), runner);
  ASSERT_TRUE(coordinator.wait(30, [&](auto&) { return dealer.complete(); }));
  for (const auto& [key, c] : dealer.ledger()) {
    const Completion want = expected(dealer, key);
    EXPECT_EQ(c.token_ids, want.token_ids);
    EXPECT_EQ(c.logprobs, want.logprobs);
    EXPECT_EQ(c.text, want.text);
    EXPECT_EQ(c.prompt_ids, want.prompt_ids);
  }
  // 16 slots, one group ahead, and what was on its way back
  EXPECT_GE(dealer.most_outstanding(), 20u);
  EXPECT_LE(dealer.most_outstanding(), 48u);
  EXPECT_EQ(dealer.repeats(), 0);
  EXPECT_GT(coordinator.heartbeats(), 2u);
  EXPECT_FALSE(worker.left());
}

TEST(Worker, APromptThatCannotBeSampledGoesBackWithTheReason) {
  Dealer dealer(8);
  dealer.prompts[2] = R"({"id": 2, "prompt": ")" + std::string(200, 'a') + "\"}";
  dealer.prompts[3] = R"({"id": 3, "question": "?"})";
  dealer.prompts[4] = "not json";
  dealer.prompts[5] = R"({"id": 5, "messages": [{"role": "user", "content": "hello"}]})";  // no chat template
  FakeCoordinator coordinator(dealer.options());
  RunningWorker worker(coordinator.endpoint());
  ASSERT_TRUE(coordinator.wait(20, [&](auto&) { return dealer.complete(); }));
  std::map<GroupId, std::string> errors;
  for (const LeaseReturned& r : dealer.returns()) {
    errors[r.group] = r.error;
    EXPECT_EQ(r.indices.size(), kGenerations);
  }
  ASSERT_EQ(errors.size(), 4u);
  EXPECT_NE(errors[2].find("200 tokens"), std::string::npos) << errors[2];
  EXPECT_NE(errors[3].find("prompt"), std::string::npos) << errors[3];
  EXPECT_NE(errors[4].find("JSON"), std::string::npos) << errors[4];
  EXPECT_FALSE(errors[5].empty());
  EXPECT_EQ(dealer.ledger().size(), 4u * kGenerations);
}

TEST(Worker, ACoordinatorKilledInTheMiddleCostsNothing) {
  for (int round = 0; round < 3; ++round) {
    Dealer dealer(60);
    FakeRunnerOptions runner;
    runner.step_seconds = 0.0005;
    auto coordinator = std::make_unique<FakeCoordinator>(dealer.options());
    const std::string endpoint = coordinator->endpoint();
    RunningWorker worker(endpoint, runner);
    for (size_t kill_at : {40, 90, 150}) {
      ASSERT_TRUE(coordinator->wait(20, [&](auto&) { return dealer.ledger().size() >= kill_at; }));
      if (round == 1) coordinator->acknowledge(false);  // dies with much unacknowledged
      if (round == 1) std::this_thread::sleep_for(std::chrono::milliseconds(30));
      coordinator.reset();
      std::this_thread::sleep_for(std::chrono::milliseconds(round == 2 ? 500 : 20));
      coordinator = std::make_unique<FakeCoordinator>(dealer.options(endpoint));
    }
    ASSERT_TRUE(coordinator->wait(30, [&](auto&) { return dealer.complete(); })) << dealer.ledger().size();
    const auto ledger = dealer.ledger();
    EXPECT_EQ(ledger.size(), 60u * kGenerations);
    EXPECT_EQ(dealer.differing(), 0);
    for (const auto& [key, c] : ledger) EXPECT_EQ(c.token_ids, expected(dealer, key).token_ids);
    EXPECT_FALSE(worker.left());
  }
}

TEST(Worker, AStalledCoordinatorDoesNotStopDecodingAndGetsEverythingLater) {
  Dealer dealer(30);
  FakeRunnerOptions runner;
  runner.step_seconds = 0.0005;
  FakeCoordinator coordinator(dealer.options());
  RunningWorker worker(coordinator.endpoint(), runner);
  ASSERT_TRUE(coordinator.wait(20, [&](auto&) { return dealer.ledger().size() >= 20; }));
  coordinator.pause(true);
  std::this_thread::sleep_for(std::chrono::milliseconds(600));  // longer than its time-out
  coordinator.pause(false);
  ASSERT_TRUE(coordinator.wait(30, [&](auto&) { return dealer.complete(); }));
  EXPECT_EQ(dealer.differing(), 0);
}

TEST(Worker, CancelStopsAGroup) {
  Dealer dealer(6);
  dealer.max_tokens = 100;
  FakeRunnerOptions runner;
  runner.eos = -1;
  runner.step_seconds = 0.002;
  FakeCoordinator coordinator(dealer.options());
  RunningWorker worker(coordinator.endpoint(), runner);
  ASSERT_TRUE(coordinator.wait(20, [&](const FakeCoordinator& c) { return c.heartbeats() > 3; }));
  coordinator.send("rollout-0", Cancel{2, 0});
  ASSERT_TRUE(coordinator.wait(20, [&](auto&) { return dealer.ledger().size() == 5 * kGenerations; }));
  for (const auto& [key, c] : dealer.ledger()) EXPECT_NE(key.first, 2u);
  EXPECT_TRUE(dealer.returns().empty());
}

TEST(Worker, ShutdownDrainsOrDrops) {
  for (bool drain : {true, false}) {
    Dealer dealer(100);
    dealer.max_tokens = 100;
    FakeRunnerOptions runner;
    runner.eos = -1;
    runner.step_seconds = 0.001;
    FakeCoordinator coordinator(dealer.options());
    RunningWorker worker(coordinator.endpoint(), runner);
    ASSERT_TRUE(coordinator.wait(20, [&](auto&) { return dealer.ledger().size() >= 8; }));
    dealer.deal = false;
    coordinator.send("rollout-0", Shutdown{drain, "the run is over"});
    EXPECT_EQ(worker.join(), "");
    ASSERT_TRUE(coordinator.wait(5, [](const FakeCoordinator& c) { return !c.all<Goodbye>().empty(); }));
    // every index that was leased came back, as a completion or as a returned lease, and none as both
    std::map<Key, int> back;
    size_t given_back = 0;
    for (const auto& [key, c] : dealer.ledger()) ++back[key];
    for (const LeaseReturned& r : dealer.returns()) {
      EXPECT_EQ(r.error, "");
      for (uint32_t i : r.indices) ++back[{r.group, i}], ++given_back;
    }
    GroupId most = 0;
    for (const auto& [key, times] : back) {
      EXPECT_EQ(times, 1);
      most = std::max(most, key.first);
    }
    EXPECT_EQ(back.size(), most * kGenerations);
    if (!drain) {
      EXPECT_GE(given_back, 1u);
    }
  }
}

TEST(Worker, AskedToStopGivesBackWhatItHolds) {
  Dealer dealer(100);
  FakeRunnerOptions runner;
  runner.eos = -1;
  runner.step_seconds = 0.001;
  FakeCoordinator coordinator(dealer.options());
  RunningWorker worker(coordinator.endpoint(), runner);
  ASSERT_TRUE(coordinator.wait(20, [&](auto&) { return dealer.ledger().size() >= 8; }));
  worker.stop();
  EXPECT_EQ(worker.join(), "");
  EXPECT_TRUE(coordinator.wait(5, [&](auto&) { return !dealer.returns().empty(); }));
}

std::shared_ptr<const WeightSet> weights_of(Version version) {
  auto w = std::make_shared<WeightSet>();
  w->manifest.version = version;
  w->manifest.tensors = {{"x", DType::f32, {16}, 0, 64}};
  w->manifest.total_bytes = 64;
  w->data.resize(64, std::byte(version));
  w->manifest.checksum = weight_checksum(w->data);
  return w;
}

Version last_held(const FakeCoordinator& c) {
  Version v = 0;
  for (const WeightsHeld& h : c.all<WeightsHeld>()) v = h.version;
  return v;
}

TEST(Worker, SwapsWeightsWhileDecodingAndSaysSo) {
  // async.partial_rollout = false is weight_sync = "drain" under its other name
  for (const char* sync :
       {"weight_sync = 'in_flight'", "weight_sync = 'drain'", "[async]\npartial_rollout = false"}) {
    Dealer dealer(60);
    dealer.config += std::string(sync) + "\n";
    FakeRunnerOptions runner;
    runner.step_seconds = 0.001;
    FakeCoordinator coordinator(dealer.options());
    WeightServer server("tcp://127.0.0.1:0");
    RunningWorker worker(coordinator.endpoint(), runner);
    for (Version v = 1; v <= 4; ++v) {
      ASSERT_TRUE(coordinator.wait(20, [&](auto&) { return dealer.ledger().size() >= v * 40; }));
      server.publish(weights_of(v));
      coordinator.send("rollout-0", WeightsAvailable{v, server.endpoint(), 64});
      ASSERT_TRUE(coordinator.wait(20, [&](const FakeCoordinator& c) { return last_held(c) == v; })) << sync;
    }
    ASSERT_TRUE(coordinator.wait(30, [&](auto&) { return dealer.complete(); }));
    size_t mixed = 0;
    std::map<Version, size_t> born;
    for (const auto& [key, c] : dealer.ledger()) {
      mixed += c.versions.size() > 1;
      ++born[c.versions[0].version];
      for (size_t i = 1; i < c.versions.size(); ++i)
        EXPECT_GT(c.versions[i].version, c.versions[i - 1].version);
    }
    EXPECT_EQ(born.size(), 5u);
    if (std::string(sync).find("in_flight") == std::string::npos) {
      EXPECT_EQ(mixed, 0u) << sync;
    } else {
      EXPECT_GT(mixed, 0u) << sync;
    }
  }
}

// While weights change and the coordinator dies, no index may be sampled twice: the second sample would
// differ.
TEST(Worker, NothingIsSampledTwiceAcrossARestartAndASwap) {
  Dealer dealer(60);
  FakeRunnerOptions runner;
  runner.step_seconds = 0.001;
  auto coordinator = std::make_unique<FakeCoordinator>(dealer.options());
  const std::string endpoint = coordinator->endpoint();
  WeightServer server("tcp://127.0.0.1:0");
  RunningWorker worker(endpoint, runner);
  for (Version v = 1; v <= 3; ++v) {
    ASSERT_TRUE(coordinator->wait(20, [&](auto&) { return dealer.ledger().size() >= v * 50; }));
    coordinator->acknowledge(false);
    server.publish(weights_of(v));
    coordinator->send("rollout-0", WeightsAvailable{v, server.endpoint(), 64});
    std::this_thread::sleep_for(std::chrono::milliseconds(40));
    coordinator.reset();
    coordinator = std::make_unique<FakeCoordinator>(dealer.options(endpoint));
  }
  ASSERT_TRUE(coordinator->wait(30, [&](auto&) { return dealer.complete(); }));
  EXPECT_EQ(dealer.ledger().size(), 60u * kGenerations);
  EXPECT_GT(dealer.repeats(), 0);  // unacknowledged ones came again, as they were
  EXPECT_EQ(dealer.differing(), 0);
}

TEST(Worker, WithoutWeightsItAsksForNothingUntilTheLearnersArrive) {
  Dealer dealer(4);
  FakeCoordinator coordinator(dealer.options());
  WeightServer server("tcp://127.0.0.1:0");
  RunningWorker worker(coordinator.endpoint(), {}, false);
  ASSERT_TRUE(coordinator.wait(20, [&](const FakeCoordinator& c) { return c.heartbeats() >= 3; }));
  EXPECT_TRUE(coordinator.all<Credit>().empty());
  server.publish(weights_of(0));
  coordinator.send("rollout-0", WeightsAvailable{0, server.endpoint(), 64});
  ASSERT_TRUE(coordinator.wait(20, [&](auto&) { return dealer.complete(); }));
  EXPECT_EQ(coordinator.all<WeightsHeld>().size(), 1u);
}

TEST(Worker, ARefusalEndsItWithTheReason) {
  Dealer dealer(1);
  auto options = dealer.options();
  options.refuse = "this run belongs to another configuration";
  FakeCoordinator coordinator(options);
  RunningWorker worker(coordinator.endpoint());
  EXPECT_NE(worker.join().find("another configuration"), std::string::npos);
}

TEST(Worker, CanBeStoppedBeforeAnyCoordinatorAnswers) {
  std::string endpoint;
  {
    FakeCoordinator gone;
    endpoint = gone.endpoint();
  }
  RunningWorker worker(endpoint);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_FALSE(worker.left());
  worker.stop();
  EXPECT_EQ(worker.join(), "");
}

TEST(Worker, AnUnknownOptionIsNamed) {
  Dealer dealer(1);
  dealer.config = "[rollout]\nnum_generation = 4\n";
  FakeCoordinator coordinator(dealer.options());
  RunningWorker worker(coordinator.endpoint());
  EXPECT_NE(worker.join().find("num_generation"), std::string::npos);
}

}  // namespace
}  // namespace cohort
