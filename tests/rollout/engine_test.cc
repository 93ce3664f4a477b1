// The scheduler over a toy model whose next token depends on every token and every weight version before it.
#include "rollout/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <random>

#include "rollout/testing/fake_runner.h"
#include "tests/rollout/letters.h"

namespace cohort {
namespace {

using Key = std::pair<GroupId, uint32_t>;
using Results = std::map<Key, Completion>;

std::vector<int32_t> prompt_of(GroupId group, size_t length, int32_t vocab = 32) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < length; ++i) ids.push_back(int32_t((group * 7 + i * 5) % uint64_t(vocab - 2)) + 2);
  return ids;
}

EngineRequest request(GroupId group, uint32_t n, size_t prompt_length, SamplingParams p = {}) {
  EngineRequest r;
  r.group = group;
  r.indices.resize(n);
  std::iota(r.indices.begin(), r.indices.end(), 0u);
  r.prompt_ids = prompt_of(group, prompt_length);
  r.sampling = p;
  return r;
}

void collect(Engine& engine, Results& results, int max_steps = 100000) {
  while (!engine.idle() && max_steps-- > 0)
    for (Completion& c : engine.step()) {
      const Key key{c.group, c.index};
      EXPECT_TRUE(results.emplace(key, std::move(c)).second) << "handed out twice";
    }
}

// One sequence by the obvious loop: what any schedule must reproduce.
Completion alone(const EngineRequest& r, uint32_t index, FakeRunnerOptions options, Version version = 0) {
  options.max_slots = 1;
  FakeRunner runner(options);
  if (version > 0) {
    auto weights = std::make_shared<WeightSet>();
    weights->manifest.version = version;
    runner.stage_weights(weights);
    runner.swap_weights();
  }
  Completion c;
  std::vector<int32_t> feed = r.prompt_ids;
  while (true) {
    SequenceStep s;
    s.tokens = feed;
    s.sample = true;
    s.sampling = &r.sampling;
    s.group = r.group, s.index = index, s.position = uint32_t(c.token_ids.size());
    Sampled out;
    runner.step({&s, 1}, {&out, 1});
    c.token_ids.push_back(out.token);
    c.logprobs.push_back(out.logprob);
    feed = {out.token};
    if (out.token == options.eos && !r.sampling.ignore_eos)
      c.finish_reason = "stop";
    else if (int(c.token_ids.size()) == r.sampling.max_tokens ||
             int(c.token_ids.size() + r.prompt_ids.size()) == options.max_context)
      c.finish_reason = "length";
    if (!c.finish_reason.empty()) return c;
  }
}

void expect_same(const Completion& got, const Completion& want) {
  EXPECT_EQ(got.token_ids, want.token_ids);
  EXPECT_EQ(got.logprobs, want.logprobs);
  EXPECT_EQ(got.finish_reason, want.finish_reason);
}

void stage(FakeRunner& runner, Engine& engine, Version version) {
  auto weights = std::make_shared<WeightSet>();
  weights->manifest.version = version;
  runner.stage_weights(weights);
  engine.weights_staged();
}

TEST(Engine, ACompletionDoesNotDependOnItsBatch) {
  std::mt19937 rng(4);
  for (int round = 0; round < 60; ++round) {
    FakeRunnerOptions options;
    options.max_slots = 1 + int(rng() % 12);
    options.max_context = 64;
    FakeRunner runner(options);
    EngineOptions engine_options;
    engine_options.max_num_batched_tokens = 1 + int(rng() % 40);
    Engine engine(runner, nullptr, engine_options);
    std::vector<EngineRequest> requests;
    for (GroupId g = 1; g <= 8; ++g) {
      SamplingParams p;
      p.seed = 5;
      p.max_tokens = 1 + int(rng() % 30);
      p.top_k = int(rng() % 3) * 4;
      requests.push_back(request(g, 1 + uint32_t(rng() % 7), 1 + rng() % 45, p));
    }
    Results results;
    for (const EngineRequest& r : requests) {
      engine.add(r);
      for (int i = int(rng() % 4); i > 0; --i)
        for (Completion& c : engine.step()) results[{c.group, c.index}] = c;
    }
    collect(engine, results);
    ASSERT_TRUE(engine.idle());
    size_t wanted = 0;
    for (const EngineRequest& r : requests)
      for (uint32_t index : r.indices) {
        ++wanted;
        const auto found = results.find({r.group, index});
        ASSERT_NE(found, results.end());
        expect_same(found->second, alone(r, index, options));
        EXPECT_EQ(found->second.prompt_ids, r.prompt_ids);
        uint32_t counted = 0;
        for (const VersionRun& v : found->second.versions) counted += v.count;
        EXPECT_EQ(counted, found->second.token_ids.size());
      }
    EXPECT_EQ(results.size(), wanted);
    EXPECT_LE(runner.largest_prefill, size_t(engine_options.max_num_batched_tokens));
    EXPECT_LE(runner.largest_batch, size_t(options.max_slots));
    for (int32_t s = 0; s < options.max_slots; ++s) EXPECT_LE(runner.slot_length(s), options.max_context);
  }
}

