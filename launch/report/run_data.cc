#include "launch/report/run_data.h"

#include <sqlite3.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>

#include "launch/data/jsonl.h"
#include "transport/base/error.h"

namespace cohort {
namespace {

using Json = nlohmann::json;

// A read-only view. It takes no lock that a running coordinator would wait for: the ledger is in WAL mode.
class View {
 public:
  explicit View(const std::string& path) : path_(path) {
    if (!std::filesystem::exists(path)) fail("{}: there is no ledger; is this a run folder?", path);
    if (sqlite3_open_v2(path.c_str(), &db_, SQLITE_OPEN_READONLY, nullptr) != SQLITE_OK) complain();
    sqlite3_busy_timeout(db_, 5000);
  }
  ~View() { sqlite3_close_v2(db_); }
  View(const View&) = delete;

  void each(const char* sql, const std::function<void(sqlite3_stmt*)>& row) {
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v2(db_, sql, -1, &statement, nullptr) != SQLITE_OK) complain();
    std::unique_ptr<sqlite3_stmt, int (*)(sqlite3_stmt*)> owner(statement, sqlite3_finalize);
    int code;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) row(statement);
    if (code != SQLITE_DONE) complain();
  }
  int64_t one(const char* sql) {
    int64_t out = 0;
    each(sql, [&](sqlite3_stmt* s) { out = sqlite3_column_int64(s, 0); });
    return out;
  }

 private:
  [[noreturn]] void complain() { fail("{}: cannot be read: {}", path_, sqlite3_errmsg(db_)); }
  std::string path_;
  sqlite3* db_ = nullptr;
};

std::string text(sqlite3_stmt* s, int column) {
  const unsigned char* t = sqlite3_column_text(s, column);
  return t ? reinterpret_cast<const char*>(t) : "";
}

std::string prompt_text(const std::string& record) {
  const Json json = Json::parse(record, nullptr, false);
  if (!json.is_object()) return record;
  if (json.contains("prompt") && json["prompt"].is_string()) return json["prompt"];
  std::string out;
  if (json.contains("messages") && json["messages"].is_array())
    for (const Json& m : json["messages"]) out += m.value("role", "") + ": " + m.value("content", "") + "\n";
  return out;
}

void read_steps(View& ledger, RunData& run) {
  ledger.each(
      "SELECT b.step, b.reward_mean, b.formed_at, AVG(c.n_tokens), MAX(c.n_tokens), AVG(b.step - g.birth), "
      "MAX(b.step - g.birth),"
      " AVG(c.seconds), AVG(c.grade_seconds), AVG(c.finish_reason = 'length'), SUM(c.n_tokens)"
      " FROM batches b JOIN batch_groups bg ON bg.step = b.step JOIN groups g ON g.group_id = bg.group_id"
      " JOIN completions c ON c.group_id = g.group_id GROUP BY b.step ORDER BY b.step",
      [&](sqlite3_stmt* s) {
        StepData d;
        d.step = sqlite3_column_int64(s, 0), d.reward_mean = sqlite3_column_double(s, 1),
        d.formed_at = sqlite3_column_double(s, 2);
        d.length_mean = sqlite3_column_double(s, 3), d.length_max = sqlite3_column_double(s, 4);
        d.lag_mean = sqlite3_column_double(s, 5), d.lag_max = sqlite3_column_double(s, 6);
        d.sample_s = sqlite3_column_double(s, 7), d.grade_s = sqlite3_column_double(s, 8);
        d.truncated = sqlite3_column_double(s, 9), d.tokens = sqlite3_column_int64(s, 10);
        run.steps.push_back(d);
      });
}

