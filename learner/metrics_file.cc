#include "learner/metrics_file.h"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "learner/checkpoint.h"
#include "transport/base/error.h"

namespace cohort {

using nlohmann::ordered_json;

MetricsFile::MetricsFile(std::string path, uint64_t next_step) : path_(std::move(path)) {
  std::filesystem::create_directories(std::filesystem::path(path_).parent_path());
  std::ifstream in(path_);
  std::string kept, line;
  bool dropped = false;
  while (std::getline(in, line)) {
    const ordered_json j =
        ordered_json::parse(line, nullptr, false);  // a line cut short by a kill does not parse
    if (j.is_object() && j.value("step", uint64_t{0}) < next_step)
      kept += line + "\n";
    else
      dropped = true;
  }
  if (dropped) write_file_atomically(path_, kept);
}

void MetricsFile::write(uint64_t step, const std::vector<Metric>& metrics) {
  ordered_json j = {{"step", step}};
  for (const Metric& m : metrics)
    if (std::isfinite(m.value))
      j[m.name] = m.value;
    else
      j[m.name] = nullptr;
  std::ofstream out(path_, std::ios::app);
  out << j.dump() << "\n" << std::flush;
  if (!out) fail("cannot write {}: {}", path_, std::strerror(errno));
}

std::vector<Trained> MetricsFile::since(uint64_t first) const {
  std::vector<Trained> out;
  std::ifstream in(path_);
  for (std::string line; std::getline(in, line);) {
    const ordered_json j = ordered_json::parse(line);
    const auto step = j.at("step").get<uint64_t>();
    if (step < first) continue;
    Trained& trained = out.emplace_back(Trained{static_cast<uint32_t>(step), {}});
    for (const auto& [name, value] : j.items())
      if (name != "step")
        trained.metrics.push_back(
            {name, value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>()});
  }
  return out;
}

}  // namespace cohort