TEST(Engine, AGroupsPromptIsComputedOnce) {
  FakeRunnerOptions options;
  options.max_slots = 20;
  FakeRunner runner(options);
  Engine engine(runner, nullptr);
  for (GroupId g = 1; g <= 3; ++g) engine.add(request(g, 16, 41));
  Results results;
  collect(engine, results);
  EXPECT_EQ(results.size(), 48u);
  EXPECT_EQ(runner.prefill_tokens, 3u * 40);
  EXPECT_EQ(runner.copies, 3u * 15);
  EXPECT_EQ(engine.tokens_prefilled(), 120u);
}

TEST(Engine, SlotsAreFullWhileThereIsWork) {
  FakeRunnerOptions options;
  options.max_slots = 32;
  options.eos_logit = 1;
  FakeRunner runner(options);
  Engine engine(runner, nullptr);
  for (GroupId g = 1; g <= 300; ++g) engine.add(request(g, 8, 10));
  Results results;
  collect(engine, results);
  const double per_step = double(engine.tokens_sampled()) / double(runner.steps);
  EXPECT_GT(per_step, 0.8 * 32) << "sampled tokens a step";
}

TEST(Engine, DecodingGoesOnWhileALongPromptIsPrefilled) {
  FakeRunnerOptions options;
  options.eos = -1;
  options.max_context = 4096;
  FakeRunner runner(options);
  EngineOptions engine_options;
  engine_options.max_num_batched_tokens = 100;
  Engine engine(runner, nullptr, engine_options);
  engine.add(request(1, 1, 3, {.max_tokens = 60}));
  engine.step();
  engine.add(request(2, 1, 3001, {.max_tokens = 5}));
  size_t steps_until_first = 0;
  std::vector<Completion> done;
  while (done.empty()) {
    const uint64_t before = engine.tokens_sampled();
    done = engine.step();
    if (++steps_until_first > 2) {
      EXPECT_GE(engine.tokens_sampled(), before + 1);
    }
  }
  EXPECT_EQ(done[0].group, 2u);  // 30 chunks and 5 tokens
  EXPECT_LE(runner.largest_prefill, 100u);
}

TEST(Engine, StopTokensLengthAndContext) {
  FakeRunnerOptions options;
  options.max_context = 40;
  FakeRunner runner(options);
  const auto letters = std::make_shared<Letters>(32);
  Engine engine(runner, letters);
  engine.add(request(1, 8, 10));
  engine.add(request(2, 8, 10, {.max_tokens = 3}));
  SamplingParams stop;
  stop.stop_token_ids = {5, 6};
  engine.add(request(3, 8, 10, stop));
  SamplingParams on;
  on.ignore_eos = true;
  engine.add(request(4, 8, 10, on));
  Results results;
  collect(engine, results);
  ASSERT_EQ(results.size(), 32u);
  bool saw_eos_inside = false;
  for (const auto& [key, c] : results) {
    const int32_t last = c.token_ids.back();
    const bool by_token = last == 1 || (key.first == 3 && (last == 5 || last == 6));
    if (key.first == 4) {
      EXPECT_EQ(c.finish_reason, "length");
      EXPECT_EQ(c.token_ids.size(), 30u);
      saw_eos_inside =
          saw_eos_inside || std::find(c.token_ids.begin(), c.token_ids.end(), 1) != c.token_ids.end();
    } else if (by_token) {
      EXPECT_EQ(c.finish_reason, "stop");
      EXPECT_EQ(c.text, letters->decode(std::span(c.token_ids).first(c.token_ids.size() - 1)));
    } else {
      EXPECT_EQ(c.finish_reason, "length");
      EXPECT_EQ(c.token_ids.size(), key.first == 2 ? 3u : 30u);
      EXPECT_EQ(c.text, letters->decode(c.token_ids));
    }
  }
  EXPECT_TRUE(saw_eos_inside);
}