void read_samples(View& ledger, RunData& run, size_t count) {
  const std::string sql =
      "SELECT p.record, c.text, c.finish_reason, c.reward, bg.step, c.group_id, c.idx FROM batch_groups bg"
      " JOIN groups g ON g.group_id = bg.group_id JOIN prompts p ON p.split = g.split AND p.line = g.line"
      " JOIN completions c ON c.group_id = g.group_id AND c.idx = 0"
      " WHERE bg.step = (SELECT MAX(step) FROM batches) ORDER BY bg.position LIMIT " +
      std::to_string(count);
  ledger.each(sql.c_str(), [&](sqlite3_stmt* s) {
    SampleData d{prompt_text(text(s, 0)),    text(s, 1), text(s, 2), "", sqlite3_column_int64(s, 4),
                 sqlite3_column_double(s, 3)};
    const std::string verdicts =
        "SELECT name, kind FROM verdicts WHERE group_id = " + std::to_string(sqlite3_column_int64(s, 5)) +
        " AND idx = " + std::to_string(sqlite3_column_int64(s, 6)) + " ORDER BY part";
    ledger.each(verdicts.c_str(), [&](sqlite3_stmt* v) {
      d.verdicts += (d.verdicts.empty() ? "" : ", ") + text(v, 0) + " " + text(v, 1);
    });
    run.samples.push_back(std::move(d));
  });
}

}  // namespace

int64_t checkpointed_steps(const std::string& folder) {
  if (!std::filesystem::exists(folder + "/ledger.sqlite")) return 0;
  View ledger(folder + "/ledger.sqlite");
  if (ledger.one("SELECT COUNT(*) FROM sqlite_master WHERE name = 'checkpoints'") == 0) return 0;
  return ledger.one("SELECT COALESCE(MAX(next_step), 0) FROM checkpoints");
}

RunData read_run(const std::string& folder, size_t samples) {
  if (!std::filesystem::is_directory(folder)) fail("{}: there is no such run folder", folder);
  View ledger(folder + "/ledger.sqlite");
  RunData run;
  ledger.each("SELECT key, value FROM meta", [&](sqlite3_stmt* s) {
    const std::string key = text(s, 0);
    if (key == "run_name") run.run_name = text(s, 1);
    if (key == "run_id") run.run_id = text(s, 1);
    if (key == "config") run.config = text(s, 1);
  });
  read_steps(ledger, run);
  ledger.each("SELECT version, prompts, samples, pass_at_1, low, high FROM evals ORDER BY version",
              [&](sqlite3_stmt* s) {
                run.evals.push_back({sqlite3_column_int64(s, 0), sqlite3_column_int64(s, 1),
                                     sqlite3_column_int64(s, 2), sqlite3_column_double(s, 3),
                                     sqlite3_column_double(s, 4), sqlite3_column_double(s, 5)});
              });
  ledger.each("SELECT name, step, value FROM metrics WHERE value IS NOT NULL ORDER BY name, step",
              [&](sqlite3_stmt* s) {
                run.metrics[text(s, 0)].emplace_back(sqlite3_column_double(s, 1),
                                                     sqlite3_column_double(s, 2));
              });
  ledger.each(
      "SELECT v.name || ' ' || v.kind, bg.step, COUNT(*) FROM verdicts v JOIN batch_groups bg ON bg.group_id "
      "= v.group_id"
      " GROUP BY 1, 2",
      [&](sqlite3_stmt* s) {
        run.verdicts[text(s, 0)][sqlite3_column_int64(s, 1)] = sqlite3_column_int64(s, 2);
      });
  run.groups_total = ledger.one("SELECT COUNT(*) FROM groups WHERE eval_version IS NULL");
  run.groups_filtered =
      ledger.one("SELECT COUNT(*) FROM groups WHERE state = 'filtered' AND eval_version IS NULL");
  run.groups_failed =
      ledger.one("SELECT COUNT(*) FROM groups WHERE state = 'failed' AND eval_version IS NULL");
  run.infra_errors = ledger.one("SELECT COUNT(*) FROM infra_errors");
  run.completions = ledger.one("SELECT COUNT(*) FROM completions");
  read_samples(ledger, run, samples);

  std::ifstream status(folder + "/status.jsonl");
  for (std::string line; std::getline(status, line);) {
    Json json = Json::parse(line, nullptr, false);
    if (json.is_object()) run.status.push_back(std::move(json));  // a killed run may leave half a line
  }
  if (std::filesystem::exists(folder + "/usage.json"))
    run.usage = Json::parse(read_text(folder + "/usage.json"), nullptr, false);
  return run;
}

}  // namespace cohort
