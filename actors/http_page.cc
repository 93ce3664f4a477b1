#include "actors/http_page.h"

#include <httplib.h>

#include <map>
#include <mutex>
#include <thread>

#include "transport/base/error.h"

namespace cohort {

extern const std::map<std::string, std::string>
    kPageFiles;  // actors/page/, put into the program by the build

struct HttpPage::Impl {
  httplib::Server server;
  int port = 0;
  std::thread listener;
  std::mutex mutex;
  std::shared_ptr<const Snapshot> snapshot = std::make_shared<Snapshot>();

  std::shared_ptr<const Snapshot> current() {
    std::lock_guard lock(mutex);
    return snapshot;
  }
  void answer(const char* path, const char* type, std::string Snapshot::*text) {
    server.Get(path, [this, type, text](const httplib::Request&, httplib::Response& response) {
      const auto now = current();
      response.set_header("Cache-Control", "no-store");
      if (((*now).*text).empty()) {
        response.status = 503;  // the first snapshot is about a second away
        return;
      }
      response.set_content((*now).*text, type);
    });
  }
};

HttpPage::HttpPage(const std::string& address, int port) : impl_(std::make_unique<Impl>()) {
  httplib::Server& server = impl_->server;
  server.new_task_queue = [] { return new httplib::ThreadPool(2); };
  server.set_read_timeout(5);
  server.set_write_timeout(5);
  server.set_keep_alive_max_count(1);  // an open page must not hold a thread between its questions
  server.set_payload_max_length(4096);
  server.set_tcp_nodelay(true);
  // the library's default also sets SO_REUSEPORT, with which two coordinators would share a port without a word
  server.set_socket_options([](socket_t fd) {
    const int yes = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  });
  server.Get("/", [](const httplib::Request&, httplib::Response& response) {
    response.set_content(kPageFiles.at("status"), "text/html; charset=utf-8");
  });
  impl_->answer("/status.json", "application/json", &Snapshot::status_json);
  impl_->answer("/metrics", "text/plain; version=0.0.4; charset=utf-8", &Snapshot::metrics);
  impl_->port =
      port == 0 ? server.bind_to_any_port(address) : (server.bind_to_port(address, port) ? port : -1);
  if (impl_->port <= 0)
    fail(
        "coordinator.http_port = {}: {}:{} cannot be listened at; is it taken, or the address not this "
        "machine's?",
        port, address, port);
  impl_->listener = std::thread([impl = impl_.get()] {
    pthread_setname_np(pthread_self(), "http");
    impl->server.listen_after_bind();
  });
}

HttpPage::~HttpPage() {
  // stop() before it listens would be forgotten
  for (int i = 0; i < 2000 && !impl_->server.is_running(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  impl_->server.stop();
  impl_->listener.join();
}

void HttpPage::publish(Snapshot snapshot) {
  auto next = std::make_shared<const Snapshot>(std::move(snapshot));
  std::lock_guard lock(impl_->mutex);
  impl_->snapshot.swap(next);
}

int HttpPage::port() const {
  return impl_->port;
}

}  // namespace cohort
