// cohort data countdown|programs|gsm8k|humaneval: makes or imports prompt sets.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "launch/commands/commands.h"
#include "launch/commands/data_programs.h"
#include "launch/commands/parse.h"
#include "launch/data/countdown.h"
#include "launch/data/imports.h"
#include "launch/data/jsonl.h"
#include "launch/data/word_model.h"
#include "transport/base/error.h"

namespace cohort {
namespace {

using Json = nlohmann::ordered_json;

struct CountdownCommand {
  CountdownOptions task;
  WordModelOptions model;
  std::string output = "runs/countdown";
  size_t train = 0, eval = 512, demonstrations = 24000;

  void declare(CLI::App& app) {
    app.add_option("--output", output, "folder for train.jsonl, eval.jsonl, sft.jsonl and model/")
        ->capture_default_str();
    app.add_option("--max-number", task.max_number, "three distinct numbers from 1 to this")
        ->check(CLI::Range(3, 99));
    app.add_option("--max-value", task.max_value, "every value of a try lies in 1 to this")
        ->check(CLI::Range(3, 9999));
    app.add_option("--hold-out", task.hold_out, "one number set in so many is held out")
        ->check(CLI::Range(2, 1000));
    app.add_option("--train", train, "training problems; 0: all there are")->capture_default_str();
    app.add_option("--eval", eval, "held-out problems; 0: all there are")->capture_default_str();
    app.add_option("--demonstrations", demonstrations, "rows of sft.jsonl")->capture_default_str();
    app.add_option("--seed", task.seed, "of the problems' order and of the demonstrations, not of the split");
    app.add_option("--solving-try", task.solving_try, "how often the teacher's next try is one that solves")
        ->check(CLI::Range(0.0, 1.0));
    app.add_option("--give-up", task.give_up, "how often the teacher gives up after a failed try")
        ->check(CLI::Range(0.0, 1.0));
    app.add_option("--max-tries", task.max_tries, "the teacher gives up after so many")
        ->check(CLI::Range(1, 1000));
    app.add_option("--patient", task.patient,
                   "share of demonstrations whose teacher gives up only after --patient-tries")
        ->check(CLI::Range(0.0, 1.0));
    app.add_option("--patient-tries", task.patient_tries, "see --patient")->check(CLI::Range(1, 1000));
    app.add_flag("--high-low,!--yes-no", task.high_low,
                 "a failed try ends with high or low (default), or with no");
    app.add_option("--layers", model.layers, "of model/")->check(CLI::Range(1, 200));
    app.add_option("--hidden", model.hidden_size, "width")->check(CLI::Range(2, 65536));
    app.add_option("--heads", model.heads, "attention heads")->check(CLI::Range(1, 1024));
    app.add_option("--kv-heads", model.kv_heads, "key and value heads")->check(CLI::Range(1, 1024));
    app.add_option("--intermediate", model.intermediate_size, "SwiGLU width")->check(CLI::Range(1, 262144));
    app.add_option("--max-context", model.max_context, "max_position_embeddings")
        ->check(CLI::Range(16, 1 << 20));
    app.add_option("--init-std", model.init_std, "standard deviation of the random weights")
        ->check(CLI::PositiveNumber);
    for (CLI::Option* option : app.get_options())
      if (option->get_type_size() > 0 && option->get_default_str().empty()) option->capture_default_str();
  }

  std::vector<CountdownProblem> take(bool held_out, size_t wanted, const char* flag) const {
    auto problems = countdown_problems(task, held_out);
    if (problems.empty() || wanted > problems.size())
      fail_usage(
          "{} {}: there are only {} problems on that side of the split; raise --max-number or --max-value, "
          "or change --hold-out",
          flag, wanted, problems.size());
    if (wanted > 0) problems.resize(wanted);
    return problems;
  }

  std::string rows(const std::vector<CountdownProblem>& problems) const {
    std::string text;
    for (const CountdownProblem& p : problems) {
      const Json row = {{"id", p.id()},
                        {"prompt", countdown_prompt(p, task)},
                        {"numbers", p.numbers},
                        {"target", p.target}};
      text += row.dump() + "\n";
    }
    return text;
  }

