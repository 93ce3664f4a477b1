// The recipes as their comments say to use them, only smaller: data, cold start, a few steps of training.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "actors/sqlite.h"
#include "launch/data/jsonl.h"
#include "tests/integration/process.h"

namespace cohort {
namespace {

using testing::HasSubstr;

class Recipe : public testing::Test {
 protected:
  Recipe() {
    char name[] = "/tmp/cohort_recipe_XXXXXX";
    folder = mkdtemp(name);
  }
  ~Recipe() override { std::filesystem::remove_all(folder); }

  void expect(std::vector<std::string> command, const std::vector<std::string>& set = {}) const {
    for (const std::string& s : set) command.insert(command.end(), {"--set", s});
    const Outcome out = run(folder, command, 120);
    ASSERT_EQ(out.code, 0) << testing::PrintToString(command) << out.output << out.error;
  }
  static std::string recipe(const std::string& name) {
    return COHORT_SOURCE_DIR "/launch/recipes/" + name + ".toml";
  }
  std::string folder;
};

// The commands in a recipe's comment, joined where they go on behind a backslash: "cohort data countdown --output …".
std::vector<std::string> commands_of(const std::string& path) {
  std::vector<std::string> out;
  std::ifstream file(path);
  bool more = false;
  for (std::string line; std::getline(file, line) && line.starts_with("#");) {
    line = line.substr(line.find_first_not_of("# "));
    if (!more && !line.starts_with("cohort ")) continue;
    if (more)
      out.back() += " " + line;
    else
      out.push_back(line);
    more = line.ends_with("\\");
    if (more) out.back().pop_back();
  }
  return out;
}

TEST_F(Recipe, CountdownOneTry) {
  const auto commands = commands_of(recipe("countdown_one_try"));
  ASSERT_EQ(commands.size(), 3u) << "data, sft, train";
  std::vector<std::string> data;
  std::istringstream words(commands[0].substr(7));
  for (std::string word; words >> word;)
    data.push_back(word == "runs/one_try/data" ? folder + "/data" : word);
  EXPECT_THAT(data, testing::Contains(folder + "/data"));
  data.insert(data.end(), {"--eval", "64"});
  for (std::string& word : data)
    if (word == "32000") word = "2000";
  expect(data);
  const std::vector<std::string> places = {"run.dir=" + folder + "/run",
                                           "model.path=" + folder + "/sft",
                                           "data.train=" + folder + "/data/train.jsonl",
                                           "data.eval=" + folder + "/data/eval.jsonl",
                                           "sft.model=" + folder + "/data/model",
                                           "sft.train=" + folder + "/data/sft.jsonl",
                                           "sft.output=" + folder + "/sft"};
  std::vector<std::string> set = places;
  set.insert(set.end(), {"sft.max_steps=60", "sft.warmup_steps=10"});
  expect({"sft", recipe("countdown_one_try"), "--quiet"}, set);
  set = places;
  // a policy this young solves nothing, so groups of equal rewards are not left out
  set.insert(set.end(),
             {"run.total_steps=3", "run.eval_steps=3", "run.eval_prompts=4", "async.filter_groups=false",
              "async.groups_per_batch=8", "coordinator.heartbeat_ms=100"});
  expect({"train", recipe("countdown_one_try")}, set);
  Database ledger(folder + "/run/ledger.sqlite", false);
  Statement steps(ledger, "SELECT COUNT(*), SUM(samples) FROM batches");
  ASSERT_TRUE(steps.step());
  EXPECT_EQ(steps.integer(0), 3);
  EXPECT_EQ(steps.integer(1), 3 * 8 * 8);
  EXPECT_TRUE(std::filesystem::exists(folder + "/run/model/model.safetensors"));
}

}  // namespace
}  // namespace cohort
