// An OpenAI-compatible endpoint for tests, over real HTTP, that behaves as it is told.
#pragma once

#include <httplib.h>

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

namespace cohort {

class FakeJudge {
 public:
  struct Asked {
    nlohmann::json body;
    std::string authorization;
    std::string raw;
    std::string user() const { return body["messages"].back()["content"]; }
    std::string system() const { return body["messages"].front()["content"]; }
    std::string nonce() const {
      const std::string text = user(), mark = "\"nonce\" (the text \"";
      return text.substr(text.find(mark) + mark.size(), 16);
    }
  };
  using Behaviour = std::function<void(const Asked&, httplib::Response&)>;

  // With the files of a certificate and its key it speaks TLS.
  explicit FakeJudge(const std::string& certificate = "", const std::string& key = "")
      : server_(certificate.empty() ? std::make_unique<httplib::Server>()
                                    : std::make_unique<httplib::SSLServer>(certificate.c_str(), key.c_str())),
        scheme_(certificate.empty() ? "http" : "https") {
    server_->Post("/v1/chat/completions",
                  [this](const httplib::Request& request, httplib::Response& response) {
                    Asked asked{nlohmann::json::parse(request.body),
                                request.get_header_value("Authorization"), request.body};
                    Behaviour next;
                    {
                      std::lock_guard lock(mutex_);
                      asked_.push_back(asked);
                      most_ = std::max(most_, ++inside_);
                      next = always_;
                      if (!once_.empty()) next = std::move(once_.front()), once_.pop_front();
                    }
                    next(asked, response);
                    std::lock_guard lock(mutex_);
                    --inside_;
                  });
    server_->new_task_queue = [] { return new httplib::ThreadPool(32); };
    port_ = server_->bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_->listen_after_bind(); });
  }
  ~FakeJudge() {
    while (!server_->is_running()) std::this_thread::yield();
    server_->stop();
    thread_.join();
  }

  void always(Behaviour b) {
    std::lock_guard lock(mutex_);
    always_ = std::move(b);
  }
  void once(Behaviour b) {
    std::lock_guard lock(mutex_);
    once_.push_back(std::move(b));
  }
  std::vector<Asked> asked() const {
    std::lock_guard lock(mutex_);
    return asked_;
  }
  int most_at_once() const {
    std::lock_guard lock(mutex_);
    return most_;
  }
  std::string base_url() const { return scheme_ + "://127.0.0.1:" + std::to_string(port_) + "/v1"; }

  // A whole chat completion whose text is `content`.
  static std::string completion(const std::string& content, const std::string& finish = "stop") {
    return nlohmann::json{
        {"choices",
         {{{"index", 0},
           {"finish_reason", finish},
           {"message", {{"role", "assistant"}, {"content", content}}}}}},
        {"usage", {{"prompt_tokens", 90}, {"completion_tokens", 10}, {"total_tokens", 100}}}}
        .dump();
  }
  static Behaviour text(std::function<std::string(const Asked&)> content) {
    return [content](const Asked& a, httplib::Response& r) {
      r.set_content(completion(content(a)), "application/json");
    };
  }
  // A judge as it should be: this verdict (JSON), with the nonce of its question.
  static Behaviour verdict(const std::string& json) {
    return text([json](const Asked& a) {
      return R"({"reason": "because", "verdict": )" + json + R"(, "nonce": ")" + a.nonce() + "\"}";
    });
  }
  static Behaviour body(const std::string& raw) {
    return [raw](const Asked&, httplib::Response& r) { r.set_content(raw, "application/json"); };
  }
  static Behaviour status(int code, const std::string& retry_after = "") {
    return [code, retry_after](const Asked&, httplib::Response& r) {
      r.status = code;
      if (!retry_after.empty()) r.set_header("Retry-After", retry_after);
      r.set_content(R"({"error": {"message": "no"}})", "application/json");
    };
  }

 private:
  std::unique_ptr<httplib::Server> server_;
  const std::string scheme_;
  int port_ = 0;
  std::thread thread_;
  mutable std::mutex mutex_;
  Behaviour always_ = verdict("\"correct\"");
  std::deque<Behaviour> once_;
  std::vector<Asked> asked_;
  int inside_ = 0, most_ = 0;
};

}  // namespace cohort