  int run() const {
    const auto training = take(false, train, "--train"), held_out = take(true, eval, "--eval");
    const auto all = countdown_problems(task, false);
    // As drawing a number set and then one of its tries: problems with the weight of their tries.
    std::vector<double> upto;
    for (const CountdownProblem& p : all)
      upto.push_back((upto.empty() ? 0 : upto.back()) + double(p.solutions) / p.tries);
    Draw draw(task.seed * 0x9e3779b97f4a7c15u + 1);
    std::string sft;
    size_t right = 0, tries = 0, words = 0;
    for (size_t i = 0; i < demonstrations; ++i) {
      const double at = draw.uniform() * upto.back();
      const size_t pick = static_cast<size_t>(std::upper_bound(upto.begin(), upto.end(), at) - upto.begin());
      const Demonstration d = countdown_demonstration(all[std::min(pick, all.size() - 1)], task, draw);
      sft += Json{{"prompt", d.prompt}, {"completion", d.completion}}.dump() + "\n";
      right += d.right, tries += static_cast<size_t>(d.tries);
      words += static_cast<size_t>(std::count(d.completion.begin(), d.completion.end(), ' ')) + 1;
    }
    make_folder(output);
    write_text(output + "/train.jsonl", rows(training));
    write_text(output + "/eval.jsonl", rows(held_out));
    write_text(output + "/sft.jsonl", sft);
    WordModelOptions made = model;
    made.seed = task.seed;
    write_word_model(output + "/model", countdown_words(task), made);
    const double n = static_cast<double>(std::max<size_t>(demonstrations, 1));
    fmt::print("{}/train.jsonl: {} problems of {}\n", output, training.size(), all.size());
    fmt::print("{}/eval.jsonl: {} held-out problems, no number set of theirs is in training\n", output,
               held_out.size());
    fmt::print(
        "{}/sft.jsonl: {} demonstrations, {:.1f} tries and {:.1f} tokens each, right {:.1f}% of the time\n",
        output, demonstrations, double(tries) / n, double(words) / n, 100.0 * double(right) / n);
    fmt::print("{}/model: an untrained Llama of {} layers, width {}\n", output, model.layers,
               model.hidden_size);
    return 0;
  }
};

struct ImportCommand {
  std::string input, output = "-", as = "messages", instruction;
  size_t limit = 0;
  std::vector<std::string> forms = {"messages", "prompt"};

  ImportCommand(std::string default_instruction, bool has_demonstrations)
      : instruction(std::move(default_instruction)) {
    if (has_demonstrations) forms.push_back("demonstrations");
  }

  void declare(CLI::App& app) {
    app.add_option("--input", input, "the set's own JSON lines; .gz is unpacked, - is standard input")
        ->required();
    app.add_option("--output", output, "prompt records; - is standard output")->capture_default_str();
    app.add_option("--as", as,
                   forms.size() > 2 ? "messages (chat), prompt (plain text) or demonstrations (chat with the "
                                      "set's solution, for cohort sft)"
                                    : "messages (chat) or prompt (plain text)")
        ->check(CLI::IsMember(forms))
        ->capture_default_str();
    app.add_option("--instruction", instruction, "follows the problem's text")->capture_default_str();
    app.add_option("--limit", limit, "only the first so many rows; 0: all")->capture_default_str();
  }

  template <class Import>
  int run(const Import& import) const {
    std::string text;
    size_t rows = 0;
    read_jsonl(input, [&](const Json& row, size_t line) {
      if (limit > 0 && rows >= limit) return;
      ++rows;
      text += import(row, line, ImportOptions{as != "prompt", instruction, as == "demonstrations"},
                     fmt::format("{}:{}", input, line))
                  .dump() +
              "\n";
    });
    if (rows == 0) fail("{}: holds no rows", input);
    if (output == "-") {
      fmt::print("{}", text);
    } else {
      if (const auto folder = std::filesystem::path(output).parent_path(); !folder.empty())
        make_folder(folder);
      write_text(output, text);
      fmt::print(stderr, "{}: {} prompts\n", output, rows);
    }
    return 0;
  }
};

}  // namespace

int command_data(int argc, char** argv) {
  CLI::App app("Makes or imports prompt sets.");
  app.require_subcommand(1);
  CountdownCommand countdown;
  countdown.declare(
      *app.add_subcommand("countdown", "three numbers and a target: prompts, demonstrations, a small model"));
  ProgramsCommand programs;
  programs.declare(*app.add_subcommand(
      "programs", "small C programs to write from words: prompts with tests, demonstrations, a small model"));
  ImportCommand gsm8k("Please reason step by step, and put your final answer within \\boxed{}.", true);
  gsm8k.declare(*app.add_subcommand("gsm8k", "openai/grade-school-math: train.jsonl or test.jsonl"));
  ImportCommand humaneval("Complete this function. Answer with the whole function in one ```python block.",
                          false);
  humaneval.declare(*app.add_subcommand("humaneval", "openai/human-eval: HumanEval.jsonl or .jsonl.gz"));
  if (auto code = parse_arguments(app, argc, argv)) return *code;
  if (app.got_subcommand("countdown")) return countdown.run();
  if (app.got_subcommand("programs")) return programs.run();
  if (app.got_subcommand("gsm8k"))
    return gsm8k.run(
        [](const Json& row, size_t line, const ImportOptions& options, const std::string& where) {
          return import_gsm8k(row, fmt::format("gsm8k-{}", line), options, where);
        });
  return humaneval.run([](const Json& row, size_t, const ImportOptions& options, const std::string& where) {
    return import_humaneval(row, options, where);
  });
}

}  // namespace cohort
