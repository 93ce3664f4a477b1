#include "actors/sqlite.h"

namespace cohort {

void fail_sqlite(sqlite3* db, const std::string& path, const char* doing) {
  const int code = db ? sqlite3_errcode(db) : SQLITE_NOMEM;
  const std::string why = db ? sqlite3_errmsg(db) : "out of memory";
  switch (code & 0xff) {
    case SQLITE_FULL:
      fail(
          "{}: the disk is full while {}; free some space and start the run again, nothing acknowledged is "
          "lost",
          path, doing);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      fail(
          "{}: locked by another program while {} (a SELECT is fine, a program that writes is not): close it "
          "and start again",
          path, doing);
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
      fail("{}: is no ledger or is damaged ({}) while {}; restore it from a copy or use another run.dir",
           path, why, doing);
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
      fail("{}: cannot be opened for writing ({}); check the folder and its permissions", path, why);
    default:
      fail("{}: {} while {}", path, why, doing);
  }
}

Database::Database(const std::string& path, bool create) : path_(path) {
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (create ? SQLITE_OPEN_CREATE : 0);
  if (sqlite3_open_v2(path.c_str(), &db_, flags, nullptr) != SQLITE_OK) {
    try {
      fail_sqlite(db_, path_, "opening");
    } catch (...) {
      sqlite3_close_v2(db_);
      throw;
    }
  }
  sqlite3_extended_result_codes(db_, 1);
  sqlite3_busy_timeout(db_, 10000);
}

void Database::run(const char* sql) {
  if (sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) fail_sqlite(db_, path_, "writing");
}

Statement::Statement(Database& db, const char* sql) : db_(db) {
  if (sqlite3_prepare_v2(db.get(), sql, -1, &stmt_, nullptr) != SQLITE_OK)
    fail_sqlite(db.get(), db.path(), "reading");
}

Statement& Statement::bind(const std::vector<Value>& values) {
  for (size_t i = 0; i < values.size(); ++i) {
    const int at = static_cast<int>(i) + 1;
    const Value& v = values[i];
    int rc = SQLITE_OK;
    if (const auto* n = std::get_if<int64_t>(&v))
      rc = sqlite3_bind_int64(stmt_, at, *n);
    else if (const auto* x = std::get_if<double>(&v))
      rc = sqlite3_bind_double(stmt_, at, *x);
    else if (const auto* s = std::get_if<std::string>(&v))
      rc = sqlite3_bind_text64(stmt_, at, s->data(), s->size(), SQLITE_STATIC, SQLITE_UTF8);
    else if (const auto* b = std::get_if<Blob>(&v))
      // a null pointer would bind NULL, and an empty array is not that
      rc = sqlite3_bind_blob64(stmt_, at, b->bytes.empty() ? "" : b->bytes.data(), b->bytes.size(),
                               SQLITE_STATIC);
    else
      rc = sqlite3_bind_null(stmt_, at);
    if (rc != SQLITE_OK) fail_sqlite(db_.get(), db_.path(), "writing");
  }
  return *this;
}

bool Statement::step() {
  const int rc = sqlite3_step(stmt_);
  if (rc == SQLITE_ROW) return true;
  if (rc == SQLITE_DONE) return false;
  fail_sqlite(db_.get(), db_.path(), "writing");
}

void Statement::run() {
  while (step()) {
  }
  sqlite3_reset(stmt_);
}

std::string Statement::text(int column) const {
  const auto* data = reinterpret_cast<const char*>(sqlite3_column_text(stmt_, column));
  return data ? std::string(data, static_cast<size_t>(sqlite3_column_bytes(stmt_, column))) : std::string();
}

}  // namespace cohort
