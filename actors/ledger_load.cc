#include "actors/ledger_load.h"

#include <fmt/core.h>
#include <toml++/toml.h>

#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <sstream>

#include "transport/base/error.h"

namespace cohort {
namespace {

void flatten(const toml::node& node, const std::string& name, std::map<std::string, std::string>& out) {
  if (const toml::table* table = node.as_table()) {
    for (const auto& [key, value] : *table)
      flatten(value, name.empty() ? std::string(key.str()) : name + "." + std::string(key.str()), out);
  } else if (const toml::array* array = node.as_array()) {
    for (size_t i = 0; i < array->size(); ++i) flatten(*array->get(i), fmt::format("{}[{}]", name, i), out);
  } else {
    std::ostringstream text;
    // 1 and 1.0 are the same value to every option
    if (auto number = node.value<double>(); number && !node.is_boolean())
      text << *number;
    else
      node.visit([&](const auto& value) {
        if constexpr (toml::is_value<decltype(value)>) text << value;
      });
    out[name] = text.str();
  }
}

std::map<std::string, std::string> flat_toml(const std::string& text) {
  std::map<std::string, std::string> out;
  try {
    flatten(toml::parse(text), "", out);
  } catch (const toml::parse_error& e) {
    fail("the run file kept in the ledger does not parse: {}", std::string(e.description()));
  }
  return out;
}

// What may change between two starts of a run: how long, how fast, where, how often it is evaluated; not what is
// learnt. docs/ledger.md has the list for users.
bool may_change(const std::string& key) {
  static const std::set<std::string> sections = {"coordinator", "grading", "sft",       "quickstart",
                                                 "report",      "launch",  "supervisor"};
  static const std::set<std::string> keys = {"run.dir",
                                             "run.total_steps",
                                             "run.save_steps",
                                             "run.eval_steps",
                                             "run.eval_prompts",
                                             "run.eval_samples",
                                             "rollout.workers",
                                             "rollout.max_num_seqs",
                                             "rollout.threads",
                                             "rollout.device",
                                             "learner.ranks",
                                             "learner.threads",
                                             "learner.device",
                                             "learner.micro_batch_tokens",
                                             "learner.keep_checkpoints",
                                             "async.max_concurrent_rollouts",
                                             "async.max_num_gen_batches"};
  // where a reward's helpers are, how patiently they are waited for, and what they may cost
  static const std::set<std::string> of_rewards = {"base_url",     "api_key_env",   "cache",
                                                   "concurrency",  "timeout_s",     "patience_s",
                                                   "budget_calls", "budget_tokens", "instances"};
  if (const size_t at = key.find("]."); key.starts_with("reward[") && at != std::string::npos)
    return of_rewards.contains(key.substr(at + 2));
  return keys.contains(key) || sections.contains(key.substr(0, key.find('.')));
}

std::string meta(Database& db, const char* key) {
  Statement q(db, "SELECT value FROM meta WHERE key=?");
  const std::vector<Value> name = {std::string(key)};  // bound, not copied
  q.bind(name);
  return q.step() ? q.text(0) : "";
}

void put_meta(Database& db, const std::string& key, const std::string& value) {
  const std::vector<Value> values = {key, value};
  Statement q(db, kStatements[static_cast<size_t>(Stmt::put_meta)]);
  q.bind(values).run();
}

StoredGroup read_group(Statement& q) {
  StoredGroup g;
  g.group = static_cast<GroupId>(q.integer(0));
  g.split = q.text(1);
  g.line = static_cast<uint64_t>(q.integer(2));
  g.draw = static_cast<uint64_t>(q.integer(3));
  g.eval_version = q.null(4) ? -1 : q.integer(4);
  g.size = static_cast<uint32_t>(q.integer(5));
  g.birth = static_cast<Version>(q.integer(6));
  g.state = q.text(7);
  g.ready_order = static_cast<uint64_t>(q.integer(8));
  g.prompt_ids = q.array<int32_t>(9);
  return g;
}
constexpr const char* kGroupColumns =
    "g.group_id,g.split,g.line,g.draw,g.eval_version,g.size,g.birth,g.state,g.ready_order,g.prompt_ids";

void load_completions(Database& db, StoredGroup& group) {
  const std::vector<Value> id = {static_cast<int64_t>(group.group)};
  std::map<uint32_t, uint32_t> attempts;
  Statement errors(db, "SELECT idx, MAX(attempt) FROM infra_errors WHERE group_id=? GROUP BY idx");
  errors.bind(id);
  while (errors.step())
    attempts[static_cast<uint32_t>(errors.integer(0))] = static_cast<uint32_t>(errors.integer(1));
  Statement q(db,
              "SELECT idx,tokens,logprobs,versions,text,finish_reason,seconds,reward FROM completions WHERE "
              "group_id=? "
              "ORDER BY idx");
  q.bind(id);
  while (q.step()) {
    StoredCompletion c;
    c.data.group = group.group;
    c.data.index = static_cast<uint32_t>(q.integer(0));
    c.data.token_ids = q.array<int32_t>(1);
    c.data.logprobs = q.array<float>(2);
    c.data.versions = versions_from_json(q.text(3));
    c.data.text = q.text(4);
    c.data.finish_reason = q.text(5);
    c.data.seconds = q.real(6);
    c.graded = !q.null(7);
    c.reward = q.real(7);
    c.attempts = attempts[c.data.index];
    group.completions.emplace_back(c.data.index, std::move(c));
  }
  Statement v(db,
              "SELECT idx,name,weight,kind,score,reason,evidence,hash FROM verdicts WHERE group_id=? ORDER "
              "BY idx,part");
  v.bind(id);
  while (v.step()) {
    const auto index = static_cast<uint32_t>(v.integer(0));
    for (auto& [i, c] : group.completions)
      if (i == index)
        c.parts.push_back({v.text(1),
                           v.real(2),
                           {verdict_kind_from(v.text(3)), v.real(4), v.text(5), v.text(6), v.text(7)}});
  }
}

}  // namespace

std::string config_difference(const std::string& old_toml, const std::string& new_toml) {
  const auto before = flat_toml(old_toml), after = flat_toml(new_toml);
  std::set<std::string> keys;
  for (const auto& [key, value] : before) keys.insert(key);
  for (const auto& [key, value] : after) keys.insert(key);
  for (const std::string& key : keys) {
    if (may_change(key)) continue;
    auto text = [&](const std::map<std::string, std::string>& m) {
      auto it = m.find(key);
      return it == m.end() ? std::string("not set") : it->second;
    };
    if (text(before) != text(after))
      return fmt::format("{} is {} there and {} here", key, text(before), text(after));
  }
  return "";
}

std::string versions_json(const std::vector<VersionRun>& versions) {
  std::string out = "[";
  for (const VersionRun& run : versions)
    out += fmt::format("{}[{},{}]", out.size() > 1 ? "," : "", run.version, run.count);
  return out + "]";
}

std::vector<VersionRun> versions_from_json(const std::string& text) {
  std::vector<VersionRun> out;
  for (const auto& pair : nlohmann::json::parse(text))
    out.push_back({pair.at(0).get<Version>(), pair.at(1).get<uint32_t>()});
  return out;
}

void open_run(Database& db, const RunIdentity& identity, LedgerState& state) {
  Statement tables(db, "SELECT COUNT(*) FROM sqlite_master");
  tables.step();
  const bool fresh = tables.integer(0) == 0;
  tables.reset();
  db.run("BEGIN IMMEDIATE");
  if (fresh) {
    db.run(kSchemaSql);
    std::random_device random;
    put_meta(db, "schema", std::to_string(kSchemaVersion));
    put_meta(db, "run_name", identity.name);
    put_meta(db, "run_id", fmt::format("{}-{:08x}{:08x}", identity.name, random(), random()));
    put_meta(db, "config", identity.config_toml);
    put_meta(db, "train_hash", identity.train_hash);
    put_meta(db, "epoch", "0");
  }
  auto refuse = [&](const std::string& why) {
    sqlite3_exec(db.get(), "ROLLBACK", nullptr, nullptr, nullptr);
    fail("{}: {}", db.path(), why);
  };
  if (!fresh) {
    const std::string schema = meta(db, "schema"), name = meta(db, "run_name");
    if (schema != std::to_string(kSchemaVersion))
      refuse(
          fmt::format("has schema {} and this build writes {}; use the build that made it or another run.dir",
                      schema, kSchemaVersion));
    if (name != identity.name)
      refuse(
          fmt::format("the folder belongs to another run (run.name \"{}\", here \"{}\"); use another run.dir",
                      name, identity.name));
    if (const std::string what = config_difference(meta(db, "config"), identity.config_toml); !what.empty())
      refuse(
          fmt::format("the folder belongs to another configuration: {}; change it back or use another "
                      "run.dir (docs/ledger.md "
                      "lists the keys that may change)",
                      what));
    if (meta(db, "train_hash") != identity.train_hash)
      refuse("data.train was changed since the run began; put the old file back or use another run.dir");
    put_meta(db, "config", identity.config_toml);
  }
  state.run_id = meta(db, "run_id");
  state.epoch = std::stoull(meta(db, "epoch")) + 1;
  put_meta(db, "epoch", std::to_string(state.epoch));
  db.run("COMMIT");
}

void load_state(Database& db, LedgerState& state) {
  auto number = [&](const char* sql) {
    Statement q(db, sql);
    q.step();
    return q.integer(0);
  };
  state.next_group = static_cast<GroupId>(number("SELECT COALESCE(MAX(group_id),0)+1 FROM groups"));
  state.next_draw =
      static_cast<uint64_t>(number("SELECT COALESCE(MAX(draw),-1)+1 FROM groups WHERE eval_version IS NULL"));
  state.ready_order = static_cast<uint64_t>(number("SELECT COALESCE(MAX(ready_order),0) FROM groups"));
  state.next_step = static_cast<uint32_t>(number("SELECT COALESCE(MAX(step),-1)+1 FROM batches"));
  state.trained_steps =
      static_cast<uint32_t>(number("SELECT COALESCE(MAX(step),-1)+1 FROM metrics WHERE name='trained'"));
  state.checkpointed = static_cast<uint32_t>(number("SELECT COALESCE(MAX(next_step),0) FROM checkpoints"));
  Statement groups(
      db,
      fmt::format(
          "SELECT {} FROM groups g WHERE g.state IN ('open','ready') "
          "OR (g.eval_version IS NOT NULL AND g.state!='abandoned' AND g.eval_version NOT IN (SELECT version "
          "FROM evals)) ORDER BY g.group_id",
          kGroupColumns)
          .c_str());
  while (groups.step()) state.open.push_back(read_group(groups));
  for (StoredGroup& group : state.open) load_completions(db, group);
  Statement evals(db, "SELECT version,pass_at_1,low,high,reward_mean FROM evals ORDER BY version");
  while (evals.step())
    state.evals.push_back(
        {static_cast<Version>(evals.integer(0)), evals.real(1), evals.real(2), evals.real(3), evals.real(4)});
  Statement spent(db, "SELECT substr(key,7),value FROM meta WHERE key LIKE 'spent/%'");
  while (spent.step()) {
    auto& [calls, tokens] = state.spent[spent.text(0)];
    std::istringstream(spent.text(1)) >> calls >> tokens;
  }
}

std::vector<StoredGroup> load_batch(Database& db, uint32_t step) {
  std::vector<StoredGroup> out;
  Statement q(
      db,
      fmt::format(
          "SELECT {} FROM batch_groups b JOIN groups g USING(group_id) WHERE b.step=? ORDER BY b.position",
          kGroupColumns)
          .c_str());
  const std::vector<Value> at = {static_cast<int64_t>(step)};
  q.bind(at);
  while (q.step()) out.push_back(read_group(q));
  for (StoredGroup& group : out) load_completions(db, group);
  return out;
}

}  // namespace cohort
