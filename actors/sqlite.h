// SQLite behind two small owners, so that ledger code reads as what it asks and stores. Not thread-safe.
#pragma once

#include <sqlite3.h>

#include <cstring>
#include <string>
#include <vector>

#include "actors/ledger.h"
#include "transport/base/error.h"

namespace cohort {

// One line for a person: what to do about an SQLite result code.
[[noreturn]] void fail_sqlite(sqlite3* db, const std::string& path, const char* doing);

class Database {
 public:
  Database(const std::string& path, bool create);
  ~Database() { sqlite3_close_v2(db_); }
  Database(const Database&) = delete;
  void run(const char* sql);  // statements without parameters or results
  sqlite3* get() const { return db_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  sqlite3* db_ = nullptr;
};

class Statement {
 public:
  Statement(Database& db, const char* sql);
  ~Statement() { sqlite3_finalize(stmt_); }
  Statement(Statement&& other) noexcept : db_(other.db_), stmt_(std::exchange(other.stmt_, nullptr)) {}
  // Binds by position; text and blobs are not copied and must live until the statement is run.
  Statement& bind(const std::vector<Value>& values);
  bool step();  // true: a row is there
  void run();   // steps to the end and resets
  void reset() { sqlite3_reset(stmt_); }
  int64_t integer(int column) const { return sqlite3_column_int64(stmt_, column); }
  double real(int column) const { return sqlite3_column_double(stmt_, column); }
  bool null(int column) const { return sqlite3_column_type(stmt_, column) == SQLITE_NULL; }
  std::string text(int column) const;
  template <class T>
  std::vector<T> array(int column) const {
    const void* data = sqlite3_column_blob(stmt_, column);
    const size_t bytes = static_cast<size_t>(sqlite3_column_bytes(stmt_, column));
    std::vector<T> out(bytes / sizeof(T));
    if (!out.empty()) std::memcpy(out.data(), data, out.size() * sizeof(T));
    return out;
  }

 private:
  Database& db_;
  sqlite3_stmt* stmt_ = nullptr;
};

}  // namespace cohort
