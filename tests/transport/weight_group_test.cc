// The state machine of a broadcast's members, with a clock that is a number.
#include "transport/weight_group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "transport/testing/fake_broadcast.h"

namespace cohort {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using testing::FakeBroadcaster;
using testing::FakeNetwork;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

struct Scene {
  FakeNetwork network;
  std::shared_ptr<FakeBroadcaster> root = std::make_shared<FakeBroadcaster>(network);
  WeightGroup group{root, {.gather_s = 0.05, .timeout_s = 10, .patience_s = 2}};
  std::string weights = "the weights";
  bool published = true;
  struct Member {
    explicit Member(FakeNetwork& network) : end(network) {}
    FakeBroadcaster end;
    std::string data;
    uint64_t holds = 0, round = 0;
    bool hangs = false;  // hears nothing, does nothing
    bool receiving = false;
  };
  std::map<std::string, Member> members;
  std::map<std::string, std::string> device;  // of a name; its own when there is none
  double now = 0;
  std::vector<std::string> got, refused, ended;
  std::string reason;

  Member& member(const std::string& name) { return members.try_emplace(name, network).first->second; }
  void ask(const std::vector<std::string>& who) {
    for (const auto& m : who)
      group.ask({m, m, device.contains(m) ? device[m] : "GPU of " + m, member(m).holds}, now);
  }
  void tick() {
    now += 0.01;
    std::optional<WeightGroup::Source> source;
    if (published) source = {"GPU of the learner", weights.data(), weights.size(), 1};
    const auto told = group.tick(now, source);
    for (const auto& r : told.refused) refused.push_back(r.peer), reason = r.reason;
    for (const auto& invite : told.invites) {
      Member& m = member(invite.peer);
      if (m.hangs) continue;
      m.data.assign(weights.size(), '?');
      m.end.start(invite.id, invite.rank, invite.size, m.data.data(), m.data.size());
      m.holds = communicator_number(invite.id), m.round = invite.round, m.receiving = true;
    }
    for (const auto& name : told.ended) {
      if (member(name).hangs) continue;
      ended.push_back(name);
      EXPECT_EQ(told.ended_round, member(name).round);
      member(name).end.abort();
      member(name).holds = 0, member(name).receiving = false;
    }
    for (auto& [name, m] : members) {
      if (!m.receiving || m.hangs) continue;
      const auto state = m.end.poll();
      if (state == Broadcaster::State::busy) continue;
      m.receiving = false;
      const bool ok = state == Broadcaster::State::done;
      if (!ok) m.end.abort(), m.holds = 0;
      group.finished(name, m.round, ok);
      if (ok) {
        EXPECT_EQ(m.data, weights);
        got.push_back(name);
      }
    }
  }
  // Until nothing is going on, or `until`.
  void run(double until = 1e9) {
    while (group.active() && now < until) tick();
    for (int i = 0; i < 3; ++i) tick();
  }
  void update(const std::vector<std::string>& who) {
    got.clear(), refused.clear(), ended.clear();
    weights += "!";
    ask(who);
    run();
  }
};

TEST(WeightGroup, TheSameMembersKeepTheirCommunicator) {
  Scene run;
  for (int version = 1; version <= 4; ++version) {
    run.update({"a", "b", "c"});
    EXPECT_THAT(run.got, UnorderedElementsAre("a", "b", "c"));
    EXPECT_THAT(run.refused, IsEmpty());
    EXPECT_EQ(run.group.completed(), uint64_t(version));
    EXPECT_EQ(run.group.communicators(), 1u);
  }
  EXPECT_EQ(run.group.rounds(), 4u);
  EXPECT_EQ(run.root->aborts, 0);
}

TEST(WeightGroup, TheRoundBeginsAsSoonAsAllOfBeforeAreThere) {
  Scene run;
  run.update({"a", "b"});  // nobody is known: it gathers
  EXPECT_GE(run.now, 0.05);
  const double began = run.now;
  run.update({"b", "a"});
  EXPECT_LT(run.now - began, 0.05);
}

TEST(WeightGroup, OneThatDoesNotAskIsNotWaitedForLongAndComesBack) {
  Scene run;
  run.update({"a", "b", "c"});
  const double began = run.now;
  run.update({"a", "c"});
  EXPECT_THAT(run.got, UnorderedElementsAre("a", "c"));
  EXPECT_LT(run.now - began, 0.2);
  EXPECT_EQ(run.group.communicators(), 2u);
  run.update({"a", "b", "c"});
  EXPECT_THAT(run.got, UnorderedElementsAre("a", "b", "c"));
  EXPECT_EQ(run.group.communicators(), 3u);
}

TEST(WeightGroup, OneThatHangsInTheMiddleIsLeftOutByTheDeadlineAndTheOthersGetThem) {
  Scene run;
  run.update({"a", "b", "c"});
  run.member("b").hangs = true;
  const double began = run.now;
  run.update({"a", "b", "c"});
  EXPECT_THAT(run.got, IsEmpty());
  EXPECT_THAT(run.ended, UnorderedElementsAre("a", "c"));
  EXPECT_EQ(run.group.completed(), 1u);
  EXPECT_GE(run.now - began, 10);
  EXPECT_LT(run.now - began, 10.5);
  EXPECT_EQ(run.root->aborts, 1);
  // who asks again, at once, is in a new communicator
  run.update({"a", "c"});
  EXPECT_THAT(run.got, UnorderedElementsAre("a", "c"));
  EXPECT_EQ(run.group.communicators(), 2u);
  // and so is b once it goes on: it is in another one, which it says
  run.member("b").hangs = false, run.member("b").receiving = false;
  run.update({"a", "b", "c"});
  EXPECT_THAT(run.got, UnorderedElementsAre("a", "b", "c"));
  EXPECT_EQ(run.group.communicators(), 3u);
}

TEST(WeightGroup, AMembersFailureEndsTheRoundAtOnce) {
  Scene run;
  run.update({"a", "b"});
  run.member("b").end.broken = true;
  run.member("a").end.hang = true;
  const double began = run.now;
  run.update({"a", "b"});
  EXPECT_LT(run.now - began, 1);
  EXPECT_EQ(run.root->aborts, 1);
  EXPECT_THAT(run.ended, ElementsAre("a"));
  run.member("b").end.broken = false, run.member("a").end.hang = false;
  run.update({"a", "b"});
  EXPECT_THAT(run.got, UnorderedElementsAre("a", "b"));
}

TEST(WeightGroup, TheRootsFailureToo) {
  Scene run;
  run.root->broken = true;
  run.update({"a"});
  EXPECT_FALSE(run.group.active());
  EXPECT_EQ(run.group.completed(), 0u);
  run.root->broken = false;
  run.update({"a"});
  EXPECT_THAT(run.got, ElementsAre("a"));
}

TEST(WeightGroup, WhoAsksWhileARoundHangsTakesChunksAndIsInTheNext) {
  Scene run;
  run.member("a").hangs = true;
  run.ask({"a"});
  run.run(1);
  run.ask({"late"});
  run.run(2);
  EXPECT_THAT(run.refused, IsEmpty());
  run.run(4);
  EXPECT_THAT(run.refused, ElementsAre("late"));
  run.run();
  run.member("a").hangs = false;
  run.update({"a", "late"});
  EXPECT_THAT(run.got, UnorderedElementsAre("a", "late"));
}

TEST(WeightGroup, AnotherProcessOfThatNameIsNotTakenForTheOneOfBefore) {
  Scene run;
  run.update({"a", "b"});
  run.members.erase("a");
  run.update({"a", "b"});
  EXPECT_THAT(run.got, UnorderedElementsAre("a", "b"));
  EXPECT_EQ(run.group.communicators(), 2u);
}

TEST(WeightGroup, ARestartedRootMakesACommunicatorOfItsOwn) {
  Scene run;
  run.update({"a", "b"});
  run.root = std::make_shared<FakeBroadcaster>(run.network);
  run.group = WeightGroup(run.root, {.gather_s = 0.05});
  run.update({"a", "b"});
  EXPECT_THAT(run.got, UnorderedElementsAre("a", "b"));
  EXPECT_EQ(run.network.ids, 2);
}

TEST(WeightGroup, OneMemberAGpu) {
  Scene run;
  run.device = {{"a", "GPU 1"}, {"b", "GPU 1"}, {"c", "GPU of the learner"}, {"d", "GPU 2"}};
  for (int version = 0; version < 3; ++version) {
    run.update({"a", "b", "c", "d"});
    EXPECT_THAT(run.got, UnorderedElementsAre("a", "d"));
    EXPECT_THAT(run.refused, UnorderedElementsAre("b", "c"));
  }
  EXPECT_EQ(run.group.communicators(), 1u);
  run.update({"c"});
  EXPECT_THAT(run.reason, ::testing::HasSubstr("the learner has this one"));
}

TEST(WeightGroup, WithoutABufferToSendFromNobodyWaitsLong) {
  Scene run;
  run.published = false;
  run.ask({"a"});
  run.run(1.9);
  EXPECT_EQ(run.group.rounds(), 0u);
  EXPECT_THAT(run.refused, IsEmpty());
  run.run(2.2);
  EXPECT_THAT(run.refused, ElementsAre("a"));
  EXPECT_FALSE(run.group.active());
}

TEST(WeightGroup, WordOfAnotherRoundIsIgnored) {
  Scene run;
  run.member("a").hangs = true;
  run.ask({"a"});
  run.run(1);
  run.group.finished("a", run.group.rounds() - 1, false);
  run.group.finished("stranger", run.group.rounds(), false);
  run.run(9);
  EXPECT_TRUE(run.group.active());
}

}  // namespace
}  // namespace cohort
