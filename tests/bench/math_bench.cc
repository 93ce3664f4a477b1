// Throughput of the math grader on files of {"id", "gold", "response"}:
//   math_bench FILE.jsonl… [--threads N] [--repeats N] [--verdicts OUT.jsonl] [--json]
// A Markdown row a file: checks a second (median and range of the repeats) and the time of single checks; with --json
// one object a file. The peer's side is math_verify_bench.py, which writes such files.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "reward/math/math_grader.h"
#include "transport/base/error.h"
#include "transport/base/measure.h"

namespace {

using Clock = std::chrono::steady_clock;
using cohort::seconds_since;

struct Job {
  std::string id, gold, response;
  cohort::GradeInput input;
};

std::vector<Job> read(const std::string& path) {
  std::ifstream in(path);
  if (!in) throw cohort::Error(fmt::format("cannot read {}", path));
  std::vector<Job> out;
  for (std::string line; std::getline(in, line);) {
    const nlohmann::json row = nlohmann::json::parse(line);
    Job job{row["id"].dump(), row["gold"], row["response"], {}};
    job.input.record_json = nlohmann::json{{"gold", job.gold}}.dump();
    job.input.completion = job.response;
    out.push_back(std::move(job));
  }
  return out;
}

double quantile(std::vector<double> v, double q) {
  std::sort(v.begin(), v.end());
  return v.empty() ? 0 : v[static_cast<size_t>(q * static_cast<double>(v.size() - 1))];
}

int run(int argc, char** argv) {
  std::vector<std::string> files;
  unsigned threads = 1;
  int repeats = 5;
  std::string verdicts;
  bool as_json = false;
  for (int i = 1; i < argc; ++i) {
    auto value = [&] { return i + 1 < argc ? argv[++i] : ""; };
    if (!std::strcmp(argv[i], "--threads"))
      threads = static_cast<unsigned>(std::atoi(value()));
    else if (!std::strcmp(argv[i], "--repeats"))
      repeats = std::atoi(value());
    else if (!std::strcmp(argv[i], "--verdicts"))
      verdicts = value();
    else if (!std::strcmp(argv[i], "--json"))
      as_json = true;
    else
      files.emplace_back(argv[i]);
  }
  std::ofstream out;
  if (!verdicts.empty()) out.open(verdicts);
  const std::unique_ptr<cohort::Grader> grader = cohort::make_math_grader({});
  const std::atomic<bool> go_on = false;
  if (!as_json)
    fmt::print(
        "| answers | checks | threads | checks/s (of the repeats) | per CPU second | one check, median | p99 "
        "| slowest "
        "|\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- |\n");
  for (const std::string& file : files) {
    const std::vector<Job> jobs = read(file);
    std::vector<double> single;  // microseconds of one grade_math
    for (const Job& job : jobs) {
      const Clock::time_point began = Clock::now();
      const cohort::Verdict v = cohort::grade_math(job.gold, job.response, {});
      single.push_back(1e6 * seconds_since(began));
      if (out.is_open())
        out << "{\"file\":" << nlohmann::json(file).dump() << ",\"id\":" << job.id << ",\"verdict\":\""
            << cohort::to_string(v.kind) << "\",\"reason\":" << nlohmann::json(v.reason).dump()
            << ",\"evidence\":" << v.evidence << "}\n";
    }
    // the whole grader as a worker calls it: record parsed, verdict hashed
    const size_t rounds = std::max<size_t>(1, 40000 / std::max<size_t>(1, jobs.size()));
    std::vector<double> rates,
        cpu_rates;  // of wall time; of processor time, which other work does not change
    for (int r = 0; r < repeats; ++r) {
      const Clock::time_point began = Clock::now();
      const std::clock_t cpu = std::clock();
      std::vector<std::thread> pool;
      for (unsigned t = 0; t < threads; ++t)
        pool.emplace_back([&, t] {
          for (size_t round = 0; round < rounds; ++round)
            for (size_t i = t; i < jobs.size(); i += threads) grader->grade(jobs[i].input, go_on);
        });
      for (std::thread& t : pool) t.join();
      cpu_rates.push_back(static_cast<double>(rounds * jobs.size()) * CLOCKS_PER_SEC /
                          static_cast<double>(std::clock() - cpu));
      rates.push_back(static_cast<double>(rounds * jobs.size()) / seconds_since(began));
    }
    if (as_json) {
      fmt::print("{}\n", nlohmann::json{{"file", file},
                                        {"checks", jobs.size()},
                                        {"threads", threads},
                                        {"checks_per_s", quantile(rates, 0.5)},
                                        {"checks_per_s_range", {quantile(rates, 0), quantile(rates, 1)}},
                                        {"checks_per_cpu_s", quantile(cpu_rates, 0.5)},
                                        {"us_median", quantile(single, 0.5)},
                                        {"us_p99", quantile(single, 0.99)},
                                        {"us_max", quantile(single, 1)}}
                             .dump());
    } else {
      fmt::print("| {} | {} | {} | {:.0f} ({:.0f}–{:.0f}) | {:.0f} | {:.1f} µs | {:.1f} µs | {:.1f} µs |\n",
                 std::filesystem::path(file).stem().string(), jobs.size(), threads, quantile(rates, 0.5),
                 quantile(rates, 0), quantile(rates, 1), quantile(cpu_rates, 0.5), quantile(single, 0.5),
                 quantile(single, 0.99), quantile(single, 1));
      std::fflush(stdout);
    }
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& e) {
    fmt::print(stderr, "math_bench: {}\n", e.what());
    return 1;
  }
}
