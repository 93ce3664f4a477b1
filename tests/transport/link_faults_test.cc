// Link when something goes wrong: a coordinator that restarts, is silent, sends what nobody can read, does not read.
#include <gtest/gtest.h>
#include <zmq.h>

#include <atomic>
#include <map>
#include <memory>
#include <set>
#include <thread>

#include "tests/transport/link_fixture.h"
#include "transport/codec.h"
#include "transport/socket.h"
#include "transport/testing/fake_coordinator.h"

namespace cohort {
namespace {

using namespace std::chrono_literals;
using testing::completion;
using testing::FakeCoordinator;
using testing::options_for;

// The coordinator is killed and started again on its port, over and over, while three threads send:
// everything arrives, and what each thread sent arrives in its order (again after a restart, but never with a
// gap).
TEST(Link, NothingIsLostWhenTheCoordinatorRestarts) {
  constexpr GroupId kThreads = 3, kEach = 400;
  auto fake = std::make_unique<FakeCoordinator>();
  FakeCoordinator::Options again;
  again.endpoint = fake->endpoint();
  LinkOptions lo = options_for(fake->endpoint());
  lo.max_unacked = 64;
  Link link(lo);
  link.wait_welcome(5);
  std::vector<std::jthread> senders;
  for (GroupId t = 0; t < kThreads; ++t)
    senders.emplace_back([&, t] {
      for (GroupId i = 0; i < kEach; ++i) {
        link.send(completion(t * kEach + i));
        std::this_thread::sleep_for(1ms);
      }
    });
  std::atomic<bool> done = false;
  std::jthread taker([&] {
    while (!done) link.receive(5ms);
  });
  std::vector<std::vector<FakeCoordinator::Received>> lives;
  for (int life = 0; life < 5; ++life) {
    EXPECT_TRUE(fake->wait(30, [&](auto&) { return link.conversations() > static_cast<uint64_t>(life); }));
    std::this_thread::sleep_for(60ms);
    if (life % 2) {  // some die with more that they have not acknowledged
      fake->acknowledge(false);
      std::this_thread::sleep_for(20ms);
    }
    // What arrives after this life's record is copied dies with it: it must not be acknowledged.
    fake->acknowledge(false);
    lives.push_back(fake->received());
    fake.reset();
    again.welcome.epoch++;
    fake = std::make_unique<FakeCoordinator>(again);
  }
  senders.clear();
  EXPECT_TRUE(link.flush(60));
  lives.push_back(fake->received());
  done = true;
  taker.join();

  EXPECT_GE(link.conversations(), 6u);
  std::set<GroupId> arrived;
  std::map<uint64_t, GroupId> by_seq;
  for (auto& life : lives) {
    uint64_t last = 0;
    for (auto& r : life) {
      if (r.seq == 0) continue;
      EXPECT_TRUE(last == 0 || r.seq == last + 1) << "a gap in one conversation";
      last = r.seq;
      GroupId group = std::get<Completion>(r.message).group;
      arrived.insert(group);
      auto [at, fresh] = by_seq.emplace(r.seq, group);
      EXPECT_EQ(at->second, group) << "one number, two messages";
    }
  }
  EXPECT_EQ(arrived.size(), kThreads * kEach);
  EXPECT_EQ(by_seq.size(), kThreads * kEach);
  std::map<GroupId, GroupId> newest;  // of each thread
  for (auto& [seq, group] : by_seq) {
    auto [at, first] = newest.emplace(group / kEach, group);
    if (!first) {
      EXPECT_EQ(group, at->second + 1) << "out of order";
      at->second = group;
    }
  }
}

TEST(Link, SilentCoordinatorMeansANewConversationWithWhatIsHeld) {
  FakeCoordinator fake;
  LinkOptions lo = options_for(fake.endpoint());
  std::atomic<GroupId> held = 0;
  lo.hello = [&held] {
    Hello hello;
    hello.role = Role::rollout;
    hello.name = "rollout-0";
    if (held) hello.held = {{held, {1, 2}}};
    return hello;
  };
  Link link(lo);
  link.wait_welcome(5);
  held = 77;
  fake.pause(true);
  EXPECT_TRUE(fake.wait(10, [&](auto&) { return !link.connected(); }));
  fake.pause(false);
  std::optional<Message> got;
  for (int i = 0; i < 100 && !got; ++i) got = link.receive(100ms);
  ASSERT_TRUE(got);
  EXPECT_TRUE(std::holds_alternative<Welcome>(*got));
  auto hellos = fake.all<Hello>();
  ASSERT_GE(hellos.size(), 2u);
  EXPECT_EQ(hellos.back().run_id, "test-run");
  ASSERT_EQ(hellos.back().held.size(), 1u);
  EXPECT_EQ(hellos.back().held[0].group, 77u);
}

TEST(Link, HelloAgainBeginsANewConversation) {
  FakeCoordinator::Options o;
  o.acknowledge = false;
  FakeCoordinator fake(o);
  Link link(options_for(fake.endpoint()));
  link.wait_welcome(5);
  link.send(completion(1));
  EXPECT_TRUE(fake.wait(5, [](auto& f) { return f.template all<Completion>().size() == 1; }));
  fake.send("rollout-0", Lease{3, "{}", {}, {}, false});  // of the conversation that ends: nobody took it
  fake.send("rollout-0", Shutdown{true, "x"});
  fake.send("rollout-0", HelloAgain{});
  EXPECT_TRUE(fake.wait(5, [](auto& f) { return f.template all<Completion>().size() == 2; }));
  auto got = link.receive(1s);
  ASSERT_TRUE(got && std::holds_alternative<Shutdown>(*got));
  // Credit of the conversation before must not reach the new one.
  link.send(Credit{1000});
  got = link.receive(1s);
  ASSERT_TRUE(got && std::holds_alternative<Welcome>(*got));
  link.send(Credit{2});
  EXPECT_TRUE(fake.wait(5, [](auto& f) { return !f.template all<Credit>().empty(); }));
  EXPECT_EQ(fake.all<Credit>()[0].granted, 2u);
}

TEST(Link, RequestsAndPublishedAreRepeatedUntilAnswered) {
  FakeCoordinator fake;
  Link link(options_for(fake.endpoint(), "learner-0"));
  link.wait_welcome(5);
  link.send(Published{4, "tcp://x:1", 10});
  link.send(BatchRequest{4});
  EXPECT_TRUE(fake.wait(5, [](auto& f) { return f.template all<BatchRequest>().size() == 1; }));
  fake.send("learner-0", HelloAgain{});
  EXPECT_TRUE(fake.wait(5, [](auto& f) {
    return f.template all<BatchRequest>().size() == 2 && f.template all<Published>().size() == 2;
  }));
  ASSERT_TRUE(link.receive(1s));  // Welcome
  Batch batch;
  batch.step = 4;
  fake.send("learner-0", batch);
  auto got = link.receive(1s);
  ASSERT_TRUE(got && std::holds_alternative<Batch>(*got));
  fake.send("learner-0", HelloAgain{});
  EXPECT_TRUE(fake.wait(5, [](auto& f) { return f.template all<Published>().size() == 3; }));
  EXPECT_EQ(fake.all<BatchRequest>().size(), 2u);
}

TEST(Link, AnotherRunOnTheSamePortEndsTheLink) {
  auto fake = std::make_unique<FakeCoordinator>();
  FakeCoordinator::Options other;
  other.endpoint = fake->endpoint();
  other.welcome.run_id = "other-run";
  Link link(options_for(fake->endpoint()));
  link.wait_welcome(5);
  fake.reset();
  fake = std::make_unique<FakeCoordinator>(other);
  EXPECT_TRUE(fake->wait(10, [&](auto&) { return link.ended() != ""; }));
  EXPECT_NE(link.ended().find("now belongs to run 'other-run'"), std::string::npos) << link.ended();
}

TEST(Link, MoreThanCreditAllowsIsAProtocolError) {
  FakeCoordinator fake;
  LinkOptions lo = options_for(fake.endpoint());
  lo.max_inbox = 3;
  Link link(lo);
  link.wait_welcome(5);
  for (GroupId g = 1; g <= 4; ++g) fake.send("rollout-0", Lease{g, "{}", {}, {}, false});
  EXPECT_TRUE(fake.wait(5, [&](auto&) { return link.ended() != ""; }));
  EXPECT_TRUE(link.ended().starts_with("protocol error")) << link.ended();
  for (GroupId g = 1; g <= 3; ++g) {
    auto got = link.receive(1s);
    ASSERT_TRUE(got);
    EXPECT_EQ(std::get<Lease>(*got).group, g);
  }
}

TEST(Link, UnreadableAnswersBeginANewConversation) {
  // A raw ROUTER that welcomes and then sends noise.
  zmq::Context context;
  zmq::Socket socket(context, ZMQ_ROUTER);
  std::string endpoint = socket.bind("tcp://127.0.0.1:0");
  std::atomic<bool> stop = false;
  std::atomic<int> hellos = 0;
  std::jthread noise([&] {
    while (!stop) {
      auto frames = socket.receive();
      if (!frames) {
        std::this_thread::sleep_for(1ms);
        continue;
      }
      std::string peer = (*frames)[0].string();
      if (!std::holds_alternative<Hello>(decode((*frames)[1].bytes()).message)) continue;
      ++hellos;
      std::string welcome = encode({0, Welcome{"r", 1, "", 50, 1000}});
      std::array<std::string_view, 2> good = {peer, welcome}, bad = {peer, "\xff\x01\x02"};
      socket.send(good);
      if (hellos < 3) socket.send(bad);
    }
  });
  Link link(options_for(endpoint));
  link.wait_welcome(5);
  auto until = std::chrono::steady_clock::now() + 10s;
  while (link.conversations() < 3 && std::chrono::steady_clock::now() < until)
    std::this_thread::sleep_for(5ms);
  EXPECT_GE(link.conversations(), 3u);
  EXPECT_EQ(link.ended(), "");
  stop = true;
}

// More than the sockets and the kernel hold: the writer has to stop in the middle and go on.
TEST(Link, AFullSocketLosesNothing) {
  constexpr GroupId kMany = 12000;
  FakeCoordinator::Options o;
  o.welcome.timeout_ms = 60000;
  FakeCoordinator fake(o);
  LinkOptions lo = options_for(fake.endpoint());
  lo.max_unacked = kMany;
  Link link(lo);
  link.wait_welcome(5);
  fake.pause(true);
  std::this_thread::sleep_for(20ms);
  for (GroupId g = 1; g <= kMany; ++g) {
    Completion c = completion(g);
    c.text.assign(1500, 'y');
    link.send(c);
  }
  link.send(WeightsHeld{1});
  link.send(WeightsHeld{2});
  EXPECT_FALSE(link.flush(0.1));
  fake.pause(false);
  EXPECT_TRUE(link.flush(30));
  auto got = fake.all<Completion>();
  ASSERT_EQ(got.size(), kMany);
  for (GroupId g = 1; g <= kMany; ++g) ASSERT_EQ(got[g - 1].group, g);
  EXPECT_EQ(fake.gaps(), 0u);
  EXPECT_EQ(link.conversations(), 1u);
  EXPECT_TRUE(fake.wait(5, [](auto& f) { return !f.template all<WeightsHeld>().empty(); }));
  EXPECT_EQ(fake.all<WeightsHeld>().back().version, 2u);
}

TEST(Link, LastWordsGoOut) {
  FakeCoordinator fake;
  {
    Link link(options_for(fake.endpoint()));
    link.wait_welcome(5);
    link.send(Goodbye{"done"});
  }
  EXPECT_TRUE(fake.wait(5, [](auto& f) { return f.template all<Goodbye>().size() == 1; }));
}

}  // namespace
}  // namespace cohort
