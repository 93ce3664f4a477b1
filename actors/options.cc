#include "actors/options.h"

#include <algorithm>

namespace cohort {
namespace {
// Of another component's section; absent sections are empty. Ranges are checked by that component as well.
template <class T, class Get>
void take(const TomlTable& table, const char* key, T& out, double low, double high, Get get) {
  const auto value = (table.*get)(key);
  if (!value) return;
  if (static_cast<double>(*value) < low || static_cast<double>(*value) > high)
    fail_usage("{} = {} must be from {} to {}", table.where(key), *value, low, high);
  out = static_cast<T>(*value);
}
}  // namespace

CoordinatorConfig read_coordinator_config(const TomlTable& table, const std::string& toml) {
  CoordinatorConfig config;
  config.toml = toml;
  auto section = [&](const char* name) { return table.get_table(name).value_or(TomlTable()); };
  read_options(section("run"), config.run);
  read_options(section("data"), config.data);
  read_options(section("async"), config.async);
  read_options(section("coordinator"), config.coordinator);
  if (config.data.train.empty())
    fail_usage("{} is missing: the file of training prompts", table.where("data.train"));
  if (config.async.weight_sync_steps > config.async.max_staleness + 1)
    fail_usage(
        "{} = {} must be at most max_staleness + 1 = {}: workers would hold weights that may not be trained "
        "on any more",
        section("async").where("weight_sync_steps"), config.async.weight_sync_steps,
        config.async.max_staleness + 1);

  const TomlTable rollout = section("rollout");
  constexpr double kMany = 1 << 30;
  SamplingParams& s = config.sampling;
  take(rollout, "num_generations", config.num_generations, 1, 65535, &TomlTable::get_int);
  take(rollout, "temperature", s.temperature, 0, 100, &TomlTable::get_double);
  take(rollout, "top_p", s.top_p, 0, 1, &TomlTable::get_double);
  take(rollout, "top_k", s.top_k, 0, kMany, &TomlTable::get_int);
  take(rollout, "min_p", s.min_p, 0, 1, &TomlTable::get_double);
  take(rollout, "max_new_tokens", s.max_tokens, 1, kMany, &TomlTable::get_int);
  s.stop = rollout.get_strings("stop").value_or(std::vector<std::string>{});
  for (double id : rollout.get_doubles("stop_token_ids").value_or(std::vector<double>{}))
    s.stop_token_ids.push_back(static_cast<int32_t>(id));
  s.ignore_eos = rollout.get_bool("ignore_eos").value_or(false);
  s.seed = static_cast<uint64_t>(config.run.seed);

  const TomlTable grpo = section("grpo");
  take(grpo, "mini_batches", config.mini_batches, 1, kMany, &TomlTable::get_int);
  const TomlTable overlong = grpo.get_table("overlong_buffer").value_or(TomlTable());
  read_options(overlong, config.overlong);
  config.overlong.check(s.max_tokens, overlong.where("len"));
  return config;
}

}  // namespace cohort