// A stop string of three one-letter tokens: found across their boundaries, cut from the text, kept in the
// tokens.
TEST(Engine, StopStringsAcrossTokens) {
  FakeRunnerOptions options;
  options.max_context = 2000;
  options.vocab_size = 7;
  options.eos = -1;
  FakeRunner runner(options);
  const auto letters = std::make_shared<Letters>(7);
  Engine engine(runner, letters);
  SamplingParams p;
  p.max_tokens = 1500;
  p.stop = {"edcb", "ace"};
  EngineRequest r = request(1, 8, 4, p);
  r.prompt_ids = {2, 3, 4, 5};
  engine.add(r);
  Results results;
  collect(engine, results);
  ASSERT_EQ(results.size(), 8u);
  for (const auto& [key, c] : results) {
    const std::string all = letters->decode(c.token_ids);
    ASSERT_EQ(c.finish_reason, "stop");
    const size_t at = std::min(all.find("edcb"), all.find("ace"));
    EXPECT_EQ(c.text, all.substr(0, at));
    EXPECT_EQ(at + (all[at] == 'e' ? 4 : 3), all.size());
    Completion want = alone(r, key.second, [&] {
      FakeRunnerOptions o = options;
      o.max_context = int(4 + c.token_ids.size());
      return o;
    }());
    EXPECT_EQ(c.token_ids, want.token_ids);
  }
}

TEST(Engine, InFlightSwapMarksEveryTokenAndRecomputesWaitingPrompts) {
  FakeRunnerOptions options;
  options.max_slots = 4;
  options.eos = -1;
  FakeRunner runner(options);
  Engine engine(runner, nullptr);
  for (GroupId g = 1; g <= 4; ++g) engine.add(request(g, 3, 9, {.max_tokens = 20}));
  Results results;
  int steps = 0;
  while (!engine.idle()) {
    if (++steps == 8) stage(runner, engine, 5);
    for (Completion& c : engine.step()) results[{c.group, c.index}] = c;
  }
  ASSERT_EQ(results.size(), 12u);
  size_t mixed = 0, fresh = 0;
  for (auto& [key, c] : results) {
    uint32_t count = 0;
    for (const VersionRun& v : c.versions) count += v.count;
    EXPECT_EQ(count, 20u);
    if (c.versions.size() == 2) {
      ++mixed;
      EXPECT_EQ(c.versions[0].version, 0u);
      EXPECT_EQ(c.versions[1].version, 5u);
    } else if (c.versions[0].version == 5) {
      ++fresh;  // started after the swap: must not see anything computed by the old weights
      expect_same(c, alone(request(key.first, 3, 9, {.max_tokens = 20}), key.second, options, 5));
    }
  }
  EXPECT_GT(mixed, 0u);
  EXPECT_GT(fresh, 0u);
}

TEST(Engine, DrainFinishesOnTheOldWeightsFirst) {
  FakeRunnerOptions options;
  options.max_slots = 4;
  FakeRunner runner(options);
  EngineOptions engine_options;
  engine_options.weight_sync = WeightSync::drain;
  Engine engine(runner, nullptr, engine_options);
  for (GroupId g = 1; g <= 5; ++g) engine.add(request(g, 3, 9, {.max_tokens = 20}));
  Results results;
  int steps = 0;
  while (!engine.idle()) {
    if (++steps == 8) stage(runner, engine, 2);
    for (Completion& c : engine.step()) results[{c.group, c.index}] = c;
  }
  ASSERT_EQ(results.size(), 15u);
  size_t old_ones = 0;
  for (auto& [key, c] : results) {
    ASSERT_EQ(c.versions.size(), 1u);
    old_ones += c.versions[0].version == 0;
    expect_same(
        c, alone(request(key.first, 3, 9, {.max_tokens = 20}), key.second, options, c.versions[0].version));
  }
  EXPECT_GT(old_ones, 0u);
  EXPECT_LT(old_ones, 15u);
}

