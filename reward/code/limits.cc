#include "reward/code/limits.h"

#include <fmt/core.h>

#include <algorithm>

namespace cohort::code {

sandbox::Limits to_limits(const CodeLimits& o) {
  sandbox::Limits limits;
  limits.wall_s = o.wall_s;
  limits.cpu_s = o.cpu_s;
  limits.memory_bytes = static_cast<int64_t>(o.memory_mb) << 20;
  limits.output_bytes = static_cast<int64_t>(o.output_kb) << 10;
  limits.file_bytes = static_cast<int64_t>(o.file_mb) << 20;
  limits.processes = o.processes;
  return limits;
}

CodeLimits record_limits(const nlohmann::json& record, CodeLimits limits) {
  const auto own = record.find("limits");
  if (own == record.end()) return limits;
  if (!own->is_object()) throw InfraError("the record's field \"limits\" must be an object");
  std::vector<std::string> known;
  auto number = [&](const char* key, double low, double high, auto& field) {
    known.emplace_back(key);
    const auto it = own->find(key);
    if (it == own->end()) return;
    if (!it->is_number() || it->template get<double>() < low || it->template get<double>() > high)
      throw InfraError(fmt::format("the record's limits.{} must be a number from {} to {}", key, low, high));
    field = it->template get<std::decay_t<decltype(field)>>();
  };
  number("wall_s", 0.01, 3600, limits.wall_s);
  number("cpu_s", 0.01, 3600, limits.cpu_s);
  number("memory_mb", 1, 1 << 20, limits.memory_mb);
  number("output_kb", 1, 1 << 20, limits.output_kb);
  number("file_mb", 1, 1 << 16, limits.file_mb);
  number("processes", 1, 4096, limits.processes);
  for (const auto& [key, value] : own->items())
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      const std::string near = nearest_name(key, known);
      throw InfraError(fmt::format("the record's limits.{}: no such limit{}", key,
                                   near.empty() ? "" : "; did you mean \"" + near + "\"?"));
    }
  return limits;
}

}  // namespace cohort::code
