// Data flow: the run folder's ledger, opened read-only (a run that goes on is not disturbed) -> the completion, its
// prompt's record, its recorded verdicts and the run file kept in the ledger -> the graders of that run file -> one JSON
// line a part, recorded and now.
#include "launch/commands/replay.h"

#include <sqlite3.h>

#include <charconv>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "launch/commands/parse.h"
#include "reward/grader.h"
#include "transport/base/log.h"

namespace cohort {
namespace {

using Json = nlohmann::ordered_json;

class ReadOnly {
 public:
  explicit ReadOnly(const std::string& path) : path_(path) {
    if (!std::filesystem::exists(path)) fail_usage("{}: there is no ledger; is this a run folder?", path);
    if (sqlite3_open_v2(path.c_str(), &db_, SQLITE_OPEN_READONLY, nullptr) != SQLITE_OK) complain();
    sqlite3_busy_timeout(db_, 5000);
  }
  ~ReadOnly() { sqlite3_close_v2(db_); }
  ReadOnly(const ReadOnly&) = delete;

  // Calls `row` with each result of `sql`, whose parameters are numbers.
  template <class Row>
  void each(const char* sql, std::initializer_list<int64_t> values, Row row) {
    sqlite3_stmt* s = nullptr;
    if (sqlite3_prepare_v2(db_, sql, -1, &s, nullptr) != SQLITE_OK) complain();
    std::unique_ptr<sqlite3_stmt, int (*)(sqlite3_stmt*)> owner(s, sqlite3_finalize);
    int at = 0;
    for (int64_t v : values) sqlite3_bind_int64(s, ++at, v);
    int code;
    while ((code = sqlite3_step(s)) == SQLITE_ROW) row(s);
    if (code != SQLITE_DONE) complain();
  }
  static std::string text(sqlite3_stmt* s, int column) {  // bytes as they are: a completion need not be UTF-8
    const void* data = sqlite3_column_blob(s, column);
    return data ? std::string(static_cast<const char*>(data),
                              static_cast<size_t>(sqlite3_column_bytes(s, column)))
                : "";
  }

 private:
  [[noreturn]] void complain() { fail("{}: cannot be read: {}", path_, sqlite3_errmsg(db_)); }
  std::string path_;
  sqlite3* db_ = nullptr;
};

struct Recorded {
  int64_t group = 0, index = 0;
  GradeInput input;
  std::vector<RewardPart> parts;
};

// "GROUP/INDEX", or "GROUP" for all of its completions.
std::pair<int64_t, int64_t> parse_id(const std::string& id) {
  int64_t group = 0, index = -1;
  const char* end = id.data() + id.size();
  auto [p, error] = std::from_chars(id.data(), end, group);
  bool good = error == std::errc() && group > 0;
  if (good && p != end) {
    const auto [q, error2] = std::from_chars(p + 1, end, index);
    good = *p == '/' && error2 == std::errc() && q == end && index >= 0;
  }
  if (!good) fail_usage("\"{}\" is no completion: give GROUP/INDEX, or GROUP for all of its completions", id);
  return {group, index};
}

std::vector<Recorded> read(ReadOnly& ledger, const std::string& id) {
  const auto [group, index] = parse_id(id);
  std::vector<Recorded> out;
  ledger.each(
      "SELECT c.group_id, c.idx, p.record, c.text, c.finish_reason, c.n_tokens FROM completions c "
      "JOIN groups g USING(group_id) JOIN prompts p USING(split, line) "
      "WHERE c.group_id=?1 AND (?2<0 OR c.idx=?2) ORDER BY c.idx",
      {group, index}, [&](sqlite3_stmt* s) {
        Recorded r;
        r.group = sqlite3_column_int64(s, 0);
        r.index = sqlite3_column_int64(s, 1);
        // what the coordinator gives a grader: the prompt as rendered is not kept
        r.input = {ReadOnly::text(s, 2), "", ReadOnly::text(s, 3), ReadOnly::text(s, 4),
                   static_cast<uint32_t>(sqlite3_column_int64(s, 5))};
        out.push_back(std::move(r));
      });
  if (out.empty()) fail("completion {} is not in the ledger", id);
  for (Recorded& r : out)
    ledger.each(
        "SELECT name, weight, kind, score, reason, hash FROM verdicts WHERE group_id=? AND idx=? ORDER BY "
        "part",
        {r.group, r.index}, [&](sqlite3_stmt* s) {
          RewardPart part{ReadOnly::text(s, 0), sqlite3_column_double(s, 1), {}};
          part.verdict.kind = verdict_kind_from(ReadOnly::text(s, 2));
          part.verdict.score = sqlite3_column_double(s, 3);
          part.verdict.reason = ReadOnly::text(s, 4);
          part.verdict.hash = ReadOnly::text(s, 5);
          r.parts.push_back(std::move(part));
        });
  return out;
}

Json said(const Verdict& v) {
  return {{"verdict", to_string(v.kind)}, {"score", v.score}, {"reason", v.reason}, {"hash", v.hash}};
}

}  // namespace

int command_replay(int argc, char** argv) {
  std::string run, id;
  CLI::App app(
      "Grades a completion of a run again, with the rewards of its run file, and says part by part whether "
      "the "
      "verdict's hash (of all that decides: grader, version, options, record, completion) and the verdict "
      "itself "
      "agree with the ledger's. Exit code 0: all agree.");
  app.add_option("run", run, "the run folder")->required();
  app.add_option("id", id, "GROUP/INDEX as in the ledger's tables, or GROUP for all of its completions")
      ->required();
  if (auto code = parse_arguments(app, argc, argv)) return *code;
  log::init("cohort verify", "", log::Level::warn);

  ReadOnly ledger(run + "/ledger.sqlite");
  std::string config;
  ledger.each("SELECT value FROM meta WHERE key='config'", {},
              [&](sqlite3_stmt* s) { config = ReadOnly::text(s, 0); });
  const std::vector<Recorded> completions = read(ledger, id);
  RewardList rewards = make_reward_list(TomlTable::parse(config, run + "/ledger.sqlite: config")
                                            .get_tables("reward")
                                            .value_or(std::vector<TomlTable>{}));
  size_t differ = 0, infra = 0;
  const std::atomic<bool> never = false;
  for (const Recorded& r : completions) {
    const std::vector<RewardPart> now = rewards.grade(r.input, never);
    for (const RewardPart& part : now) {
      const RewardPart* before = nullptr;
      for (const RewardPart& p : r.parts)
        if (p.name == part.name) before = &p;
      Json line = {{"group", r.group}, {"index", r.index}, {"part", part.name}};
      line["recorded"] = before ? said(before->verdict) : Json();
      line["now"] = said(part.verdict);
      const bool hash = before && before->verdict.hash == part.verdict.hash;
      const bool verdict =
          before && before->verdict.kind == part.verdict.kind && before->verdict.score == part.verdict.score;
      line["hash_agrees"] = hash;
      line["verdict_agrees"] = verdict;
      infra += is_no_reward(part.verdict.kind);
      differ += !is_no_reward(part.verdict.kind) && !(hash && verdict);
      fmt::print("{}\n", line.dump(-1, ' ', false, Json::error_handler_t::replace));
    }
  }
  std::fflush(stdout);
  if (infra > 0) fail("{} parts could not be graded here: nothing is said of them", infra);
  if (differ > 0) fail("{} parts do not agree with what {} says", differ, run);
  return 0;
}

}  // namespace cohort
