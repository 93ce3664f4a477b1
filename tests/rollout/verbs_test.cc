// generate, score and eval as functions, with the toy model in place of Torch and a real word-level
// tokenizer.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "launch/commands/lines.h"
#include "launch/commands/policy.h"
#include "launch/data/word_model.h"
#include "rollout/testing/fake_runner.h"
#include "rollout/worker.h"
#include "transport/base/error.h"

namespace cohort {

// In place of rollout/load_model.cc.
WorkerModel load_rollout_model(const std::string& folder, const RunnerOptions& options) {
  FakeRunnerOptions o;
  o.max_slots = options.max_slots;
  o.max_context = options.max_context;
  o.vocab_size = int32_t(ModelConfig::read(folder).vocab_size);
  WorkerModel model;
  model.runner = std::make_unique<FakeRunner>(o);
  model.has_weights = true;
  model.prompts = std::make_shared<const PromptEncoder>(PromptEncoder::read(folder));
  return model;
}

namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

class Verbs : public ::testing::Test {
 protected:
  Verbs() {
    folder_ = fs::temp_directory_path() / fmt::format("cohort-verbs-{}", getpid());
    fs::create_directories(folder_);
    std::vector<std::string> words = {"<think>", "</think>", "<answer>", "</answer>", "(",
                                      ")",       "+",        "-",        "*",         "="};
    for (int i = 0; i <= 20; ++i) words.push_back(std::to_string(i));
    write_word_model(model(), words, {.max_context = 64});
  }
  ~Verbs() override { fs::remove_all(folder_); }
  std::string model() const { return folder_ / "model"; }
  std::string path(const std::string& name) const { return folder_ / name; }
  void write(const std::string& name, const std::string& text) { std::ofstream(path(name)) << text; }
  std::vector<Json> read(const std::string& name) {
    std::ifstream file(path(name));
    std::vector<Json> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(Json::parse(line));
    return lines;
  }
  static int run(int (*verb)(int, char**), std::vector<std::string> args) {
    args.insert(args.begin(), "cohort verb");
    std::vector<char*> argv;
    for (std::string& a : args) argv.push_back(a.data());
    return verb(int(argv.size()), argv.data());
  }
  static std::string error_of(int (*verb)(int, char**), std::vector<std::string> args) {
    try {
      run(verb, std::move(args));
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  }
  fs::path folder_;
};

TEST_F(Verbs, GenerateKeepsTheInputsOrderItsFieldsAndItsSeed) {
  std::string lines;
  for (int i = 0; i < 30; ++i)
    lines += fmt::format(
                 "{{\"id\": \"p{}\", \"prompt\": \"{} {} =\", \"answer\": {{\"x\": {}}}, \"index\": 99}}\n",
                 i, i % 10, (i * 3) % 20, i) +
             (i % 7 ? "" : "\n");
  write("in.jsonl", lines);
  const std::vector<std::string> common = {"--model", model(),        "--input", path("in.jsonl"), "--n",
                                           "3",       "--max-tokens", "12",      "--logprobs"};
  auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), common.begin(), common.end());
    return more;
  };
  ASSERT_EQ(run(command_generate, with({"--output", path("a.jsonl"), "--batch", "4"})), 0);
  ASSERT_EQ(run(command_generate, with({"--output", path("b.jsonl"), "--batch", "40"})), 0);
  ASSERT_EQ(run(command_generate, with({"--output", path("c.jsonl"), "--seed", "5"})), 0);
  const std::vector<Json> a = read("a.jsonl");
  ASSERT_EQ(a.size(), 90u);
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i]["id"], fmt::format("p{}", i / 3));
    EXPECT_EQ(a[i]["index"], i % 3);
    EXPECT_EQ(a[i]["answer"]["x"], i / 3);
    EXPECT_FALSE(a[i].contains("prompt"));
    EXPECT_EQ(a[i]["token_ids"].size(), a[i]["logprobs"].size());
    EXPECT_LE(a[i]["token_ids"].size(), 12u);
    const bool stopped = a[i]["token_ids"].back() == 1;
    EXPECT_EQ(a[i]["finish_reason"], stopped ? "stop" : "length");
  }
  EXPECT_EQ(a, read("b.jsonl"));
  EXPECT_NE(a, read("c.jsonl"));
}