TEST(Engine, AnIdleEngineSwaps) {
  for (WeightSync sync : {WeightSync::in_flight, WeightSync::drain}) {
    FakeRunner runner;
    EngineOptions options;
    options.weight_sync = sync;
    Engine engine(runner, nullptr, options);
    stage(runner, engine, 3);
    EXPECT_TRUE(engine.step().empty());
    EXPECT_EQ(engine.version(), 3u);
  }
}

TEST(Engine, CancelAndGiveBackFreeTheirSlots) {
  FakeRunnerOptions options;
  options.max_slots = 6;
  options.eos = -1;
  FakeRunner runner(options);
  Engine engine(runner, nullptr);
  for (GroupId g = 1; g <= 4; ++g) engine.add(request(g, 4, 9, {.max_tokens = 30}));
  for (int i = 0; i < 5; ++i) engine.step();
  engine.cancel(1);
  engine.cancel(99);
  engine.step();
  EXPECT_EQ(engine.held_groups(), 3u);
  const size_t running = engine.running(), waiting = engine.waiting();
  EXPECT_EQ(running + waiting, 12u);
  size_t given = 0;
  for (const HeldLease& l : engine.give_back(false)) given += l.indices.size();
  EXPECT_EQ(given, waiting);
  Results results;
  collect(engine, results);
  EXPECT_EQ(results.size(), running);
  engine.add(request(7, 5, 9, {.max_tokens = 30}));
  for (int i = 0; i < 5; ++i) engine.step();
  given = 0;
  for (const HeldLease& l : engine.give_back(true)) given += l.indices.size();
  EXPECT_EQ(given, 5u);
  EXPECT_TRUE(engine.idle());
  for (GroupId g = 11; g <= 13; ++g) engine.add(request(g, 6, 9, {.max_tokens = 3}));
  results.clear();
  collect(engine, results);
  EXPECT_EQ(results.size(), 18u);
  EXPECT_EQ(runner.largest_batch, 6u);  // every slot came back
}

TEST(Engine, AHeldIndexIsNotTakenTwice) {
  FakeRunner runner;
  Engine engine(runner, nullptr);
  engine.add(request(1, 3, 5));
  engine.step();
  engine.add(request(1, 5, 5));  // 3 and 4 are new
  Results results;
  collect(engine, results);
  EXPECT_EQ(results.size(), 5u);
}

TEST(Engine, WhatCannotBeSampledIsRefused) {
  FakeRunnerOptions options;
  options.max_context = 20;
  FakeRunner runner(options);
  Engine engine(runner, nullptr);
  const auto refused = [&](EngineRequest r, const std::string& why) {
    try {
      engine.add(std::move(r));
      ADD_FAILURE() << "taken: " << why;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(why), std::string::npos) << e.what();
    }
  };
  refused(request(1, 2, 0), "no tokens");
  refused(request(1, 2, 20), "20 tokens");
  EngineRequest bad = request(1, 2, 5);
  bad.prompt_ids[2] = 32;
  refused(bad, "token 32");
  refused(request(1, 2, 5, {.max_tokens = 0}), "max_tokens");
  refused(request(1, 2, 5, {.temperature = -1}), "temperature");
  refused(request(1, 2, 5, {.top_p = 1.5}), "top_p");
  refused(request(1, 2, 5, {.stop = {"x"}}), "tokenizer");
  EXPECT_TRUE(engine.idle());
  engine.add(request(1, 2, 19));
  Results results;
  collect(engine, results);
  ASSERT_EQ(results.size(), 2u);
  EXPECT_EQ(results.begin()->second.token_ids.size(), 1u);
}

}  // namespace
}  // namespace cohort
