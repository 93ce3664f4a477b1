// `cohort-learner sft` as processes: it learns, whatever the number of ranks, goes on after a stop to the
// bit, says what is wrong.
#include "learner/sft.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <thread>

#include "launch/data/word_model.h"
#include "learner/folder/model_config.h"
#include "learner/sft_data.h"
#include "tests/learner/mpirun.h"
#include "transport/base/error.h"

namespace cohort {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;

std::string read(const std::string& file) {
  std::stringstream text;
  text << std::ifstream(file, std::ios::binary).rdbuf();
  return text.str();
}

class Sft : public ::testing::Test {
 protected:
  void SetUp() override {
    dir = fs::temp_directory_path() / ("cohort-sft-" + std::to_string(getpid()));
    fs::remove_all(dir);
    fs::create_directories(dir);
    std::vector<std::string> words;
    for (int i = 0; i < 10; ++i) words.push_back(std::to_string(i));
    write_word_model(dir + "/model", words, {2, 32, 4, 2, 64, 32});
    // Two digits in, the second of them twice out. Never the same two: without a BOS token nothing tells a
    // model how many equal tokens it has seen.
    std::ofstream train(dir + "/train.jsonl"), eval(dir + "/eval.jsonl");
    for (int i = 0; i < 100; ++i) {
      if (i % 11 == 0) continue;
      (i % 11 == 3 ? eval : train) << json{{"prompt", fmt::format("{} {}", i / 10, i % 10)},
                                           {"completion", fmt::format("{} {}", i % 10, i % 10)}}
                                   << "\n";
    }
  }
  void TearDown() override { fs::remove_all(dir); }

