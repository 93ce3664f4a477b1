#include "launch/commands/data_programs.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "launch/data/jsonl.h"

namespace cohort {
namespace {

using Json = nlohmann::ordered_json;

std::string rows(const std::vector<ProgramTask>& tasks, const ProgramOptions& options, const char* name) {
  std::string text;
  for (size_t i = 0; i < tasks.size(); ++i) {
    Json tests = Json::array();
    for (const ProgramTest& test : program_tests(tasks[i], options))
      tests.push_back({{"stdin", test.input}, {"stdout", test.output}});
    const Json row = {{"id", fmt::format("{}-{}", name, i)},
                      {"prompt", tasks[i].prompt()},
                      {"language", "c"},
                      {"whole_completion", true},
                      {"driver", kProgramDriver},
                      {"tests", tests},
                      {"limits", {{"cpu_s", 0.5}, {"memory_mb", 64}, {"output_kb", 64}}}};
    text += row.dump() + "\n";
  }
  return text;
}

}  // namespace

void ProgramsCommand::declare(CLI::App& app) {
  app.add_option("--output", output, "folder for train.jsonl, eval.jsonl, sft.jsonl and model/");
  app.add_option("--train", train, "training tasks")->check(CLI::Range(1, 1 << 20));
  app.add_option("--eval", eval, "held-out tasks")->check(CLI::Range(1, 1 << 16));
  app.add_option("--demonstrations", demonstrations, "rows of sft.jsonl");
  app.add_option("--hold-out", task.hold_out, "one task in so many is held out")->check(CLI::Range(2, 1000));
  app.add_option("--slip", task.slip, "how often the teacher gets one lexeme wrong")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--tests", task.tests, "tests of a task: each is one run of the program")
      ->check(CLI::Range(1, 100));
  app.add_option("--cases", task.cases, "inputs of a test")->check(CLI::Range(1, 1000));
  app.add_option("--seed", task.seed, "of the tasks and demonstrations, not of the split");
  app.add_option("--layers", model.layers, "of model/")->check(CLI::Range(1, 200));
  app.add_option("--hidden", model.hidden_size, "width")->check(CLI::Range(2, 65536));
  app.add_option("--heads", model.heads, "attention heads")->check(CLI::Range(1, 1024));
  app.add_option("--kv-heads", model.kv_heads, "key and value heads")->check(CLI::Range(1, 1024));
  app.add_option("--intermediate", model.intermediate_size, "SwiGLU width")->check(CLI::Range(1, 262144));
  for (CLI::Option* option : app.get_options())
    if (option->get_type_size() > 0 && option->get_default_str().empty()) option->capture_default_str();
}

int ProgramsCommand::run() const {
  // demonstrations are of more tasks than training has: a form is learnt from many of its wordings
  const std::vector<ProgramTask> all =
      program_tasks(task, false, std::max<size_t>(train, demonstrations / 4 + 1));
  Draw draw(task.seed * 0x9e3779b97f4a7c15u + 2);
  std::string sft;
  size_t right = 0, words = 0;
  for (size_t i = 0; i < demonstrations; ++i) {
    const ProgramTask& shown = all[draw.below(all.size())];
    const ProgramDemonstration d = program_demonstration(shown, task.slip, draw);
    sft += Json{{"prompt", shown.prompt()}, {"completion", d.completion}}.dump() + "\n";
    right += d.slips == 0;
    words += static_cast<size_t>(std::count(d.completion.begin(), d.completion.end(), ' ')) + 1;
  }
  make_folder(output);
  write_text(output + "/train.jsonl",
             rows({all.begin(), all.begin() + static_cast<long>(train)}, task, "train"));
  write_text(output + "/eval.jsonl", rows(program_tasks(task, true, eval), task, "eval"));
  write_text(output + "/sft.jsonl", sft);
  WordModelOptions made = model;
  made.seed = task.seed;
  write_word_model(output + "/model", program_words(), made);
  const double n = static_cast<double>(std::max<size_t>(demonstrations, 1));
  fmt::print("{}/train.jsonl: {} tasks\n{}/eval.jsonl: {} held-out tasks, none of which is in training\n",
             output, train, output, eval);
  fmt::print("{}/sft.jsonl: {} demonstrations, {:.1f} tokens each, without a slip {:.1f}% of the time\n",
             output, demonstrations, double(words) / n, 100.0 * double(right) / n);
  fmt::print("{}/model: an untrained Llama of {} layers, width {}\n", output, model.layers,
             model.hidden_size);
  return 0;
}

}  // namespace cohort
