// Run files and run folders: what is refused, and in which words.
#include "launch/run_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "launch/data/jsonl.h"
#include "launch/train/status_line.h"

namespace cohort {
namespace {

using testing::HasSubstr;
using testing::Not;

class RunConfigTest : public testing::Test {
 protected:
  RunConfigTest() {
    char name[] = "/tmp/cohort_config_XXXXXX";
    folder = mkdtemp(name);
    std::filesystem::create_directories(folder + "/model");
    std::ofstream(folder + "/train.jsonl") << "{}\n";
  }
  ~RunConfigTest() override { std::filesystem::remove_all(folder); }

  std::string text() const {
    return "[run]\ndir = \"" + folder + "/run\"\nname = \"tiny\"\n[model]\npath = \"" + folder +
           "/model\"\n[data]\ntrain = \"" + folder +
           "/train.jsonl\"\n[[reward]]\nkind = \"countdown\"\n[rollout]\nmax_context = 64\nmax_new_tokens = "
           "32\n";
  }
  RunConfig read(const std::string& toml, const std::vector<std::string>& set = {},
                 Purpose purpose = Purpose::train) const {
    const std::string path = folder + "/run_file.toml";
    std::ofstream(path) << toml;
    return read_run_config(path, set, purpose);
  }
  // The error's line, with exit code 2 checked; "" when there is none.
  std::string refusal(const std::string& toml, const std::vector<std::string>& set = {}) const {
    try {
      read(toml, set);
    } catch (const Error& e) {
      EXPECT_EQ(e.exit_code(), Error::kBadUsage);
      EXPECT_THAT(e.what(), Not(HasSubstr("\n")));
      return e.what();
    }
    return "";
  }
  std::string folder;
};

TEST_F(RunConfigTest, TheResolvedFileReadsBackToItself) {
  const RunConfig config =
      read(text(), {"grpo.clip_ratio_high=0.28", "learner.lr_scheduler=linear", "rollout.stop=[\"a\\\"b\"]"});
  EXPECT_DOUBLE_EQ(config.grpo.clip_ratio_high, 0.28);
  const std::string once = write_options(config);
  RunConfig again;
  read_options(TomlTable::parse(once, "resolved"), again);
  EXPECT_EQ(write_options(again), once);
  EXPECT_EQ(again.rollout.stop, std::vector<std::string>{"a\"b"});
}

TEST_F(RunConfigTest, EveryRecipeIsMadeOfKnownKeys) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(COHORT_SOURCE_DIR "/launch/recipes")) {
    RunConfig config;
    EXPECT_NO_THROW(read_options(TomlTable::read(entry.path()), config)) << entry.path();
    ++count;
  }
  EXPECT_GE(count, 4);
}

TEST_F(RunConfigTest, EveryRecipeIsARunThatCouldBegin) {
  for (const auto& entry : std::filesystem::directory_iterator(COHORT_SOURCE_DIR "/launch/recipes")) {
    SCOPED_TRACE(entry.path());
    const TomlTable file = TomlTable::read(entry.path());
    int purposes = 0;
    const std::string model = folder + "/model", lines = folder + "/train.jsonl";
    std::vector<std::string> places;
    if (file.has("model")) places.push_back("model.path=" + model);
    if (file.has("sft")) places.insert(places.end(), {"sft.model=" + model, "sft.train=" + lines});
    if (file.has("data")) places.insert(places.end(), {"data.train=" + lines, "data.eval=" + lines});
    for (Purpose purpose : {Purpose::train, Purpose::sft})
      if (file.has(purpose == Purpose::train ? "data" : "sft")) {
        EXPECT_NO_THROW(read_run_config(entry.path(), places, purpose));
        ++purposes;
      }
    EXPECT_GE(purposes, 1);
  }
}

TEST_F(RunConfigTest, RefusalsNameFileLineAndKey) {
  struct Case {
    std::string set, expected;
  };
  const std::string file = folder + "/run_file.toml";
  EXPECT_EQ(refusal(text()), "");
  EXPECT_THAT(refusal(text() + "[grpo]\nclip_ratio_hgh = 0.2\n"),
              HasSubstr(file + ":14: grpo.clip_ratio_hgh: no such key; did you mean 'clip_ratio_high'"));
  EXPECT_THAT(refusal(text() + "[grp]\n"), HasSubstr("did you mean 'grpo'"));
  EXPECT_THAT(refusal(text() + "top_p = 2\n"), HasSubstr(file + ":13: rollout.top_p = 2"));
  EXPECT_THAT(refusal(text() + "top_p = \"much\"\n"),
              HasSubstr(file + ":13: rollout.top_p must be a number"));
  EXPECT_THAT(refusal(text() + "top_p = = 1\n"), HasSubstr(file + ":13: "));
  const Case cases[] = {{"run.dir=\"\"", "run.dir is missing"},
                        {"model.path=/nowhere", "/nowhere"},
                        {"data.train=/nowhere.jsonl", "/nowhere.jsonl"},
                        {"reward=[]", "[[reward]]"},
                        {"rollout.max_new_tokens=64", "rollout.max_context"},
                        {"async.weight_sync_steps=9", "async.max_staleness"},
                        {"rollout.workers=-1", "rollout.workers = -1"},
                        {"grpo.loss_agg_mode=token", "token-mean"},
                        {"learner.ranks=1.5", "whole number"},
                        {"grpo.overlong_buffer={enable=true,len=33}", "grpo.overlong_buffer.len = 33"},
                        {"nonsense", "section.key=value"}};
  for (const Case& c : cases) EXPECT_THAT(refusal(text(), {c.set}), HasSubstr(c.expected)) << c.set;
}

