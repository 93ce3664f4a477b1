// The coordinator's page and /metrics over HTTP, for people and for Prometheus.
//
//   event loop --publish(a new snapshot, about once a second)--> one shared pointer --> "http" threads answer GET
//     /             the page: what `cohort status` shows, again every two seconds
//     /status.json  the Status document (docs/ledger.md)
//     /metrics      Prometheus text
//
// The event loop only swaps the pointer and never waits for a reader, a socket or a full queue; the threads only read,
// and know nothing of the coordinator. A client that is slow holds one of two threads for 5 s at most, and so only
// delays other readers of the page. Anyone who can connect can read: it is bound to this machine unless
// [coordinator] http_address says otherwise, it takes no input but the path, and it can change nothing.
#pragma once

#include <memory>
#include <string>

namespace cohort {

class HttpPage {
 public:
  struct Snapshot {
    std::string status_json, metrics;
  };
  // Listens from here on; port 0 picks one. Throws Error naming the address when it cannot.
  HttpPage(const std::string& address, int port);
  ~HttpPage();  // answers what was asked, then stops
  void publish(Snapshot snapshot);
  int port() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cohort
