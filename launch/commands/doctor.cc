// cohort doctor: what this machine offers.
#include <curl/curl.h>
#include <dlfcn.h>
#include <sched.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "launch/commands/commands.h"
#include "launch/commands/parse.h"
#include "reward/sandbox/inspect.h"

namespace cohort {
namespace {

struct Finding {
  std::string what, found;
  bool good = true, needed = false;  // needed: training on this machine's CPU does not work without it
};

// First line of the command's output; "" when it does not run.
std::string first_line(const std::string& command) {
  FILE* pipe = popen(("{ " + command + "; } 2>/dev/null").c_str(), "r");
  if (!pipe) return "";
  char buffer[512] = {};
  const bool got = fgets(buffer, sizeof buffer, pipe) != nullptr;
  while (fgetc(pipe) != EOF) {
  }
  pclose(pipe);
  std::string line = got ? buffer : "";
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
  return line;
}

std::string field(const std::string& file, const std::string& key) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(key)) {
      const size_t at = line.find_first_not_of(": \t", key.size());
      return at == std::string::npos ? "" : line.substr(at);
    }
  return "";
}

double gib_of_kb(const std::string& text) {
  return std::strtod(text.c_str(), nullptr) / (1 << 20);
}

Finding cpu() {
  cpu_set_t set;
  const int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
  const std::string flags = " " + field("/proc/cpuinfo", "flags") + " ";
  std::string vector;
  for (const char* name : {"avx2", "avx512f", "avx512_bf16", "amx_bf16"})
    if (flags.find(std::string(" ") + name + " ") != std::string::npos) vector += std::string(" ") + name;
  return {"CPU",
          fmt::format("{} cores, {};{}", cores, field("/proc/cpuinfo", "model name"),
                      vector.empty() ? " no AVX2" : vector),
          !vector.empty()};
}

Finding memory() {
  const double available = gib_of_kb(field("/proc/meminfo", "MemAvailable")),
               total = gib_of_kb(field("/proc/meminfo", "MemTotal"));
  std::string limit;
  for (const char* file : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    std::ifstream in(file);
    double bytes = 0;
    if (in >> bytes && bytes / (1 << 30) < total)
      limit = fmt::format(", limited to {:.1f} by its cgroup", bytes / (1 << 30));
  }
  return {"memory", fmt::format("{:.1f} of {:.1f} GiB free{}", available, total, limit), available > 2};
}

Finding disk() {
  std::error_code error;
  const auto space = std::filesystem::space(".", error);
  const double gib = error ? 0 : static_cast<double>(space.available) / (1 << 30);
  return {"disk", fmt::format("{:.1f} GiB free here", gib), gib > 2};
}

// A jail is made and used: what is told is what programs will really meet.
std::vector<Finding> sandbox_offers() {
  std::vector<Finding> out;
  for (const sandbox::Offer& offer : sandbox::inspect())
    out.push_back(
        {"sandbox: " + offer.what,
         offer.lost.empty() ? offer.found : fmt::format("{}. Lost: {}", offer.found, offer.lost),
         offer.lost.empty()});
  return out;
}

Finding gpus() {
  const std::string name =
      first_line("nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader");
  const std::string count = first_line("nvidia-smi --list-gpus | wc -l");
  return {"GPUs", name.empty() ? "none" : count + " x " + name};
}

Finding program(const std::string& what, const std::string& command, bool needed = false) {
  const std::string line = first_line(command);
  return {what, line.empty() ? "not found" : line, !line.empty(), needed};
}

Finding nccl() {
  for (const char* name : {"libnccl.so.2", "libnccl.so"})
    if (void* library = dlopen(name, RTLD_LAZY)) {
      int version = 0;
      if (auto get = reinterpret_cast<int (*)(int*)>(dlsym(library, "ncclGetVersion"))) get(&version);
      return {"NCCL", fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100)};
    }
  return {"NCCL", "none"};
}

// "libcurl/7.88.1" of all that it lists.
std::string first_word(const std::string& text) {
  return text.substr(0, text.find(' '));
}

std::vector<Finding> own_programs() {
  const auto folder = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  std::vector<Finding> out;
  for (const char* name : {"cohort-coordinator", "cohort-rollout", "cohort-reward", "cohort-learner"}) {
    const std::string path = folder / name;
    const bool runs = access(path.c_str(), X_OK) == 0 && !first_line("'" + path + "' --help").empty();
    out.push_back({name, runs ? path : path + " does not run: build it with launch/bootstrap", runs, true});
  }
  return out;
}

}  // namespace

int command_doctor(int argc, char** argv) {
  CLI::App app("Shows what this machine offers. Exit code 1 when training on its CPU would not work.");
  if (auto code = parse_arguments(app, argc, argv)) return *code;
  std::vector<Finding> findings = {cpu(),
                                   memory(),
                                   disk(),
                                   gpus(),
                                   nccl(),
                                   {"libcurl", first_word(curl_version()) + ", for judges' endpoints"},
                                   program("MPI", "mpirun --version", true),
                                   program("C++ compiler", "g++ --version"),
                                   program("C compiler", "gcc --version"),
                                   program("Python", "python3 --version")};
  const Finding nvcc = program("CUDA compiler", "nvcc --version | tail -1");
  findings.push_back({nvcc.what, nvcc.found});
  for (Finding& f : sandbox_offers()) findings.push_back(std::move(f));
  for (Finding& f : own_programs()) findings.push_back(std::move(f));
  bool well = true;
  for (const Finding& f : findings) {
    fmt::print("{} {:<28} {}\n", f.good ? "   " : f.needed ? "NO " : " - ", f.what, f.found);
    well &= f.good || !f.needed;
  }
  fmt::print("{}\n", well ? "This machine can train."
                          : "This machine cannot train: see the lines that begin with NO.");
  return well ? 0 : 1;
}

}  // namespace cohort
