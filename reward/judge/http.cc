#include "reward/judge/http.h"

#include <curl/curl.h>
#include <fcntl.h>

#include <algorithm>
#include <chrono>

#include "reward/infra_error.h"

namespace cohort::judge {
namespace {

constexpr size_t kLongestBody = 4 << 20;
constexpr curl_off_t kLongestWait = 86400;

size_t take_body(char* data, size_t, size_t size, void* to) {
  auto& body = *static_cast<std::string*>(to);
  if (body.size() + size > kLongestBody) return 0;  // ends the transfer with an error
  body.append(data, size);
  return size;
}

int close_on_exec(void*, curl_socket_t fd, curlsocktype) {
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  return CURL_SOCKOPT_OK;
}

void init_once() {
  static const CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (code != CURLE_OK) throw InfraError("judge: libcurl cannot be used");
}

}  // namespace

// One easy handle in a multi handle of its own: the multi keeps the connection and can be waited for in steps.
struct HttpClient::Connection {
  CURLM* multi = curl_multi_init();
  CURL* easy = curl_easy_init();
  Connection() {
    if (!multi || !easy) throw InfraError("judge: libcurl is out of memory");
  }
  ~Connection() {
    curl_easy_cleanup(easy);
    curl_multi_cleanup(multi);
  }
  Connection(const Connection&) = delete;
};

HttpClient::HttpClient(std::string ca_file) : ca_file_(std::move(ca_file)) {
  init_once();
}
HttpClient::~HttpClient() = default;

std::optional<HttpReply> HttpClient::post(const std::string& url, const std::vector<std::string>& headers,
                                          const std::string& body, double timeout_s,
                                          const std::atomic<bool>& cancelled) {
  std::unique_ptr<Connection> connection;
  {
    std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      connection = std::move(free_.back());
      free_.pop_back();
    }
  }
  if (!connection) connection = std::make_unique<Connection>();

  CURL* easy = connection->easy;
  HttpReply reply;
  char error[CURL_ERROR_SIZE] = "";
  curl_slist* list = nullptr;
  for (const std::string& h : headers) list = curl_slist_append(list, h.c_str());
  list = curl_slist_append(list, "Expect:");  // no round trip before a long question
  curl_easy_reset(easy);
  curl_easy_setopt(easy, CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  if (!ca_file_.empty()) curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file_.c_str());
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(std::max(1.0, timeout_s * 1e3)));
  curl_easy_setopt(easy, CURLOPT_POST, 1L);
  curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body.c_str());
  curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, list);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, error);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &reply.body);
  curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, close_on_exec);
  curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);  // a name server that is silent holds up no cancel
  curl_easy_setopt(easy, CURLOPT_USERAGENT, "cohort");

  curl_multi_add_handle(connection->multi, easy);
  CURLcode code = CURLE_OK;
  int running = 1;
  while (running > 0 && !cancelled.load(std::memory_order_relaxed)) {
    if (curl_multi_perform(connection->multi, &running) != CURLM_OK) break;
    if (running > 0) curl_multi_poll(connection->multi, nullptr, 0, 50, nullptr);
  }
  bool ended = false;
  int left = 0;
  while (CURLMsg* message = curl_multi_info_read(connection->multi, &left))
    if (message->msg == CURLMSG_DONE) ended = true, code = message->data.result;
  if (ended && code == CURLE_OK) {
    curl_off_t wait = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &reply.status);
    curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &wait);
    reply.retry_after_s = static_cast<double>(std::clamp<curl_off_t>(wait, 0, kLongestWait));
  } else {
    reply.error = error[0] != 0 ? error : curl_easy_strerror(code);
    reply.body.clear();  // half of an answer is none
  }
  curl_multi_remove_handle(connection->multi, easy);
  curl_slist_free_all(list);
  if (!ended) return std::nullopt;  // with it the connection goes, and the endpoint need not go on
  std::lock_guard lock(mutex_);
  free_.push_back(std::move(connection));
  return reply;
}

}  // namespace cohort::judge
