#include "actors/ledger.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <mutex>
#include <optional>
#include <thread>

#include "actors/ledger_load.h"
#include "actors/sqlite.h"
#include "transport/base/error.h"

namespace cohort {
namespace {

// SQLite's own exclusive lock would keep users from selecting, so one coordinator a folder is a lock on a
// file beside the ledger. The kernel lets go of it when the process ends, however it ends.
class FolderLock {
 public:
  explicit FolderLock(const std::string& dir) : path_(dir + "/ledger.lock") {
    fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd_ < 0)
      fail("{}: cannot be made: {}; check the folder, its permissions and free space", path_,
           std::strerror(errno));
    if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
      char text[64] = {};
      const ssize_t n = ::pread(fd_, text, sizeof text - 1, 0);
      ::close(fd_);
      fail("{}: another coordinator ({}) works on this run folder; stop it first or use another run.dir",
           path_, n > 0 ? text : "unknown process");
    }
    const std::string text = fmt::format("pid {}", ::getpid());
    if (::ftruncate(fd_, 0) == 0) (void)!::pwrite(fd_, text.data(), text.size(), 0);
  }
  ~FolderLock() { ::close(fd_); }
  FolderLock(const FolderLock&) = delete;

 private:
  std::string path_;
  int fd_ = -1;
};

size_t bytes_of(const std::vector<Row>& rows) {
  size_t bytes = 0;
  for (const Row& row : rows) {
    bytes += sizeof(Row);
    for (const Value& v : row.values) {
      bytes += sizeof(Value);
      if (const auto* s = std::get_if<std::string>(&v)) bytes += s->size();
      if (const auto* b = std::get_if<Blob>(&v)) bytes += b->bytes.size();
    }
  }
  return bytes;
}

}  // namespace

struct Ledger::Impl {
  LedgerOptions options;
  std::string path;
  FolderLock lock;
  Database db;
  std::vector<Statement> statements;
  std::function<void()> on_commit;

  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::vector<Row>> queue;
  size_t queued_bytes = 0;
  bool closing = false;
  std::optional<Error> error;
  std::thread writer;

  explicit Impl(LedgerOptions o)
      : options(std::move(o)), path(options.dir + "/ledger.sqlite"), lock(options.dir), db(path, true) {}

  // One transaction. Any failure rolls all of it back.
  void commit(std::deque<std::vector<Row>>& events) {
    db.run("BEGIN IMMEDIATE");
    try {
      for (auto& rows : events)
        for (Row& row : rows) statements[static_cast<size_t>(row.statement)].bind(row.values).run();
      db.run("COMMIT");
    } catch (...) {
      sqlite3_exec(db.get(), "ROLLBACK", nullptr, nullptr, nullptr);
      throw;
    }
  }
};

Ledger::Ledger(LedgerOptions options, const RunIdentity& identity) {
  std::error_code ec;
  std::filesystem::create_directories(options.dir, ec);
  if (ec) fail("{}: cannot be made: {}", options.dir, ec.message());
  impl_ = std::make_unique<Impl>(std::move(options));
  Database& db = impl_->db;
  // FULL: a commit is on the platter, not only in the page cache, before its Acks go out.
  db.run("PRAGMA journal_mode=WAL; PRAGMA temp_store=MEMORY");
  db.run(impl_->options.fsync ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=OFF");
  open_run(db, identity, state_);
  load_state(db, state_);
  for (const char* sql : kStatements) impl_->statements.emplace_back(db, sql);
  if (impl_->options.max_pages > 0)
    db.run(fmt::format("PRAGMA max_page_count={}", impl_->options.max_pages).c_str());
  if (impl_->options.background) {
    impl_->writer = std::thread([this, impl = impl_.get()] {
      pthread_setname_np(pthread_self(), "ledger");
      std::unique_lock lock(impl->mutex);
      while (true) {
        impl->changed.wait(lock, [&] { return impl->closing || !impl->queue.empty(); });
        if (impl->queue.empty()) return;  // closing, and drained
        std::deque<std::vector<Row>> events = std::move(impl->queue);
        impl->queue.clear();
        impl->queued_bytes = 0;
        lock.unlock();
        impl->changed.notify_all();
        std::optional<Error> error;
        try {
          impl->commit(events);
          committed_.fetch_add(events.size(), std::memory_order_release);
        } catch (const Error& e) {
          error = e;
        }
        lock.lock();
        impl->error = error;
        lock.unlock();
        impl->changed.notify_all();
        if (impl->on_commit) impl->on_commit();
        if (error) return;
        lock.lock();
      }
    });
  }
}

Ledger::~Ledger() {
  abandon();
}

void Ledger::on_commit(std::function<void()> callback) {
  impl_->on_commit = std::move(callback);
}

Ticket Ledger::write(std::vector<Row> rows) {
  if (rows.empty()) return last_;
  const size_t bytes = bytes_of(rows);
  {
    std::unique_lock lock(impl_->mutex);
    if (impl_->options.background)
      impl_->changed.wait(lock, [&] {
        return impl_->error || (impl_->queue.size() < impl_->options.queue_events &&
                                impl_->queued_bytes < impl_->options.queue_bytes);
      });
    if (impl_->error) throw *impl_->error;
    impl_->queue.push_back(std::move(rows));
    impl_->queued_bytes += bytes;
  }
  impl_->changed.notify_all();
  return ++last_;
}

void Ledger::check() const {
  std::lock_guard lock(impl_->mutex);
  if (impl_->error) throw *impl_->error;
}

void Ledger::commit_now() {
  if (impl_->queue.empty()) return;
  impl_->commit(impl_->queue);
  committed_.fetch_add(impl_->queue.size(), std::memory_order_release);
  impl_->queue.clear();
  if (impl_->on_commit) impl_->on_commit();
}

std::vector<StoredGroup> Ledger::read_batch(uint32_t step) {
  Database reader(impl_->path, false);  // its own connection: WAL lets it read beside the writer
  return load_batch(reader, step);
}

void Ledger::close() {
  if (!impl_) return;
  if (!impl_->options.background) commit_now();
  {
    std::lock_guard lock(impl_->mutex);
    impl_->closing = true;
  }
  impl_->changed.notify_all();
  if (impl_->writer.joinable()) impl_->writer.join();
  const std::optional<Error> error = impl_->error;
  if (!error)
    sqlite3_wal_checkpoint_v2(impl_->db.get(), nullptr, SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr);
  impl_.reset();
  if (error) throw *error;
}

void Ledger::abandon() {
  if (!impl_) return;
  {
    std::lock_guard lock(impl_->mutex);
    impl_->closing = true;
    impl_->queue.clear();
  }
  impl_->changed.notify_all();
  if (impl_->writer.joinable()) impl_->writer.join();
  impl_.reset();
}

}  // namespace cohort
