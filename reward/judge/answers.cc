#include "reward/judge/answers.h"

#include <fmt/core.h>
#include <sqlite3.h>

#include <cstdlib>
#include <filesystem>

#include "reward/infra_error.h"

namespace cohort::judge {
namespace {
[[noreturn]] void fail_cache(const std::string& path, const std::string& why) {
  throw InfraError(fmt::format("judge: {}: {}; set `cache` to a file that can be written", path, why));
}
}  // namespace

class Answers::Query {
 public:
  Query(Answers& of, const char* sql) : of_(of) {
    if (sqlite3_prepare_v2(of.db_, sql, -1, &stmt_, nullptr) != SQLITE_OK)
      fail_cache(of.path_, sqlite3_errmsg(of.db_));
  }
  ~Query() { sqlite3_finalize(stmt_); }
  Query(const Query&) = delete;
  Query& bind(const std::string& text) {
    sqlite3_bind_text(stmt_, ++bound_, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT);
    return *this;
  }
  Query& bind(int64_t value) {
    sqlite3_bind_int64(stmt_, ++bound_, value);
    return *this;
  }
  bool step() {
    const int code = sqlite3_step(stmt_);
    if (code != SQLITE_ROW && code != SQLITE_DONE) fail_cache(of_.path_, sqlite3_errmsg(of_.db_));
    return code == SQLITE_ROW;
  }
  std::string text() const {
    const auto* data = reinterpret_cast<const char*>(sqlite3_column_text(stmt_, 0));
    return {data, static_cast<size_t>(sqlite3_column_bytes(stmt_, 0))};
  }
  int64_t integer(int column) const { return sqlite3_column_int64(stmt_, column); }

 private:
  Answers& of_;
  sqlite3_stmt* stmt_ = nullptr;
  int bound_ = 0;
};

void Answers::run(const char* sql) {
  // switching to WAL does not wait for another process that does the same, so we do
  for (int tries = 0;; ++tries) {
    const int code = sqlite3_exec(db_, sql, nullptr, nullptr, nullptr);
    if (code == SQLITE_OK) return;
    if (code != SQLITE_BUSY || tries == 200) fail_cache(path_, sqlite3_errmsg(db_));
    sqlite3_sleep(50);
  }
}

Answers::Answers(const std::string& path) : path_(path) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  std::error_code ec;
  if (path != ":memory:" && !folder.empty()) std::filesystem::create_directories(folder, ec);
  const int code = sqlite3_open_v2(
      path.c_str(), &db_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, nullptr);
  if (code != SQLITE_OK) {
    const std::string why = db_ ? sqlite3_errmsg(db_) : "out of memory";
    sqlite3_close_v2(db_);
    fail_cache(path, why);
  }
  try {
    sqlite3_busy_timeout(db_, 10000);
    // NORMAL: a power cut may lose the newest answers, which are then asked for again
    run("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL");
    run("CREATE TABLE IF NOT EXISTS answers(key TEXT PRIMARY KEY, answer TEXT NOT NULL, at INTEGER) WITHOUT "
        "ROWID;"
        "CREATE TABLE IF NOT EXISTS spent(account TEXT PRIMARY KEY, calls INTEGER NOT NULL, tokens INTEGER "
        "NOT NULL)"
        " WITHOUT ROWID");
  } catch (...) {
    sqlite3_close_v2(db_);
    throw;
  }
}

Answers::~Answers() {
  sqlite3_close_v2(db_);
}

std::optional<std::string> Answers::find(const std::string& key) {
  std::lock_guard lock(mutex_);
  Query q(*this, "SELECT answer FROM answers WHERE key=?");
  if (!q.bind(key).step()) return std::nullopt;
  return q.text();
}

void Answers::keep(const std::string& key, const std::string& answer) {
  std::lock_guard lock(mutex_);
  // the first one stays: what one grading was told, all later ones are told
  Query(*this, "INSERT OR IGNORE INTO answers VALUES(?,?,unixepoch())").bind(key).bind(answer).step();
}

bool Answers::take_call(const std::string& account, const Spent& budget) {
  std::lock_guard lock(mutex_);
  Query(*this,
        "INSERT INTO spent VALUES(?,1,0) ON CONFLICT(account) DO UPDATE SET calls=calls+1 "
        "WHERE (?2=0 OR calls<?2) AND (?3=0 OR tokens<?3)")
      .bind(account)
      .bind(budget.calls)
      .bind(budget.tokens)
      .step();
  return sqlite3_changes(db_) == 1;
}

void Answers::add_tokens(const std::string& account, int64_t tokens) {
  std::lock_guard lock(mutex_);
  Query(*this, "UPDATE spent SET tokens=tokens+? WHERE account=?").bind(tokens).bind(account).step();
}

Answers::Spent Answers::spent(const std::string& account) {
  std::lock_guard lock(mutex_);
  Query q(*this, "SELECT calls, tokens FROM spent WHERE account=?");
  if (!q.bind(account).step()) return {};
  return {q.integer(0), q.integer(1)};
}

std::string default_answers_path() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  const std::string base = cache && *cache ? cache : (home && *home ? home : "/tmp") + std::string("/.cache");
  return base + "/cohort/judge.sqlite";
}

}  // namespace cohort::judge