  std::string run_file(const std::string& name, const std::string& more = "", int max_steps = 120) const {
    return fmt::format(
        "[run]\ndir = \"{0}/{1}\"\n[sft]\nmodel = \"{0}/model\"\ninit = \"random\"\ntrain = "
        "\"{0}/train.jsonl\"\n"
        "eval = \"{0}/eval.jsonl\"\nbatch_size = 12\nmax_steps = {2}\nlearning_rate = 1e-2\nwarmup_steps = "
        "10\n"
        "lr_scheduler = \"linear\"\nsave_steps = 40\n{3}",
        dir, name, max_steps, more);
  }
  // As a process of its own, under mpirun.
  int mpirun(const std::string& name, int ranks, int max_steps) {
    std::ofstream(dir + "/" + name + ".toml") << run_file(name, "", max_steps);
    return testing::mpirun(
        ranks, std::string(COHORT_BIN_DIR) + "/cohort-learner sft --config " + dir + "/" + name + ".toml",
        dir + "/log");
  }
  // In this process, one rank; the Error's text, or "".
  std::string run(const std::string& name, const std::string& more = "", int max_steps = 120) {
    Collectives alone;
    try {
      run_sft(read_sft_run(TomlTable::parse(run_file(name, more, max_steps), "run.toml")), alone, stop);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  }
  std::vector<json> metrics(const std::string& name) {
    std::vector<json> out;
    std::ifstream in(dir + "/" + name + "/sft-metrics.jsonl");
    for (std::string line; std::getline(in, line);) out.push_back(json::parse(line));
    return out;
  }
  std::string weights(const std::string& name) { return read(dir + "/" + name + "/sft/model.safetensors"); }
  std::string log() { return read(dir + "/log"); }
  std::string dir;
  std::atomic<bool> stop = false;
};

TEST_F(Sft, Learns) {
  ASSERT_EQ(run("one"), "");
  const auto one = metrics("one");
  ASSERT_EQ(one.size(), 120u);
  EXPECT_GT(one[0]["loss"].get<double>(), 2);
  EXPECT_LT(one[119]["loss"].get<double>(), 0.1);
  EXPECT_LT(one[119]["eval_loss"].get<double>(), 0.5);  // digits it has not seen together
}

TEST_F(Sft, TwoRanksDoWhatOneDoes) {
  ASSERT_EQ(run("one", "", 15), "");
  ASSERT_EQ(mpirun("two", 2, 15), 0) << log();
  const auto one = metrics("one"), two = metrics("two");
  ASSERT_EQ(one.size(), 15u);
  ASSERT_EQ(two.size(), 15u);
  for (size_t i = 0; i < 15; ++i)
    EXPECT_NEAR(one[i]["loss"].get<double>(), two[i]["loss"].get<double>(), 1e-4) << i;
  EXPECT_NEAR(one[14]["eval_loss"].get<double>(), two[14]["eval_loss"].get<double>(), 1e-4);
  const ModelConfig config = ModelConfig::read(dir + "/two/sft");
  EXPECT_GT(read_weights(dir + "/two/sft", config, DType::f32).data.size(), 0u);
  EXPECT_TRUE(fs::exists(dir + "/two/sft/tokenizer.json"));
  EXPECT_THAT(log(), HasSubstr("step 15/15"));
}

TEST_F(Sft, StoppedAndStartedAgainEndsTheSame) {
  ASSERT_EQ(run("whole"), "");
  std::thread stopper([&] {  // somewhere after the first checkpoint
    while (!fs::exists(dir + "/stopped/sft-checkpoints/latest")) usleep(1000);
    stop = true;
  });
  EXPECT_EQ(run("stopped"), "");
  stopper.join();
  stop = false;
  const size_t steps = metrics("stopped").size();
  EXPECT_GE(steps, 40u);
  EXPECT_LT(steps, 120u);
  EXPECT_FALSE(fs::exists(dir + "/stopped/sft"));
  EXPECT_EQ(run("stopped"), "");
  EXPECT_EQ(metrics("stopped").size(), 120u);
  EXPECT_FALSE(weights("whole").empty());
  EXPECT_EQ(weights("stopped"), weights("whole"));
}

TEST_F(Sft, RefusesAnotherConfigurationAndBadData) {
  ASSERT_EQ(run("a", "", 3), "");
  EXPECT_THAT(run("a", "", 4), HasSubstr("its number of steps is 3, this run's is 4"));
  EXPECT_THAT(run("c", "learning_rat = 1"), HasSubstr("learning_rate"));
  EXPECT_THAT(run("d", "device = \"tpu\""), HasSubstr("\"tpu\""));
  std::ofstream(dir + "/train.jsonl", std::ios::app) << "{\"prompt\": \"1\"}\n";
  EXPECT_EQ(mpirun("b", 2, 3), 1);
  EXPECT_THAT(log(), HasSubstr("cohort-learner: " + dir + "/train.jsonl:82: has no \"completion\""));
}

TEST_F(Sft, DataMasksPromptsAndNamesLines) {
  const auto tokenizer = Tokenizer::read(dir + "/model");
  const ModelConfig config = ModelConfig::read(dir + "/model");
  const int32_t eos = config.eos_token_ids.at(0);
  SftDataOptions o{dir + "/x.jsonl", dir + "/model", eos, true, 0, static_cast<int32_t>(config.vocab_size)};
  std::ofstream(o.path) << "{\"prompt\": \"1 2\", \"completion\": \"3\", \"id\": 5}\n\n{\"prompt\": \"1 2 3 "
                           "4\", \"completion\": \"5 6\"}\n";
  const SftData data = read_sft_data(o, *tokenizer);
  ASSERT_EQ(data.samples.size(), 2u);
  EXPECT_EQ(data.samples[0].tokens,
            (std::vector<int32_t>{tokenizer->id_of("1"), tokenizer->id_of("2"), tokenizer->id_of("3"), eos}));
  EXPECT_EQ(data.samples[0].learnt, (std::vector<uint8_t>{0, 0, 1, 1}));
  EXPECT_EQ(data.samples[0].targets(), 2);
  o.max_length = 4;
  const SftData cut = read_sft_data(o, *tokenizer);
  EXPECT_EQ(cut.samples.size(), 1u);
  EXPECT_EQ(cut.cut, 1);
  EXPECT_EQ(cut.dropped, 1);
  EXPECT_EQ(cut.hash, data.hash);
  for (const char* line : {"{", "[1]", "{\"prompt\": 3, \"completion\": \"\"}", "{\"messages\": []}",
                           "{\"messages\": [{\"role\": \"user\"}]}"}) {
    std::ofstream(o.path) << "{\"prompt\": \"1\", \"completion\": \"3\"}\n" << line << "\n";
    try {
      read_sft_data(o, *tokenizer);
      ADD_FAILURE() << line;
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), HasSubstr("x.jsonl:2: ")) << line;
    }
  }
}

TEST(SampleOrder, EveryEpochHoldsEverySampleOnce) {
  SampleOrder order(37, 5), again(37, 5);
  std::vector<std::vector<size_t>> epochs(3);
  for (uint64_t i = 0; i < 37 * 3; ++i) epochs[i / 37].push_back(order.at(i));
  for (const auto& e : epochs) EXPECT_EQ(std::set<size_t>(e.begin(), e.end()).size(), 37u);
  EXPECT_NE(epochs[0], epochs[1]);
  EXPECT_EQ(again.at(80), epochs[2][6]);  // straight to the middle, as after a restart
}

}  // namespace
}  // namespace cohort
