// Link over real sockets on the loopback interface, while all goes well: both ways, back-pressure, its ends.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/transport/link_fixture.h"
#include "transport/base/error.h"
#include "transport/testing/fake_coordinator.h"

namespace cohort {
namespace {

using namespace std::chrono_literals;
using testing::completion;
using testing::FakeCoordinator;
using testing::options_for;

TEST(Link, WelcomeHeartbeatsMessagesBothWays) {
  FakeCoordinator fake;
  Link link(options_for(fake.endpoint()));
  Welcome welcome = link.wait_welcome(5);
  EXPECT_EQ(welcome.run_id, "test-run");
  EXPECT_TRUE(link.connected());
  link.send(Credit{4});
  link.send(completion(1));
  link.send(completion(2));
  EXPECT_TRUE(link.flush(5));
  fake.send("rollout-0", Lease{7, "{}", {0, 1}, {}, false});
  auto got = link.receive(5s);
  ASSERT_TRUE(got);
  EXPECT_EQ(std::get<Lease>(*got).group, 7u);
  EXPECT_FALSE(link.receive(10ms));
  EXPECT_TRUE(
      fake.wait(5, [](auto& f) { return f.heartbeats() >= 3 && f.template all<Credit>().size() == 1; }));
  auto completions = fake.all<Completion>();
  ASSERT_EQ(completions.size(), 2u);
  EXPECT_EQ(completions[1].group, 2u);
  EXPECT_EQ(link.conversations(), 1u);
}

TEST(Link, RefusedEndsWithTheReason) {
  FakeCoordinator::Options o;
  o.refuse = "run 'x' has no place for rollout-0";
  FakeCoordinator fake(o);
  Link link(options_for(fake.endpoint()));
  try {
    link.wait_welcome(5);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("refused: run 'x' has no place"), std::string::npos) << e.what();
  }
  EXPECT_NE(link.ended(), "");
  EXPECT_THROW(link.send(completion(1)), Error);
  EXPECT_FALSE(link.receive(10s));  // at once
  EXPECT_TRUE(link.flush(10));      // nothing was taken
}

TEST(Link, NobodyThereGivesUp) {
  LinkOptions o = options_for("tcp://127.0.0.1:9");
  o.give_up_s = 0.3;
  Link link(o);
  try {
    link.wait_welcome(20);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("no answer from the coordinator at tcp://127.0.0.1:9"),
              std::string::npos);
  }
}

TEST(Link, WaitWelcomeTimesOut) {
  Link link(options_for("tcp://127.0.0.1:9"));
  EXPECT_THROW(link.wait_welcome(0.1), Error);
  EXPECT_EQ(link.ended(), "");
}

TEST(Link, BadEndpoint) {
  EXPECT_THROW(Link(options_for("localhost")), Error);
  EXPECT_THROW(Link(options_for("tcp://nowhere")), Error);
}

TEST(Link, SlowConsumerHoldsTheSenderBack) {
  FakeCoordinator::Options o;
  o.acknowledge = false;
  FakeCoordinator fake(o);
  LinkOptions lo = options_for(fake.endpoint());
  lo.max_unacked = 10;
  Link link(lo);
  link.wait_welcome(5);
  std::atomic<int> sent = 0;
  std::jthread sender([&] {
    for (int i = 1; i <= 50; ++i) {
      link.send(completion(static_cast<GroupId>(i)));
      ++sent;
    }
  });
  EXPECT_TRUE(fake.wait(5, [](auto& f) { return f.template all<Completion>().size() == 10; }));
  std::this_thread::sleep_for(100ms);
  EXPECT_EQ(sent, 10);
  EXPECT_FALSE(link.flush(0.05));
  fake.acknowledge(true);
  // One Ack stands for all before it.
  fake.send("rollout-0", Ack{10});
  sender.join();
  EXPECT_TRUE(link.flush(5));
  auto got = fake.all<Completion>();
  ASSERT_EQ(got.size(), 50u);
  for (size_t i = 0; i < 50; ++i) EXPECT_EQ(got[i].group, i + 1);
}

TEST(Link, CloseFreesWhoeverWaits) {
  FakeCoordinator::Options o;
  o.acknowledge = false;
  FakeCoordinator fake(o);
  LinkOptions lo = options_for(fake.endpoint());
  lo.max_unacked = 1;
  Link link(lo);
  link.wait_welcome(5);
  link.send(completion(1));
  std::atomic<int> freed = 0;
  std::jthread a([&] {
    EXPECT_THROW(link.send(completion(2)), Error);
    ++freed;
  });
  std::jthread b([&] {
    EXPECT_FALSE(link.receive(1h));
    ++freed;
  });
  std::jthread c([&] {
    EXPECT_FALSE(link.flush(1e12));
    ++freed;
  });
  std::this_thread::sleep_for(50ms);
  EXPECT_EQ(freed, 0);
  link.close();
  a.join(), b.join(), c.join();
  EXPECT_EQ(freed, 3);
  EXPECT_EQ(link.ended(), "closed");
}

TEST(Link, AcksOfWhatWasNeverSentAreIgnored) {
  FakeCoordinator::Options o;
  o.acknowledge = false;
  FakeCoordinator fake(o);
  Link link(options_for(fake.endpoint()));
  link.wait_welcome(5);
  fake.send("rollout-0", Ack{1000000});
  std::this_thread::sleep_for(50ms);
  link.send(completion(1));
  EXPECT_FALSE(link.flush(0.1));
}

}  // namespace
}  // namespace cohort