TEST_F(Verbs, GenerateNamesTheLineThatIsWrongAfterWritingWhatCameBefore) {
  const std::vector<std::string> args = {"--model",  model(),           "--input",      path("in.jsonl"),
                                         "--output", path("out.jsonl"), "--max-tokens", "4"};
  for (const auto& [bad, why] : std::vector<std::pair<std::string, std::string>>{
           {"{\"prompt\": ", "not a JSON object"},
           {"[1]", "not a JSON object"},
           {"{\"question\": 3}", "neither \"prompt\""},
           {"{\"prompt\": 3}", "must be a string"},
           {"{\"prompt\": \"\"}", "no tokens"},
           {"{\"prompt_ids\": [1, 99]}", "token 99"},
           {"{\"prompt_ids\": [1.5]}", "1.5"},
           {"{\"messages\": [{\"role\": \"user\"}]}", "content"}}) {
    write("in.jsonl", "{\"prompt\": \"1 2 =\"}\n\n" + bad + "\n{\"prompt\": \"1 2 =\"}\n");
    const std::string error = error_of(command_generate, args);
    EXPECT_NE(error.find(path("in.jsonl") + ":3: "), std::string::npos) << error;
    EXPECT_NE(error.find(why), std::string::npos) << error;
    EXPECT_EQ(read("out.jsonl").size(), 1u) << bad;
  }
  EXPECT_NE(error_of(command_generate, {"--model", path("none"), "--prompt", "1"}).find("none"),
            std::string::npos);
  EXPECT_NE(error_of(command_generate, {"--model", model()}).find("--prompt"), std::string::npos);
  EXPECT_NE(error_of(command_generate, {"--model", model(), "--prompt", "1", "--top-p", "2"}).find("--top-p"),
            std::string::npos);
  EXPECT_NE(error_of(command_generate, {"--model", model(), "--prompt", "1", "--output", "/dev/full"})
                .find("/dev/full"),
            std::string::npos);
}

TEST_F(Verbs, ScoreTakesIdsOrTextsAndSaysTheSame) {
  write("in.jsonl",
        "{\"id\": 7, \"prompt\": \"1 2 =\", \"completion\": \"3 + 4\", \"extra\": true}\n"
        "{\"id\": 8, \"prompt_ids\": [14, 15, 12], \"completion_ids\": [16, 9, 17]}\n"
        "{\"prompt_ids\": [14], \"completion_ids\": []}\n");
  ASSERT_EQ(
      run(command_score, {"--model", model(), "--input", path("in.jsonl"), "--output", path("out.jsonl")}),
      0);
  const std::vector<Json> out = read("out.jsonl");
  ASSERT_EQ(out.size(), 3u);
  EXPECT_EQ(out[0]["id"], 7);
  EXPECT_EQ(out[0]["extra"], true);
  EXPECT_FALSE(out[0].contains("completion"));
  EXPECT_EQ(out[0]["logprobs"].size(), 3u);
  EXPECT_EQ(out[0]["logprobs"], out[1]["logprobs"]);
  EXPECT_EQ(out[2]["id"], 3);
  EXPECT_TRUE(out[2]["logprobs"].empty());
  write("in.jsonl", "{\"prompt_ids\": [], \"completion_ids\": [1]}\n");
  EXPECT_NE(error_of(command_score, {"--model", model(), "--input", path("in.jsonl")}).find(":1: "),
            std::string::npos);
  write("in.jsonl", "{\"prompt_ids\": [1], \"completion_ids\": [34]}\n");
  EXPECT_NE(error_of(command_score, {"--model", model(), "--input", path("in.jsonl")}).find("token 34"),
            std::string::npos);
}

// What was sampled at temperature 1 has the log-probs that score gives it.
TEST_F(Verbs, GenerateAndScoreAgree) {
  write("in.jsonl", "{\"id\": 1, \"prompt_ids\": [14, 15, 12]}\n");
  ASSERT_EQ(run(command_generate, {"--model", model(), "--input", path("in.jsonl"), "--output",
                                   path("g.jsonl"), "--logprobs", "--max-tokens", "20"}),
            0);
  const Json g = read("g.jsonl").at(0);
  Json record = {{"prompt_ids", {14, 15, 12}}, {"completion_ids", g["token_ids"]}};
  write("s.jsonl", record.dump() + "\n");
  ASSERT_EQ(run(command_score, {"--model", model(), "--input", path("s.jsonl"), "--output", path("o.jsonl")}),
            0);
  const Json s = read("o.jsonl").at(0);
  ASSERT_EQ(s["logprobs"].size(), g["logprobs"].size());
  for (size_t i = 0; i < s["logprobs"].size(); ++i)
    EXPECT_NEAR(s["logprobs"][i].get<double>(), g["logprobs"][i].get<double>(), 1e-5);
}

