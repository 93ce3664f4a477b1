// cohort sft RUN.toml: supervised fine-tuning by the learner's ranks alone.
#include <signal.h>

#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <fstream>

#include "actors/guard.h"
#include "actors/supervisor.h"
#include "launch/commands/commands.h"
#include "launch/commands/parse.h"
#include "launch/front.h"
#include "launch/run_config.h"
#include "launch/train/children.h"

namespace cohort {
namespace {

using namespace std::chrono_literals;

// Prints what was added to the log since the last call.
class LogTail {
 public:
  explicit LogTail(const std::string& path) : file_(path, std::ios::binary) { file_.seekg(0, std::ios::end); }
  void show() {
    file_.clear();
    std::string text{std::istreambuf_iterator<char>(file_), {}};
    if (!text.empty()) fmt::print("{}", text), std::fflush(stdout);
  }

 private:
  std::ifstream file_;
};

}  // namespace

int command_sft(int argc, char** argv) {
  CLI::App app(
      "Supervised fine-tuning on JSON lines of {prompt, completion} or {messages}: the [sft] part of the run "
      "file.");
  std::string path;
  std::vector<std::string> set;
  bool quiet = false;
  app.add_option("run_file", path, "the run file (TOML); launch/recipes/countdown_sft.toml is one")
      ->required();
  app.add_option("--set", set, "section.key=value: overrides a key of the run file; may be repeated")
      ->expected(1)
      ->take_all();
  app.add_flag("--quiet", quiet, "only errors; the log is RUN_DIR/logs/sft.log");
  if (auto code = parse_arguments(app, argc, argv)) return *code;

  sibling_program("cohort-learner");
  const RunConfig config = read_run_config(path, set, Purpose::sft);
  const RunFolder folder(config, Purpose::sft);
  Supervisor supervisor(
      {.log_dir = folder.log_dir(), .guard = sibling_program("cohort"), .environment = quiet_environment()});
  std::ofstream(supervisor.log_path("sft"), std::ios::app);  // so that the tail can open it
  LogTail tail(supervisor.log_path("sft"));
  const auto model = [file = (config.sft.output.empty() ? config.run.dir + "/sft" : config.sft.output) +
                             "/config.json"] {  // changes when a model is written
    struct stat info {};
    return stat(file.c_str(), &info) == 0 ? std::pair(info.st_ino, info.st_mtim.tv_nsec)
                                          : std::pair<ino_t, long>();
  };
  const auto model_before = model();
  supervisor.start(sft_child(config, folder));
  int told = 0;
  while (true) {
    const auto ends = supervisor.wait(200ms);
    if (!quiet) tail.show();
    for (const ChildEnd& end : ends) {
      if (end.exit_code == 0 && (told == 0 || model() != model_before)) return 0;  // it had just finished
      if (told > 0) fail("stopped; the same command goes on from the last checkpoint");
      throw Error(end.error.empty() ? end.text() + ": see " + supervisor.log_path("sft") : end.error,
                  end.exit_code == Error::kBadUsage ? Error::kBadUsage : Error::kFailed);
    }
    if (supervisor.interrupts() > told && ++told == 1)
      supervisor.send("sft", kOrderedEnd);  // mpirun passes it on to the ranks
    if (supervisor.interrupts() > 1) fail("stopped at once");
  }
}

}  // namespace cohort
