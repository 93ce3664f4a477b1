// Bad input, given to the real command: one clear line that names it, and a non-zero exit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "launch/data/jsonl.h"
#include "tests/integration/process.h"

namespace cohort {
namespace {

using testing::HasSubstr;

class BadInput : public testing::Test {
 protected:
  BadInput() {
    char name[] = "/tmp/cohort_bad_XXXXXX";
    folder = mkdtemp(name);
    EXPECT_EQ(run(folder, {"data", "countdown", "--output", folder, "--demonstrations", "20"}).code, 0);
    model = folder + "/model";
  }
  ~BadInput() override { std::filesystem::remove_all(folder); }

  void expect(const std::vector<std::string>& arguments, int code, const std::vector<std::string>& named) {
    const Outcome out = run(folder, arguments, 60);
    EXPECT_EQ(out.code, code) << out.error;
    EXPECT_EQ(std::count(out.error.begin(), out.error.end(), '\n'), 1) << out.error;
    for (const std::string& part : named) EXPECT_THAT(out.error, HasSubstr(part));
  }
  std::vector<std::string> sft(const std::vector<std::string>& set) const {
    std::vector<std::string> out = {"sft", COHORT_SOURCE_DIR "/launch/recipes/countdown_sft.toml", "--quiet"};
    for (const std::string& s : {"run.dir=" + folder + "/run", "sft.model=" + model,
                                 "sft.train=" + folder + "/sft.jsonl", "sft.output=" + folder + "/out"})
      out.insert(out.end(), {"--set", s});
    for (const std::string& s : set) out.insert(out.end(), {"--set", s});
    return out;
  }
  void replace(const std::string& file, const std::string& from, const std::string& to) const {
    std::string text = read_text(model + "/" + file);
    const size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    write_text(model + "/" + file, text.replace(at, from.size(), to));
  }
  std::string folder, model;
};

TEST_F(BadInput, TruncatedWeights) {
  std::filesystem::resize_file(model + "/model.safetensors", 100000);
  expect(sft({}), 1, {"model.safetensors", "truncated"});
}
TEST_F(BadInput, MissingWeights) {
  std::filesystem::remove(model + "/model.safetensors");
  expect(sft({}), 1, {"model.safetensors"});
}
TEST_F(BadInput, ATensorOfTheWrongShape) {
  replace("config.json", "\"intermediate_size\": 352", "\"intermediate_size\": 356");
  expect(sft({}), 1, {"model.safetensors", "mlp"});
}
TEST_F(BadInput, AnUnsupportedModelType) {
  replace("config.json", "\"model_type\": \"llama\"", "\"model_type\": \"mamba\"");
  expect(sft({}), 1, {"config.json", "mamba", "llama"});
}
TEST_F(BadInput, ABrokenTokenizer) {
  replace("tokenizer.json", "\"WordLevel\"", "\"Unheard\"");
  expect(sft({}), 1, {"tokenizer.json", "Unheard"});
}
TEST_F(BadInput, ALineThatIsNotJson) {
  std::ofstream(folder + "/sft.jsonl", std::ios::app) << "{\"prompt\": \n";
  expect(sft({}), 1, {"sft.jsonl:21"});
}
TEST_F(BadInput, KeysAndValues) {
  expect(sft({"sft.learning_rte=1"}), 2, {"sft.learning_rte", "learning_rate"});
  expect(sft({"sft.batch_size=many"}), 2, {"sft.batch_size"});
  expect(sft({"sft.min_lr_ratio=3"}), 2, {"sft.min_lr_ratio", "from 0 to 1"});
  expect({"sft", folder + "/none.toml"}, 2, {"none.toml"});
  expect({"trian"}, 2, {"train"});
  expect({"data", "countdown", "--eval", "99999"}, 2, {"--eval 99999"});
  expect({"report", folder}, 1, {"ledger.sqlite"});
  expect({"status", folder + "/none"}, 2, {"none"});
}
TEST_F(BadInput, AFullDisk) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full";
  std::filesystem::create_symlink("/dev/full", folder + "/train.jsonl.part");
  expect({"data", "countdown", "--output", folder, "--demonstrations", "20"}, 1,
         {"train.jsonl", "No space left"});
}

}  // namespace
}  // namespace cohort
