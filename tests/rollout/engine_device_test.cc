// The scheduler over a runner that behaves like one on a device: it overlaps, and its cache is too small for all.
#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <random>

#include "rollout/engine.h"
#include "rollout/testing/fake_runner.h"

namespace cohort {
namespace {

using Results = std::map<std::pair<GroupId, uint32_t>, Completion>;

EngineRequest request(GroupId group, uint32_t n, size_t prompt_length, const SamplingParams& p) {
  EngineRequest r;
  r.group = group;
  r.indices.resize(n);
  std::iota(r.indices.begin(), r.indices.end(), 0u);
  for (size_t i = 0; i < prompt_length; ++i) r.prompt_ids.push_back(int32_t((group * 7 + i * 5) % 30) + 2);
  r.sampling = p;
  return r;
}

Results all_of(Engine& engine, int budget) {
  Results results;
  while (!engine.idle() && budget-- > 0)
    for (Completion& c : engine.step())
      EXPECT_TRUE(results.emplace(std::pair(c.group, c.index), std::move(c)).second) << "handed out twice";
  EXPECT_TRUE(engine.idle()) << "no end in sight";
  return results;
}

struct Shape {
  bool overlaps = false;
  int32_t capacity = 0;  // of the cache, in tokens
  int32_t prompt_slots = 0;
};
struct Ran {
  Results results;
  uint64_t preemptions = 0;
};

// The same requests on another runner and schedule.
Ran run(const std::vector<EngineRequest>& requests, const Shape& shape, FakeRunnerOptions options,
        int32_t batched, uint32_t seed) {
  options.overlaps = shape.overlaps, options.capacity = shape.capacity;
  options.prompt_slots = shape.prompt_slots;
  FakeRunner runner(options);
  EngineOptions engine_options;
  engine_options.max_num_batched_tokens = batched;
  Engine engine(runner, nullptr, engine_options);
  std::mt19937 rng(seed);
  Ran ran;
  for (const EngineRequest& r : requests) {
    engine.add(r);
    for (int i = int(rng() % 4); i > 0; --i)
      for (Completion& c : engine.step()) ran.results.emplace(std::pair(c.group, c.index), std::move(c));
  }
  for (auto& [key, c] : all_of(engine, 200000)) ran.results.emplace(key, std::move(c));
  ran.preemptions = engine.preemptions();
  EXPECT_LE(runner.largest_prefill, size_t(batched));
  EXPECT_LE(runner.largest_batch, size_t(options.max_slots));
  return ran;
}

TEST(EngineOnADevice, NeitherOverlapNorAFullCacheChangesACompletion) {
  std::mt19937 rng(8);
  uint64_t preemptions = 0;
  for (int round = 0; round < 150; ++round) {
    FakeRunnerOptions options;
    options.max_slots = 1 + int32_t(rng() % 12);
    options.max_context = 64;
    options.eos_logit = double(rng() % 3);
    std::vector<EngineRequest> requests;
    for (GroupId g = 1; g <= 8; ++g) {
      SamplingParams p;
      p.seed = 5, p.max_tokens = 1 + int32_t(rng() % 40);
      requests.push_back(request(g, 1 + uint32_t(rng() % 7), 1 + rng() % 45, p));
    }
    const auto batched = int32_t(1 + rng() % 40);
    const Results plain = run(requests, {}, options, batched, 1).results;
    const auto tight = int32_t(64 + rng() % 100);
    const auto ahead = int32_t(1 + rng() % 4);
    for (const Shape& shape : {Shape{true, 0}, Shape{false, tight}, Shape{true, tight}, Shape{true, 64},
                               Shape{true, 0, ahead}, Shape{true, tight, ahead}, Shape{true, 64, ahead}}) {
      const Ran ran = run(requests, shape, options, batched, uint32_t(rng()));
      preemptions += ran.preemptions;
      ASSERT_EQ(ran.results.size(), plain.size());
      for (const auto& [key, want] : plain) {
        const Completion& got = ran.results.at(key);
        ASSERT_EQ(got.token_ids, want.token_ids) << "round " << round << " capacity " << shape.capacity;
        ASSERT_EQ(got.logprobs, want.logprobs);
        ASSERT_EQ(got.finish_reason, want.finish_reason);
        ASSERT_EQ(got.versions, want.versions);
      }
    }
  }
  EXPECT_GT(preemptions, 500u) << "the cache was never full";
}

// What overlaps must not cost: the pass ahead of a batch whose sequences end together, by length, is not begun.
TEST(EngineOnADevice, NoPassIsSpentOnSequencesThatAreOver) {
  FakeRunnerOptions options;
  options.eos = -1, options.overlaps = true;
  FakeRunner runner(options);
  Engine engine(runner, nullptr);
  SamplingParams p;
  p.max_tokens = 10;
  engine.add(request(1, 8, 5, p));
  EXPECT_EQ(all_of(engine, 100).size(), 8u);
  EXPECT_EQ(runner.steps, 11u);  // one for the prompt
}

// Every slot holds a prompt: all of them start at once.
TEST(EngineOnADevice, PromptsThatFillTheSlotsStartTogether) {
  FakeRunnerOptions options;
  options.eos = -1, options.overlaps = true, options.max_slots = 8;
  FakeRunner runner(options);
  Engine engine(runner, nullptr);
  SamplingParams p;
  p.max_tokens = 10;
  for (GroupId g = 1; g <= 8; ++g) engine.add(request(g, 1, 5, p));
  EXPECT_EQ(all_of(engine, 100).size(), 8u);
  EXPECT_EQ(runner.steps, 11u);
}

// A runner that gets new groups of 8 as its slots become free, two groups ahead of them, as from a coordinator.
struct Stream {
  double prefill_steps = 0, sampled = 0;  // a step
};
Stream stream_of_groups(int32_t prompt_slots) {
  FakeRunnerOptions options;
  options.overlaps = true, options.max_slots = 64, options.prompt_slots = prompt_slots;
  options.eos_logit = 1;
  FakeRunner runner(options);
  Engine engine(runner, nullptr);
  GroupId next = 1;
  SamplingParams p;
  p.max_tokens = 60;
  while (!engine.idle() || next == 1) {
    while (next <= 600 && engine.running() + engine.waiting() < 64 + 32) {
      engine.add(request(next, 8, 20, p));
      ++next;
    }
    engine.step();
    if (next > 600) break;  // the last ones end with ever fewer sequences
  }
  EXPECT_EQ(runner.largest_batch, 64u);
  return {double(runner.prefill_steps) / double(runner.steps),
          double(engine.tokens_sampled()) / double(runner.steps)};
}

TEST(EngineOnADevice, PromptsAheadComeTogether) {
  const Stream one_by_one = stream_of_groups(0), together = stream_of_groups(4);
  EXPECT_LT(together.prefill_steps, 0.5 * one_by_one.prefill_steps);
  EXPECT_GT(together.sampled, one_by_one.sampled) << "places stayed empty";
}

// Where a sequence could start, its prompt does not wait for others to come with it.
TEST(EngineOnADevice, APromptWithAPlaceIsComputedAtOnce) {
  FakeRunnerOptions options;
  options.eos = -1, options.overlaps = true, options.max_slots = 64, options.prompt_slots = 4;
  FakeRunner runner(options);
  Engine engine(runner, nullptr);
  SamplingParams p;
  p.max_tokens = 100;
  for (GroupId g = 1; g <= 8; ++g) {
    engine.add(request(g, 8, 5, p));
    engine.step();
    EXPECT_EQ(runner.prefill_tokens, 4 * g);
    EXPECT_EQ(engine.running(), 8 * (g - 1));
  }
  engine.step();
  EXPECT_EQ(engine.running(), 64u);
  // full: the next is computed ahead, with it those that wait, as far as there are slots for prompts; then none
  for (GroupId g = 11; g <= 16; ++g) engine.add(request(g, 8, 5, p));
  engine.step();
  EXPECT_EQ(runner.prefill_tokens, 4u * (8 + 4));
  for (int i = 0; i < 20; ++i) engine.step();
  EXPECT_EQ(runner.prefill_tokens, 4u * (8 + 4));
  EXPECT_EQ(all_of(engine, 1000).size(), 112u);
  EXPECT_EQ(runner.prefill_tokens, 4u * 14);
  EXPECT_EQ(runner.largest_batch, 64u);
}

// Cancelling, giving back and swapping weights between passes that are begun and not ended.
TEST(EngineOnADevice, WhatIsHeldStaysConsistent) {
  std::mt19937 rng(2);
  for (int round = 0; round < 60; ++round) {
    FakeRunnerOptions options;
    options.overlaps = true, options.capacity = 96, options.max_context = 64, options.max_slots = 6;
    options.prompt_slots = round % 3;
    FakeRunner runner(options);
    EngineOptions engine_options;
    engine_options.weight_sync = round % 2 ? WeightSync::drain : WeightSync::in_flight;
    Engine engine(runner, nullptr, engine_options);
    std::map<GroupId, size_t> open;
    Version version = 0;
    GroupId next = 1;
    for (int i = 0; i < 300; ++i) {
      switch (rng() % 12) {
        case 0: {
          SamplingParams p;
          p.max_tokens = 1 + int32_t(rng() % 40);
          const auto n = 1 + uint32_t(rng() % 5);
          open[next] = n;
          engine.add(request(next++, n, 1 + rng() % 40, p));
          break;
        }
        case 1:
          if (open.empty()) break;
          engine.cancel(open.begin()->first);
          open.erase(open.begin());
          break;
        case 2: {
          auto weights = std::make_shared<WeightSet>();
          weights->manifest.version = ++version;
          runner.stage_weights(weights);
          engine.weights_staged();
          break;
        }
        case 3:
          for (const HeldLease& lease : engine.give_back(rng() % 4 == 0))
            if ((open[lease.group] -= lease.indices.size()) == 0) open.erase(lease.group);
          break;
        default:
          for (const Completion& c : engine.step()) {
            ASSERT_TRUE(open.contains(c.group));
            if (round % 2) {
              ASSERT_EQ(c.versions.size(), 1u);
            }
            if (--open[c.group] == 0) open.erase(c.group);
          }
      }
      size_t held = 0, expected = 0;
      for (const HeldLease& lease : engine.held()) held += lease.indices.size();
      for (const auto& [group, n] : open) expected += n;
      ASSERT_EQ(held, expected);
      ASSERT_EQ(engine.running() + engine.waiting(), expected);
    }
    size_t left = 0;
    for (const auto& [group, n] : open) left += n;
    EXPECT_EQ(all_of(engine, 20000).size(), left);
  }
}

}  // namespace
}  // namespace cohort
