// The ledger and the small parts around it: prompts, shares, rewards, options.
#include "actors/ledger.h"

#include <gtest/gtest.h>

#include <cmath>
#include <condition_variable>
#include <mutex>
#include <numeric>

#include "actors/batch.h"
#include "actors/ledger_load.h"
#include "actors/rewards.h"
#include "tests/actors/fake_run.h"
#include "tests/actors/run_check.h"

namespace cohort::testing {
namespace {

template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

Row metric(int64_t step, double value) {
  return {Stmt::put_metric, {step, std::string("loss"), value}};
}

TEST(Ledger, CommitsInOrderAndWakes) {
  const std::string dir = temp_dir("commit");
  Ledger ledger({dir}, {"x", "", ""});
  std::mutex mutex;
  std::condition_variable woken;
  ledger.on_commit([&] {
    std::lock_guard lock(mutex);
    woken.notify_all();
  });
  for (int i = 1; i <= 500; ++i)
    EXPECT_EQ(ledger.write({metric(i, 1), metric(i + 1000, 2)}), static_cast<Ticket>(i));
  std::unique_lock lock(mutex);
  EXPECT_TRUE(woken.wait_for(lock, std::chrono::seconds(10), [&] { return ledger.committed() == 500; }));
  lock.unlock();
  EXPECT_EQ(sql_number(dir, "SELECT COUNT(*) FROM metrics"), 1000);
  ledger.close();
}

TEST(Ledger, AnEventIsWrittenWholeOrNotAtAll) {
  const std::string dir = temp_dir("whole");
  LedgerOptions options{dir};
  options.background = false;
  {
    Ledger ledger(options, {"x", "", ""});
    ledger.write({metric(1, 1)});
    ledger.commit_now();
    ledger.write({metric(2, 1), metric(3, 1)});
    ledger.abandon();  // killed before the commit
  }
  EXPECT_EQ(sql_number(dir, "SELECT COUNT(*) FROM metrics"), 1);
  Ledger again(options, {"x", "", ""});
  EXPECT_EQ(again.state().epoch, 2u);
  // a row that breaks the schema takes the rows before it in the same event with it
  again.write({metric(4, 1), {Stmt::put_batch_group, {int64_t{0}, int64_t{0}, std::monostate{}}}});
  EXPECT_NE(error_of([&] { again.commit_now(); }), "");
  EXPECT_EQ(sql_number(dir, "SELECT COUNT(*) FROM metrics WHERE step=4"), 0);
}

TEST(Ledger, AFullDiskIsOneLineAndNothingMoreIsAcknowledged) {
  const std::string dir = temp_dir("full");
  LedgerOptions options{dir};
  options.max_pages = 60;
  Ledger ledger(options, {"x", "", ""});
  ledger.on_commit([] {});
  std::string error;
  for (int i = 0; i < 20000 && error.empty(); ++i)
    error = error_of([&] {
      ledger.check();
      ledger.write({{Stmt::put_metric, {int64_t{i}, std::string(4000, 'x'), 0.0}}});
    });
  EXPECT_NE(error.find("the disk is full"), std::string::npos) << error;
  const Ticket committed = ledger.committed();
  EXPECT_LT(committed, ledger.last());
  EXPECT_EQ(error_of([&] { ledger.write({metric(1, 1)}); }), error) << "it stays failed";
  EXPECT_NE(error_of([&] { ledger.close(); }), "");
  EXPECT_EQ(sql_number(dir, "SELECT COUNT(*) FROM metrics"), static_cast<int64_t>(committed));
}

TEST(Ledger, RefusesADamagedFile) {
  const std::string dir = temp_dir("damaged");
  std::ofstream(dir + "/ledger.sqlite") << std::string(5000, 'z');
  EXPECT_NE(error_of([&] {
              Ledger ledger({dir}, {"x", "", ""});
            }).find("is no ledger or is damaged"),
            std::string::npos);
}

TEST(Ledger, ConfigurationMayChangeInSpeedAndPlaceOnly) {
  const std::string toml =
      "[run]\ntotal_steps = 3\n[grpo]\nclip_ratio_low = 0.2\n[[reward]]\nkind = \"a\"\n[learner]\nranks = "
      "1\n";
  EXPECT_EQ(
      config_difference(
          toml,
          "[learner]\nranks=4\n[run]\ntotal_steps=9\n[grpo]\nclip_ratio_low=0.20\n[[reward]]\nkind=\"a\"\n"),
      "");
  EXPECT_EQ(config_difference(toml, toml + "[model]\npath = \"m\"\n"),
            "model.path is not set there and 'm' here");
  EXPECT_NE(config_difference(toml, toml + "[[reward]]\nkind = \"b\"\n").find("reward[1].kind"),
            std::string::npos);
}

TEST(Prompts, BadLinesAreNamed) {
  const std::string dir = temp_dir("prompts"), path = dir + "/p.jsonl";
  auto error = [&](const std::string& text) {
    std::ofstream(path) << text;
    return error_of([&] { PromptFile file(path); });
  };
  EXPECT_EQ(error("{\"prompt\":\"a\"}\n\n{\"id\":7,\"messages\":[{\"role\":\"user\"}]}\r\n"), "");
  EXPECT_NE(error("{\"prompt\":\"a\"}\n{\"prompt\":\n").find("p.jsonl:2: is not JSON"), std::string::npos);
  EXPECT_NE(error("[1]\n").find("p.jsonl:1: is not a JSON object"), std::string::npos);
  EXPECT_NE(error("{\"text\":\"a\"}\n").find("p.jsonl:1: has neither"), std::string::npos);
  EXPECT_NE(error("{\"id\":1,\"prompt\":\"a\"}\n{\"id\":1,\"prompt\":\"a\"}")
                .find("p.jsonl:2: id \"1\" is also on line 1"),
            std::string::npos);
  EXPECT_NE(error("{\"id\":{},\"prompt\":\"a\"}\n").find("\"id\" must be"), std::string::npos);
  EXPECT_NE(error("\n").find("has no prompts"), std::string::npos);
  EXPECT_NE(error_of([&] { PromptFile file(dir + "/none"); }).find("cannot be read"), std::string::npos);
}

TEST(Prompts, EveryEpochIsAPermutationDecidedBySeedAndEpoch) {
  PromptOrder order(101, 5, true), same(101, 5, true), other(101, 6, true);
  std::vector<size_t> first, second;
  bool differs = false;
  for (uint64_t d = 0; d < 101; ++d) first.push_back(order.index_of(d));
  for (uint64_t d = 101; d < 202; ++d) second.push_back(order.index_of(d));
  for (uint64_t d : {150u, 3u, 199u})
    EXPECT_EQ(same.index_of(d), d < 101 ? first[d] : second[d - 101]) << "a restart jumps in";
  for (uint64_t d = 0; d < 101; ++d) differs |= other.index_of(d) != first[d];
  EXPECT_TRUE(differs);
  EXPECT_NE(first, second);
  for (auto* epoch : {&first, &second}) {
    std::sort(epoch->begin(), epoch->end());
    for (size_t i = 0; i < epoch->size(); ++i) ASSERT_EQ((*epoch)[i], i);
  }
  EXPECT_EQ(PromptOrder(5, 1, false).index_of(7), 2u);
}

TEST(Batch, SharesPartitionTheSamplesAndBalanceTheirTokens) {
  std::mt19937 rng(1);
  for (int trial = 0; trial < 200; ++trial) {
    DeliveredBatch batch;
    const size_t groups = 1 + rng() % 32, size = 1 + rng() % 16;
    const uint32_t ranks = 1 + rng() % 5, minis = 1 + rng() % 4;
    uint64_t all = 0, longest = 0;
    for (size_t g = 0; g < groups; ++g) {
      batch.groups.push_back({g + 1, std::vector<double>(size)});
      auto& samples = batch.samples.emplace_back();
      for (uint32_t i = 0; i < size; ++i) {
        Sample s;
        s.group = g + 1;
        s.index = i;
        s.token_ids.resize(1 + (rng() % 8 ? rng() % 50 : rng() % 500));
        all += s.token_ids.size();
        longest = std::max<uint64_t>(longest, s.token_ids.size());
        samples.push_back(std::move(s));
      }
    }
    std::set<std::pair<GroupId, uint32_t>> seen;
    std::vector<uint64_t> loads;
    for (uint32_t r = 0; r < ranks; ++r) {
      const Batch share = share_of(batch, r, ranks, minis);
      EXPECT_EQ(share.total_tokens, all);
      EXPECT_EQ(share.total_samples, groups * size);
      EXPECT_EQ(share.groups.size(), groups);
      uint64_t load = 0;
      for (const Sample& s : share.samples) {
        ASSERT_TRUE(seen.emplace(s.group, s.index).second);
        load += s.token_ids.size();
      }
      loads.push_back(load);
    }
    ASSERT_EQ(seen.size(), groups * size);
    // each mini-batch is cut to within its longest sample
    const auto [low, high] = std::minmax_element(loads.begin(), loads.end());
    EXPECT_LE(*high - *low, longest * minis);
    EXPECT_EQ(share_of(batch, 0, ranks, minis).samples.size(),
              share_of(batch, 0, ranks, minis).samples.size());
  }
}

TEST(Batch, ATokenPastTheBoundIsNeverDelivered) {
  DeliveredBatch batch;
  batch.step = 5;
  batch.samples = {{Sample{}}};
  batch.samples[0][0].versions = {{4, 3}, {3, 1}};
  EXPECT_NO_THROW(assert_staleness(batch, 2));
  EXPECT_THROW(assert_staleness(batch, 1), std::logic_error);
}

TEST(Rewards, IntervalsCoverTheTruth) {
  std::mt19937 rng(4);
  for (uint32_t samples : {1u, 4u, 8u}) {
    int covered = 0;
    for (int trial = 0; trial < 1000; ++trial) {
      std::vector<uint32_t> passes;
      for (int p = 0; p < 64; ++p) {  // prompts differ in how hard they are: mean 0.3
        const double hard = std::uniform_real_distribution<>(0, 0.6)(rng);
        passes.push_back(std::binomial_distribution<uint32_t>(samples, hard)(rng));
      }
      const Interval i = pass_at_1(passes, samples);
      covered += i.low <= 0.3 && 0.3 <= i.high;
    }
    EXPECT_GT(covered, 920) << samples;
  }
  EXPECT_EQ(pass_at_1({0, 0}, 1).low, 0);
  EXPECT_GT(pass_at_1({0, 0}, 1).high, 0.5);
  EXPECT_LT(pass_at_1({8, 8, 8}, 8).low, 1);
}

TEST(Options, ReadFromTheRunFile) {
  const std::string text =
      "[run]\nseed = 9\n[data]\ntrain = \"t\"\n[rollout]\nnum_generations = 6\nmax_new_tokens = 77\n"
      "stop = [\"x\"]\nworkers = 3\n[grpo]\nmini_batches = 2\n[grpo.overlong_buffer]\nenable = true\nlen = "
      "7\n";
  const CoordinatorConfig c = read_coordinator_config(TomlTable::parse(text, "r.toml"), text);
  EXPECT_EQ(c.num_generations, 6u);
  EXPECT_EQ(c.mini_batches, 2u);
  EXPECT_EQ(c.sampling.max_tokens, 77);
  EXPECT_EQ(c.sampling.stop, std::vector<std::string>{"x"});
  EXPECT_EQ(c.sampling.seed, 9u);
  EXPECT_TRUE(c.overlong.enable);
  EXPECT_EQ(c.overlong.len, 7);
  auto error = [&](const std::string& more) {
    return error_of([&] { read_coordinator_config(TomlTable::parse(text + more, "r.toml"), ""); });
  };
  EXPECT_NE(error("[coordinator]\nhttp_port = 70000\n").find("http_port"), std::string::npos);
  EXPECT_NE(error("[async]\ngroups_per_batch = 0\n").find("r.toml:16"), std::string::npos);
}

TEST(Options, EveryRecipeIsRead) {
  for (const auto& entry : std::filesystem::directory_iterator(COHORT_SOURCE_DIR "/launch/recipes")) {
    std::ifstream in(entry.path());
    const std::string text((std::istreambuf_iterator<char>(in)), {});
    const TomlTable table = TomlTable::parse(text, entry.path().string());
    if (!table.has("data")) continue;  // supervised fine-tuning only
    EXPECT_EQ(error_of([&] { read_coordinator_config(table, text); }), "");
  }
}

}  // namespace
}  // namespace cohort::testing
