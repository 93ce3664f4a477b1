#include "transport/base/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <memory>

namespace cohort::log {
namespace {
spdlog::level::level_enum to_spdlog(Level level) {
  switch (level) {
    case Level::debug:
      return spdlog::level::debug;
    case Level::info:
      return spdlog::level::info;
    case Level::warn:
      return spdlog::level::warn;
    case Level::error:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

std::shared_ptr<spdlog::logger>& logger() {
  static std::shared_ptr<spdlog::logger> instance = spdlog::stderr_color_mt("cohort");
  return instance;
}
}  // namespace

void init(const std::string& process_name, const std::string& file, Level to_stderr) {
  auto console = std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
  console->set_level(to_spdlog(to_stderr));
  std::vector<spdlog::sink_ptr> sinks = {console};
  if (!file.empty()) sinks.push_back(std::make_shared<spdlog::sinks::basic_file_sink_mt>(file));
  auto made = std::make_shared<spdlog::logger>(process_name, sinks.begin(), sinks.end());
  made->set_level(spdlog::level::debug);
  made->set_pattern("%Y-%m-%d %H:%M:%S.%e %-5l %n: %v");
  made->flush_on(spdlog::level::warn);
  // A log that cannot be written (a full disk) must not fill the screen: what matters there is an Error as well.
  made->set_error_handler([](const std::string&) {});
  logger() = made;
  spdlog::flush_every(std::chrono::seconds(1));
}

void write(Level level, std::string_view line) {
  logger()->log(to_spdlog(level), "{}", line);
}
void flush() {
  logger()->flush();
}

}  // namespace cohort::log
