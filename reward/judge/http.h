// One HTTP request over libcurl, given up the moment nobody wants its answer.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace cohort::judge {

struct HttpReply {
  long status = 0;  // 0: no whole reply came, see `error`
  std::string body;
  std::string error;         // one line
  double retry_after_s = 0;  // what a Retry-After header asks for, as seconds or as a date; 0: nothing
};

// Thread-safe; keeps connections open between requests. Redirects are not followed (the key would go with them) and
// only http and https are spoken. Sockets are not inherited by the programs that other graders start.
class HttpClient {
 public:
  // `ca_file`: certificates to trust in place of the system's; "" trusts those.
  explicit HttpClient(std::string ca_file = "");
  ~HttpClient();
  // Blocks for at most timeout_s; nothing when `cancelled` turned true, within 50 ms.
  std::optional<HttpReply> post(const std::string& url, const std::vector<std::string>& headers,
                                const std::string& body, double timeout_s,
                                const std::atomic<bool>& cancelled);

 private:
  struct Connection;
  const std::string ca_file_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Connection>> free_;
};

}  // namespace cohort::judge