TEST_F(RunConfigTest, AFolderOfAnotherConfigurationIsRefusedAndLeftAlone) {
  { EXPECT_FALSE(RunFolder(read(text())).resumes()); }
  {
    EXPECT_TRUE(
        RunFolder(read(text(), {"run.total_steps=500", "rollout.workers=3", "run.eval_steps=5",
                                "run.eval_prompts=8", "run.eval_samples=2", "async.max_num_gen_batches=0"}))
            .resumes())
        << "these may change";
  }
  const std::string before = read_text(folder + "/run/run.toml");
  for (const char* change : {"grpo.clip_ratio_low=0.1", "run.name=other", "run.seed=2",
                             "async.max_staleness=5", "rollout.temperature=0.7"}) {
    try {
      RunFolder refused(read(text(), {change}));
      ADD_FAILURE() << change << " was taken";
    } catch (const Error& e) {
      const std::string key = std::string(change).substr(0, std::string(change).find('='));
      EXPECT_THAT(e.what(), HasSubstr(key)) << change;
      EXPECT_THAT(e.what(), HasSubstr(folder + "/run"));
      EXPECT_EQ(e.exit_code(), Error::kBadUsage);
    }
    EXPECT_EQ(read_text(folder + "/run/run.toml"), before);
  }
}

// rollout.weight_sync and async.partial_rollout are one choice under two names.
TEST_F(RunConfigTest, PartialRolloutAndWeightSyncAreOneChoice) {
  const auto choice = [&](const std::vector<std::string>& set) {
    const RunConfig config = read(text(), set);
    EXPECT_EQ(config.async.partial_rollout, config.rollout.weight_sync == WeightSync::in_flight);
    return config.rollout.weight_sync;
  };
  EXPECT_EQ(choice({}), WeightSync::in_flight);
  EXPECT_EQ(choice({"rollout.weight_sync=drain"}), WeightSync::drain);
  EXPECT_EQ(choice({"async.partial_rollout=false"}), WeightSync::drain);
  EXPECT_EQ(choice({"async.partial_rollout=true"}), WeightSync::in_flight);
  EXPECT_EQ(choice({"async.partial_rollout=false", "rollout.weight_sync=drain"}), WeightSync::drain);
  EXPECT_THAT(refusal(text(), {"async.partial_rollout=true", "rollout.weight_sync=drain"}),
              testing::AllOf(HasSubstr("async.partial_rollout = true contradicts"),
                             HasSubstr("rollout.weight_sync = \"drain\"")));
  EXPECT_THAT(refusal(text(), {"async.partial_rollout=false", "rollout.weight_sync=in_flight"}),
              HasSubstr("contradicts"));
}

TEST_F(RunConfigTest, AFolderInUseIsRefused) {
  const RunConfig config = read(text());
  const RunFolder held(config);
  EXPECT_THROW(RunFolder{config}, Error);
}

TEST(StatusLine, SaysWhatIsThereAndLeavesOutWhatIsNot) {
  Pace pace;
  EXPECT_EQ(pace.time_left(5), "");
  pace.see(0, 0), pace.see(1, 100), pace.see(2, 104), pace.see(3, 108);
  EXPECT_EQ(pace.time_left(10), "40 s") << "the first step also holds the start";
  pace.see(1, 200), pace.see(2, 230), pace.see(3, 240);
  EXPECT_EQ(pace.time_left(1), "10 s") << "after a restart the pace is taken anew";
  const auto status = nlohmann::json::parse(
      R"({"step":3,"total_steps":4,"reward_mean":0.5,"tokens_per_s":{"rollout":5120,"learner":90},
    "evals":[{"version":2,"pass_at_1":0.25,"low":0.2,"high":0.3}],"queues":{"completions_to_grade":2,"completions_grading":1},
    "waits":[{"who":"learner","for":"rollout"}]})");
  const std::string line = status_line(status, pace);
  const auto long_run = nlohmann::json::parse(
      R"({"step":123,"total_steps":2000,"reward_mean":0.593,"tokens_per_s":{"rollout":17000,"learner":19000},
    "evals":[{"version":100,"pass_at_1":0.539,"low":0.5,"high":0.58}],
    "queues":{"completions_sampling":308,"completions_to_grade":12,"groups_ready":24},
    "waits":[{"who":"rollout","for":"learner"},{"who":"reward","for":"rollout"}]})");
  for (const char* part : {"step 3/4", "reward 0.500", "held-out 0.250 (0.200 to 0.300) at 2", "5.1k sampled",
                           "grading 3", "learner waits for rollout", "10 s left"})
    EXPECT_THAT(line, HasSubstr(part));
  EXPECT_EQ(status_line(long_run, {}, 79),
            "123/2000 rew 0.593 held 0.539 17k/19k t/s q 308/12/24 rollout>learner");
  // on a terminal it has to fit, with all its facts from 80 columns on
  for (size_t width : {200u, 119u, 100u, 79u}) {
    const std::string fit = status_line(status, pace, width);
    EXPECT_LE(fit.size(), width + 1) << fit;  // "±" is two bytes
    for (const char* part :
         {"3/4", "0.500", "held", "0.250", "5.1k", "90", "learner", "rollout", "10 s left"})
      EXPECT_THAT(fit, HasSubstr(part)) << width;
  }
  EXPECT_THAT(status_line(status, pace, 79), HasSubstr("q 0/3/0 learner>rollout 10 s left"));
  EXPECT_EQ(status_line(status, pace, 30).size(), 30u);
  EXPECT_THAT(status_line(nlohmann::json::object(), {}), HasSubstr("step 0/0"));
  EXPECT_FALSE(status_screen(nlohmann::json::object()).empty());
}

}  // namespace
}  // namespace cohort
