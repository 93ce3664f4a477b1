// cohort report RUN_DIR: a self-contained HTML page.
#include <CLI/CLI.hpp>

#include "launch/commands/commands.h"
#include "launch/commands/parse.h"
#include "launch/data/jsonl.h"
#include "launch/report/page.h"

namespace cohort {

int command_report(int argc, char** argv) {
  CLI::App app(
      "Writes a self-contained HTML page of a run: reward, held-out accuracy, response length, staleness, "
      "time per side.");
  std::string folder, output;
  size_t samples = 5;
  app.add_option("run_dir", folder, "the run folder")->required();
  app.add_option("--output", output, "the page; default RUN_DIR/report.html, - for standard output");
  app.add_option("--samples", samples, "completions to show")->capture_default_str();
  if (auto code = parse_arguments(app, argc, argv)) return *code;
  const std::string page = report_page(read_run(folder, samples));
  if (output == "-") return fmt::print("{}", page), 0;
  if (output.empty()) output = folder + "/report.html";
  write_text(output, page);
  fmt::print("{}\n", output);
  return 0;
}

}  // namespace cohort
