// JSON lines in and out for the verbs that sample: read as they come, written in order.
#pragma once

#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace cohort {

// Lines of a file or ("-") of standard input, without waiting for more of it than is there.
class LineReader {
 public:
  explicit LineReader(const std::string& path);  // throws Error naming the file
  ~LineReader();
  LineReader(const LineReader&) = delete;

  struct Record {
    nlohmann::ordered_json json;  // an object
    size_t line = 0;              // 1-based
  };
  // The next record. Without `wait`, nothing when no whole line is there yet; with it, nothing only at the
  // end. Throws Error "FILE:LINE: …" for a line that is no JSON object.
  std::optional<Record> next(bool wait);
  bool at_end() const { return end_ && buffer_.empty(); }
  // "FILE:LINE" for errors found in a record.
  std::string where(size_t line) const;

 private:
  bool read_more(bool wait);

  std::string path_, buffer_;
  int fd_ = -1;
  size_t line_ = 0;
  size_t scanned_ = 0;  // bytes of buffer_ known to hold no line end
  bool end_ = false;
};

// A file or ("-", "") standard output. Each line is whole; a write that fails (a full disk) is an Error
// naming the file.
class LineWriter {
 public:
  explicit LineWriter(const std::string& path);
  ~LineWriter();
  LineWriter(const LineWriter&) = delete;
  void write(const nlohmann::ordered_json& object);
  void flush();
  void close();  // the destructor does not report errors

 private:
  std::string path_;
  std::FILE* file_ = nullptr;
};

// A float as the shortest decimal that reads back to it, so that files hold -0.1 and not
// -0.10000000149011612.
double shortest(float value);

}  // namespace cohort
