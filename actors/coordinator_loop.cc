#include "actors/coordinator_loop.h"

#include <fmt/core.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>

#include "actors/coordinator.h"
#include "actors/http_page.h"
#include "transport/base/error.h"
#include "transport/base/log.h"
#include "transport/endpoint.h"

namespace cohort {
namespace {

// Readable when the ledger has committed or a signal came: what ends the loop's wait besides a message.
int g_wake_fd = -1;
std::atomic<int> g_signals{0};
void wake() {
  const uint64_t one = 1;
  (void)!::write(g_wake_fd, &one, sizeof one);
}
void on_signal(int) {
  g_signals.fetch_add(1);
  wake();
}

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) fail_usage("{}: cannot be read: {}", path, std::strerror(errno));
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string port_of(const std::string& endpoint) {
  const size_t colon = endpoint.rfind(':');
  return colon == std::string::npos ? "" : endpoint.substr(colon + 1);
}

// A free port is wanted and a killed coordinator of this folder had one: take that again.
std::unique_ptr<Router> bind_router(const std::string& wanted, const std::string& endpoint_file) {
  const std::string port = port_of(wanted);
  if (port == "0" || port == "*") {
    std::ifstream in(endpoint_file);
    std::string before;
    if (std::getline(in, before) && !port_of(before).empty()) {
      try {
        return std::make_unique<Router>(wanted.substr(0, wanted.rfind(':') + 1) + port_of(before));
      } catch (const Error& e) {
        log::warn(
            "the port of before is taken ({}): workers that still look for it there will not find this "
            "coordinator",
            e.what());
      }
    }
  }
  return std::make_unique<Router>(wanted);
}

void write_endpoint(const std::string& path, const std::string& endpoint) {
  const std::string part = path + ".part";
  std::ofstream(part) << endpoint << "\n";
  std::error_code ec;
  std::filesystem::rename(part, path, ec);
  if (ec) fail("{}: cannot be written: {}", path, ec.message());
}

}  // namespace

int run_coordinator(const CoordinatorCommand& command) {
  const std::string toml = read_text(command.config_path);
  CoordinatorConfig config = read_coordinator_config(TomlTable::parse(toml, command.config_path), toml);
  std::error_code ec;
  std::filesystem::create_directories(command.run_dir, ec);
  if (ec) fail("{}: cannot be made: {}", command.run_dir, ec.message());
  log::init("coordinator", command.run_dir + "/coordinator.log");

  PromptFile train(config.data.train), eval;
  if (!config.data.eval.empty() && config.run.eval_steps > 0) eval = PromptFile(config.data.eval);
  Ledger ledger({command.run_dir}, {config.run.name, toml, train.hash()});

  g_wake_fd = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  ledger.on_commit(wake);
  const std::string endpoint_file = command.run_dir + "/coordinator.endpoint";
  std::unique_ptr<Router> router =
      bind_router(command.endpoint.empty() ? config.coordinator.endpoint : command.endpoint, endpoint_file);
  std::unique_ptr<HttpPage> page;
  if (config.coordinator.http_port != 0) {
    page = std::make_unique<HttpPage>(config.coordinator.http_address, config.coordinator.http_port);
    log::info("page and /metrics at http://{}:{}/", config.coordinator.http_address, page->port());
  }
  const int tick_ms = std::clamp(config.coordinator.heartbeat_ms / 4, 5, 100);
  Coordinator coordinator(
      std::move(config), std::move(train), std::move(eval), ledger,
      [&](const PeerId& peer, const Envelope& envelope) { return router->send(peer, envelope); },
      steady_seconds());
  std::signal(SIGTERM, on_signal);
  std::signal(SIGINT, on_signal);
  write_endpoint(endpoint_file, router->endpoint());
  log::info("run {} at {}", ledger.state().run_id, router->endpoint());

  double next_snapshot = 0;
  while (!coordinator.finished(steady_seconds())) {
    const std::vector<Incoming> messages = router->receive(tick_ms, g_wake_fd);
    uint64_t drained = 0;
    (void)!::read(g_wake_fd, &drained, sizeof drained);
    const double now = steady_seconds();
    for (const Incoming& incoming : messages) coordinator.handle(incoming, now);
    const int signals = g_signals.load();
    if (signals >= 1) coordinator.begin_shutdown("stopped by a signal", now);
    coordinator.advance(now);
    if (page && now >= next_snapshot) {
      std::string status = coordinator.status_json(now), metrics = coordinator.metrics_text(status);
      page->publish({std::move(status), std::move(metrics)});
      // once a second, and with very many groups less often: at most a fiftieth of the loop's time goes there
      const double after = steady_seconds();
      next_snapshot = after + std::max(1.0, 50 * (after - now));
    }
    if (signals >= 2) {
      log::warn("stopped at once by a second signal");
      break;
    }
  }
  coordinator.farewell(router->receive(0), steady_seconds());
  std::filesystem::remove(endpoint_file, ec);
  ledger.close();
  log::info("ended");
  log::flush();
  if (!coordinator.failure().empty()) fail_final("{}", coordinator.failure());
  return 0;
}

}  // namespace cohort