TEST_F(Verbs, EvalSumsUpItsCompletions) {
  std::string lines;
  for (int i = 0; i < 20; ++i)
    lines += fmt::format("{{\"id\": {}, \"prompt\": \"1 2 =\", \"numbers\": [1, 2], \"target\": 3}}\n", i);
  write("data.jsonl", lines);
  ::testing::internal::CaptureStdout();
  ASSERT_EQ(run(command_eval, {"--model", model(), "--data", path("data.jsonl"), "--reward", "countdown",
                               "--n", "4", "--k", "2", "--max-tokens", "10", "--output", path("each.jsonl")}),
            0);
  const Json summary = Json::parse(::testing::internal::GetCapturedStdout());
  EXPECT_EQ(summary["n"], 20);
  const std::vector<Json> each = read("each.jsonl");
  ASSERT_EQ(each.size(), 80u);
  double passed = 0;
  size_t tokens = 0;
  for (size_t i = 0; i < each.size(); ++i) {
    EXPECT_EQ(each[i]["id"], i / 4);
    EXPECT_EQ(each[i]["index"], i % 4);
    passed += each[i]["verdict"] == "passed";
    tokens += each[i]["tokens"].get<size_t>();
  }
  EXPECT_NEAR(summary["pass@1"].get<double>(), passed / 80, 1e-12);
  EXPECT_EQ(summary["tokens"], tokens);
  for (const char* key : {"pass@1", "pass@2", "pass@4", "maj@4"}) {
    ASSERT_TRUE(summary.contains(key)) << key;
    const Json& ci = summary[std::string(key) + "_ci95"];
    EXPECT_LE(ci[0].get<double>(), summary[key].get<double>());
    EXPECT_GE(ci[1].get<double>(), summary[key].get<double>());
    EXPECT_LT(ci[0].get<double>(), ci[1].get<double>());
  }
  write("data.jsonl", "{\"prompt\": \"1 2 =\"}\n");
  EXPECT_NE(error_of(command_eval, {"--model", model(), "--data", path("data.jsonl")}).find(":1: "),
            std::string::npos);
  EXPECT_NE(error_of(command_eval, {"--model", model(), "--data", path("data.jsonl"), "--reward", "countdwn"})
                .find("countdwn"),
            std::string::npos);
  EXPECT_NE(
      error_of(command_eval, {"--model", model(), "--data", path("data.jsonl"), "--reward", "countdown"})
          .find("numbers"),
      std::string::npos);
}

TEST(Lines, AreReadFromAPipeAsTheyCome) {
  const std::string path = fs::temp_directory_path() / fmt::format("cohort-fifo-{}", getpid());
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  std::thread writer([&] {
    std::ofstream pipe(path);
    pipe << "{\"a\": 1}\n{\"b\"" << std::flush;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    pipe << ": 2}\n{\"c\": 3}" << std::flush;
  });
  LineReader in(path);
  EXPECT_EQ(in.next(true)->json["a"], 1);
  EXPECT_FALSE(in.next(false));
  EXPECT_FALSE(in.at_end());
  EXPECT_EQ(in.next(true)->json["b"], 2);
  writer.join();
  EXPECT_EQ(in.next(true)->json["c"], 3);  // no newline at the end
  EXPECT_FALSE(in.next(true));
  EXPECT_TRUE(in.at_end());
  fs::remove(path);
}

TEST(Lines, FloatsAreShortAndExact) {
  for (float f : {-0.1f, -1.1920929e-07f, -12.345678f, 0.0f}) {
    EXPECT_EQ(float(shortest(f)), f);
    EXPECT_LE(Json(shortest(f)).dump().size(), 16u);
  }
}

}  // namespace
}  // namespace cohort
