// The staleness gate against its definition by brute force, and a whole asynchronous run simulated around it.
#include "actors/gate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <queue>
#include <random>
#include <set>
#include <stdexcept>

namespace cohort {
namespace {

using Births = std::vector<Version>;

// The design's formula as it is written: for every u, O(u) <= B * (u + eta - k + 1).
bool feasible(const Births& outstanding, int64_t B, int64_t eta, int64_t k) {
  for (int64_t u = -2; u <= k + 8; ++u) {
    const auto count =
        std::count_if(outstanding.begin(), outstanding.end(), [&](Version b) { return int64_t{b} <= u; });
    if (count > 0 && count > B * (u + eta - k + 1)) return false;
  }
  return true;
}

// Is there any set of B ready groups that leaves k+1 feasible? All subsets are tried.
bool can_choose(const std::vector<std::pair<Version, bool>>& groups, int64_t B, int64_t eta, int64_t k) {
  const size_t n = groups.size();
  for (uint32_t set = 0; set < (1u << n); ++set) {
    if (std::popcount(set) != B) continue;
    Births left;
    bool all_ready = true;
    for (size_t i = 0; i < n; ++i) {
      if (set >> i & 1)
        all_ready = all_ready && groups[i].second;
      else
        left.push_back(groups[i].first);
    }
    if (all_ready && feasible(left, B, eta, k + 1)) return true;
  }
  return false;
}

TEST(Gate, AgreesWithTheDefinitionOnRandomStates) {
  std::mt19937 rng(1);
  int chosen = 0, waited = 0, refused = 0;
  for (int trial = 0; trial < 6000; ++trial) {
    const uint32_t B = 1 + rng() % 4, eta = rng() % 4, k = rng() % 6;
    StalenessGate gate({B, eta}, k);
    std::vector<std::pair<Version, bool>> groups;
    Births births;
    const size_t wanted = rng() % 13;
    for (GroupId id = 1; groups.size() < wanted && id < 60; ++id) {
      const Version v = rng() % (k + 1);
      Births with = births;
      with.push_back(v);
      ASSERT_EQ(gate.may_lease(v), feasible(with, B, eta, k));
      if (!gate.may_lease(v)) {
        ++refused;
        EXPECT_THROW(gate.lease(id, v), std::logic_error);
        continue;
      }
      gate.lease(id, v);
      births = with;
      const bool ready = rng() % 3 != 0;
      groups.emplace_back(v, ready);
      if (ready) gate.ready(id);
    }
    ASSERT_TRUE(gate.feasible());
    const std::vector<GroupId> ids = gate.choose();
    ASSERT_EQ(!ids.empty(), can_choose(groups, B, eta, k));
    if (ids.empty()) {
      ++waited;
      continue;
    }
    ++chosen;
    ASSERT_EQ(ids.size(), B);
    gate.consume(ids);
    ASSERT_TRUE(gate.feasible());
    ASSERT_EQ(gate.next_step(), k + 1);
  }
  EXPECT_GT(chosen, 500);
  EXPECT_GT(waited, 500);
  EXPECT_GT(refused, 500);
}

TEST(Gate, TakesFirstComeFirstServedWhenNothingIsUrgent) {
  StalenessGate gate({2, 2});
  for (GroupId id = 1; id <= 6; ++id) gate.lease(id, 0);
  EXPECT_FALSE(gate.may_lease(0));
  for (GroupId id : {5, 3, 1}) gate.ready(id);
  EXPECT_EQ(gate.choose(), (std::vector<GroupId>{5, 3}));
}

TEST(Gate, WaitsForAnOldGroupOnlyWhenItMust) {
  StalenessGate gate({2, 1});
  for (GroupId id = 1; id <= 4; ++id) gate.lease(id, 0);
  for (GroupId id : {2, 3, 4}) gate.ready(id);
  gate.consume(gate.choose());  // step 0 takes 2 and 3, 1 is slow
  EXPECT_TRUE(gate.may_lease(1));
  gate.lease(5, 1);
  gate.lease(6, 1);
  gate.ready(5);
  gate.ready(6);
  EXPECT_TRUE(gate.choose().empty()) << "step 1 is the last that may take group 1";
  gate.ready(1);
  EXPECT_EQ(gate.choose(), (std::vector<GroupId>{4, 1}));
}

TEST(Gate, OnPolicyWithoutStaleness) {
  StalenessGate gate({3, 0});
  for (GroupId id = 1; id <= 3; ++id) gate.lease(id, 0);
  EXPECT_FALSE(gate.may_lease(0));
  for (GroupId id = 1; id <= 3; ++id) gate.ready(id);
  gate.consume(gate.choose());
  EXPECT_FALSE(gate.may_lease(0)) << "weights of version 0 are too old for step 1";
  EXPECT_TRUE(gate.may_lease(1));
}

TEST(Gate, BirthsMayRiseAndFallOnlyWhileFeasible) {
  StalenessGate gate({1, 1}, 3);
  gate.lease(1, 3);
  EXPECT_TRUE(gate.set_birth(1, 2));
  EXPECT_FALSE(gate.set_birth(1, 1)) << "would be consumed at step 3 with lag 2";
  EXPECT_EQ(gate.birth(1), 2u);
  EXPECT_FALSE(gate.may_lease(2));
  EXPECT_TRUE(gate.set_birth(1, 3));
  EXPECT_TRUE(gate.may_lease(2));
}

// A run: workers with heavy-tailed sampling times and weights that arrive late, heavy-tailed grading,
// filtered groups, workers that die and leave their groups to others. Nothing is dropped, the run ends, the
// lag reaches eta and never passes it.
struct Outcome {
  bool finished = false;
  uint32_t max_lag = 0;
};
Outcome simulate(uint64_t seed, uint32_t B, uint32_t eta, size_t workers, bool slow_grading) {
  std::mt19937_64 rng(seed);
  auto uniform = [&] { return std::uniform_real_distribution<>(0, 1)(rng); };
  auto heavy = [&](double scale) {
    return scale * std::pow(1 - uniform(), -0.7);
  };  // Pareto, infinite variance
  StalenessGate gate({B, eta});
  struct Event {
    double at;
    int kind;  // 0: worker free, 1: sampled, 2: graded, 3: step done, 4: weights arrive, 5: worker is back
    size_t worker = 0;
    GroupId group = 0;
    Version version = 0;
    bool operator<(const Event& o) const { return at > o.at; }
  };
  std::priority_queue<Event> events;
  std::vector<Version> held(workers, 0);
  std::vector<bool> alive(workers, true);
  std::vector<size_t> slots(workers, 1 + rng() % 3);
  std::vector<double> lateness(workers);
  for (double& l : lateness) l = rng() % 4 == 0 ? 20 : 0.5;
  std::map<GroupId, size_t> sampling;  // group -> worker
  std::vector<GroupId> orphans;        // of dead workers
  GroupId next = 1;
  const double filtered = uniform() * 0.4;
  uint32_t step = 0;
  bool training = false;
  const uint32_t total = 30 + 3 * eta;
  Outcome out;
  double now = 0;
  size_t handled = 0;
  while (step < total && ++handled < 200000) {
    for (size_t w = 0; w < workers; ++w) {
      while (alive[w] && slots[w] > 0 && !orphans.empty() && held[w] >= gate.birth(orphans.back())) {
        --slots[w];
        sampling[orphans.back()] = w;
        events.push({now + heavy(1), 1, w, orphans.back()});
        orphans.pop_back();
      }
      while (alive[w] && slots[w] > 0 && gate.may_lease(held[w])) {
        --slots[w];
        gate.lease(next, held[w]);
        sampling[next] = w;
        events.push({now + heavy(1), 1, w, next++});
      }
    }
    if (!training) {
      const std::vector<GroupId> ids = gate.choose();
      if (!ids.empty()) {
        for (GroupId id : ids) out.max_lag = std::max(out.max_lag, gate.next_step() - gate.birth(id));
        gate.consume(ids);
        EXPECT_TRUE(gate.feasible());
        training = true;
        events.push({now + 1 + uniform(), 3});
      }
    }
    if (events.empty()) return out;  // deadlock
    const Event e = events.top();
    events.pop();
    now = e.at;
    switch (e.kind) {
      case 1: {
        auto it = sampling.find(e.group);
        if (it == sampling.end() || it->second != e.worker || !alive[e.worker]) break;
        if (rng() % 40 == 0) {  // the worker dies with all it samples
          alive[e.worker] = false;
          for (auto s = sampling.begin(); s != sampling.end();)
            if (s->second == e.worker) {
              orphans.push_back(s->first);
              ++slots[e.worker];
              s = sampling.erase(s);
            } else {
              ++s;
            }
          events.push({now + heavy(5), 5, e.worker});
          break;
        }
        sampling.erase(it);
        ++slots[e.worker];
        events.push({now + (slow_grading ? heavy(5) : 0.1), 2, 0, e.group});
        break;
      }
      case 2:
        if (uniform() < filtered)
          gate.leave(e.group);
        else
          gate.ready(e.group);
        break;
      case 3:
        training = false;
        ++step;
        for (size_t w = 0; w < workers; ++w) events.push({now + heavy(lateness[w]), 4, w, 0, step});
        break;
      case 4:
        held[e.worker] = std::max(held[e.worker], e.version);
        break;
      case 5:
        alive[e.worker] = true;
        break;
      default:
        break;
    }
  }
  out.finished = step == total;
  return out;
}

TEST(Gate, SimulatedRunsEndAndReachButNeverPassTheBound) {
  std::mt19937_64 rng(7);
  int reached = 0, with_lag = 0;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    const uint32_t B = 1 + rng() % 16, eta = rng() % 5;
    const size_t workers = 1 + rng() % 12;
    const Outcome out = simulate(seed, B, eta, workers, rng() % 2);
    ASSERT_TRUE(out.finished) << "seed " << seed << " B " << B << " eta " << eta << " workers " << workers;
    ASSERT_LE(out.max_lag, eta) << "seed " << seed;
    if (eta > 0) ++with_lag, reached += out.max_lag == eta;
  }
  EXPECT_GT(reached, with_lag / 2);
}

}  // namespace
}  // namespace cohort
