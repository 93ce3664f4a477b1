// Broadcasts between a WeightServer and WeightClients over real sockets and threads, with a communicator of the test's.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <random>
#include <thread>

#include "transport/base/measure.h"
#include "transport/testing/fake_broadcast.h"
#include "transport/weights.h"

namespace cohort {
namespace {

using namespace std::chrono_literals;
using testing::FakeBroadcaster;
using testing::FakeNetwork;
using Clock = std::chrono::steady_clock;

// A learner whose buffer "on the GPU" is host memory.
struct Learner {
  explicit Learner(FakeNetwork& network, double timeout_s = 20)
      : end(std::make_shared<FakeBroadcaster>(network)),
        server("tcp://127.0.0.1:0", 1 << 14, 2,
               {end, {.gather_s = 0.5, .timeout_s = timeout_s, .patience_s = 2}}) {}
  void publish(Version version) {
    auto set = std::make_shared<WeightSet>();
    set->manifest.version = version;
    set->manifest.tensors = {{"a", DType::bf16, {1000, 64}}, {"b", DType::f32, {77}}};
    lay_out(set->manifest);
    auto data = std::make_shared<std::vector<std::byte>>(set->manifest.total_bytes);
    std::mt19937_64 rng(version);
    for (std::byte& b : *data) b = static_cast<std::byte>(rng());
    set->share = DeviceShare{"host/GPU-0", "", 0, weight_checksum(*data), data->data()};
    set->read = [this, data] { return ++reads, *data; };
    set->lease = data;
    leased = data;
    server.publish(set);
    bytes = *data;
  }
  std::shared_ptr<FakeBroadcaster> end;
  std::atomic<int> reads = 0;
  std::weak_ptr<void> leased;
  std::vector<std::byte> bytes;
  WeightServer server;
};

struct Worker {
  Worker(FakeNetwork& network, const std::string& name) : end(std::make_shared<FakeBroadcaster>(network)) {
    member.end = end;
    member.name = name, member.device = "host/GPU of " + name;
    member.open = [this](const WeightManifest& m) -> void* {
      if (refuses) return nullptr;
      buffer.assign(m.total_bytes, std::byte{0});
      return buffer.data();
    };
    member.close = [this](const WeightManifest&, uint64_t sum) { return weight_checksum(buffer) == sum; };
  }
  // Fetches in a thread of its own.
  void fetch(const std::string& endpoint, Version version) {
    thread = std::thread([=, this] {
      const auto began = Clock::now();
      const auto set = client.fetch(
          endpoint, version, 30, [this] { return stop.load(); }, {}, &member);
      took = seconds_since(began);
      by = set ? std::optional(set->came_by) : std::nullopt;
      if (set && set->came_by == WeightTransport::zmq) buffer = set->data;
      got = set ? set->manifest.version : 0;
    });
  }
  void join() {
    if (thread.joinable()) thread.join();
  }
  ~Worker() {
    stop = true;
    join();
  }
  std::shared_ptr<FakeBroadcaster> end;
  BroadcastMember member;
  WeightClient client;
  std::vector<std::byte> buffer;
  std::optional<WeightTransport> by;
  Version got = 0;
  double took = 0;
  std::atomic<bool> stop = false, refuses = false;
  std::thread thread;
};

struct Cast : ::testing::Test {
  void SetUp() override {
    for (const char* name : {"a", "b", "c"}) workers.push_back(std::make_unique<Worker>(network, name));
  }
  void fetch_all(Version version) {
    for (auto& w : workers) w->fetch(learner.server.endpoint(), version);
  }
  void join_all() {
    for (auto& w : workers) w->join();
  }
  void expect_all(Version version, WeightTransport by) {
    for (auto& w : workers) {
      EXPECT_EQ(w->got, version) << w->member.name;
      EXPECT_EQ(w->by, by) << w->member.name;
      EXPECT_TRUE(w->buffer == learner.bytes) << w->member.name;
    }
  }
  FakeNetwork network;
  Learner learner{network};
  std::vector<std::unique_ptr<Worker>> workers;
};

TEST_F(Cast, EveryVersionReachesAllInOneCommunicator) {
  for (Version version = 1; version <= 20; ++version) {
    learner.publish(version);
    fetch_all(version);
    join_all();
    expect_all(version, WeightTransport::nccl);
  }
  EXPECT_EQ(network.ids, 1);
  EXPECT_EQ(learner.reads, 0);
  const auto until = Clock::now() + 5s;  // the server notices its end by itself
  while (learner.server.broadcasts() < 20 && Clock::now() < until) std::this_thread::sleep_for(1ms);
  EXPECT_EQ(learner.server.broadcasts(), 20u);
}

TEST_F(Cast, WhoAsksBeforeThereIsSuchAVersionWaitsForIt) {
  fetch_all(1);
  std::this_thread::sleep_for(300ms);
  learner.publish(1);
  join_all();
  expect_all(1, WeightTransport::nccl);
}

TEST_F(Cast, TheSentBufferIsHeldUntilAllHaveIt) {
  learner.publish(1);
  workers[0]->end->hang = true;
  fetch_all(1);
  while (learner.end->starts == 0) std::this_thread::sleep_for(1ms);
  const auto first = learner.leased;
  learner.publish(2);
  std::this_thread::sleep_for(100ms);
  EXPECT_FALSE(first.expired());
  workers[0]->end->hang = false;
  join_all();
  const auto until = Clock::now() + 5s;
  while (!first.expired() && Clock::now() < until) std::this_thread::sleep_for(1ms);
  EXPECT_TRUE(first.expired());
}

struct ShortCast : Cast {
  ShortCast() { learner_.emplace(network, 0.5); }
  std::optional<Learner> learner_;
};

TEST_F(ShortCast, OneThatHangsIsLeftOutTheOthersGetThemAndItComesBack) {
  Learner& learner = *learner_;
  const auto all = [&](Version version) {
    for (auto& w : workers) w->fetch(learner.server.endpoint(), version);
  };
  learner.publish(1);
  all(1);
  join_all();
  EXPECT_EQ(network.ids, 1);
  // b stops for good in the middle of version 2
  Worker& b = *workers[1];
  std::atomic<bool> stopped = true;
  const auto open = b.member.open;
  b.member.open = [&](const WeightManifest& m) {
    while (stopped) std::this_thread::sleep_for(1ms);
    return open(m);
  };
  learner.publish(2);
  all(2);
  for (size_t i : {0, 2}) {
    workers[i]->join();
    EXPECT_EQ(workers[i]->got, 2u);
    EXPECT_EQ(workers[i]->by, WeightTransport::nccl) << "in a new communicator";
    EXPECT_TRUE(workers[i]->buffer == learner.bytes);
    EXPECT_GE(workers[i]->took, 0.5);
    EXPECT_LT(workers[i]->took, 8);
  }
  EXPECT_EQ(network.ids, 2);
  learner.publish(3);
  for (size_t i : {0, 2}) workers[i]->fetch(learner.server.endpoint(), 3);
  for (size_t i : {0, 2}) workers[i]->join();
  EXPECT_EQ(network.ids, 2) << "the others go on as before";
  // it goes on: what it was invited to is over, and it gets the newest version by itself
  stopped = false;
  b.join();
  EXPECT_EQ(b.got, 3u);
  EXPECT_TRUE(b.buffer == learner.bytes);
  learner.publish(4);
  all(4);
  join_all();
  for (auto& w : workers) {
    EXPECT_EQ(w->got, 4u);
    EXPECT_EQ(w->by, WeightTransport::nccl);
    EXPECT_TRUE(w->buffer == learner.bytes);
  }
}

TEST_F(ShortCast, WhereBroadcastsAlwaysFailTheBytesComeAsChunksAndItRests) {
  Learner& learner = *learner_;
  Worker& a = *workers[0];
  a.end->broken = true;
  learner.publish(1);
  a.fetch(learner.server.endpoint(), 1);
  a.join();
  EXPECT_EQ(a.got, 1u);
  EXPECT_EQ(a.by, WeightTransport::zmq);
  EXPECT_TRUE(a.buffer == learner.bytes);
  EXPECT_EQ(a.end->starts, 2);
  learner.publish(2);
  a.fetch(learner.server.endpoint(), 2);
  a.join();
  EXPECT_EQ(a.by, WeightTransport::zmq);
  EXPECT_EQ(a.end->starts, 2) << "it does not try for a while";
  a.member.rest_until = 0, a.end->broken = false;
  learner.publish(3);
  a.fetch(learner.server.endpoint(), 3);
  a.join();
  EXPECT_EQ(a.by, WeightTransport::nccl);
}

TEST_F(Cast, DamagedBytesAreNoticedAndComeAgainAsChunks) {
  learner.publish(1);
  workers[1]->end->damage = true;
  fetch_all(1);
  join_all();
  EXPECT_EQ(workers[0]->by, WeightTransport::nccl);
  EXPECT_EQ(workers[1]->by, WeightTransport::zmq);
  for (auto& w : workers) EXPECT_TRUE(w->buffer == learner.bytes);
}

TEST_F(Cast, WeightsThatDoNotFitTheBufferComeAsChunks) {
  learner.publish(1);
  workers[2]->refuses = true;
  fetch_all(1);
  join_all();
  EXPECT_EQ(workers[2]->by, WeightTransport::zmq);
  for (auto& w : workers) EXPECT_TRUE(w->buffer == learner.bytes) << w->member.name;
}

TEST_F(Cast, AClientThatLeavesInTheMiddleEndsTheRound) {
  learner.publish(1);
  workers[1]->end->hang = true;
  fetch_all(1);
  while (workers[1]->end->starts == 0) std::this_thread::sleep_for(1ms);
  workers[1]->stop = true;
  const auto began = Clock::now();
  join_all();
  EXPECT_LT(seconds_since(began), 5);
  EXPECT_EQ(workers[1]->got, 0u);
  EXPECT_EQ(workers[1]->end->aborts, 1);
  for (size_t i : {0, 2}) EXPECT_EQ(workers[i]->by, WeightTransport::nccl);
}

TEST_F(Cast, ALearnerThatDiesInTheMiddleIsNoticedByItsConnection) {
  auto dying = std::make_unique<Learner>(network, 30);
  const std::string endpoint = dying->server.endpoint();
  dying->publish(1);
  dying->end->hang = true;
  workers[0]->end->hang = true;
  workers[0]->fetch(endpoint, 1);
  while (workers[0]->end->starts == 0) std::this_thread::sleep_for(1ms);
  dying.reset();
  const auto began = Clock::now();
  while (workers[0]->end->aborts == 0 && seconds_since(began) < 10) std::this_thread::sleep_for(1ms);
  EXPECT_LT(seconds_since(began), 5);
}

TEST_F(Cast, AServerWithoutBroadcastsSendsChunks) {
  WeightServer server("tcp://127.0.0.1:0");
  auto set = std::make_shared<WeightSet>();
  set->manifest.version = 1;
  set->manifest.tensors = {{"a", DType::f32, {100}}};
  lay_out(set->manifest);
  set->data.resize(set->manifest.total_bytes);
  server.publish(set);
  workers[0]->fetch(server.endpoint(), 1);
  workers[0]->join();
  EXPECT_EQ(workers[0]->by, WeightTransport::zmq);
  EXPECT_EQ(workers[0]->end->starts, 0);
}

}  // namespace
}  // namespace cohort
