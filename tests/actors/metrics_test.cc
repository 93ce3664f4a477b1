// /metrics, the page over HTTP, and the budget of paid endpoints.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>
#include <thread>

#include "actors/exposition.h"
#include "actors/http_page.h"
#include "tests/actors/direct.h"

namespace cohort::testing {
namespace {

using ::testing::HasSubstr;

// The samples of an exposition by their whole name with labels. Fails for a line that Prometheus would refuse.
std::map<std::string, double> samples(const std::string& text) {
  static const std::regex sample(
      R"(([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[a-z_]+="([^"\\\n]|\\["\\n])*"(,[a-z_]+="([^"\\\n]|\\["\\n])*")*\})? ([0-9.e+-]+|\+Inf|NaN))");
  std::map<std::string, double> out;
  std::set<std::string> typed;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string hash, what, name, type;
    if (line.starts_with("#")) {
      words >> hash >> what >> name >> type;
      EXPECT_TRUE(what == "HELP" || what == "TYPE") << line;
      if (what == "TYPE") {
        EXPECT_TRUE(typed.insert(name).second) << "twice: " << line;
        EXPECT_TRUE(type == "gauge" || type == "counter" || type == "histogram") << line;
      }
      continue;
    }
    std::smatch m;
    EXPECT_TRUE(std::regex_match(line, m, sample)) << line;
    const std::string family = std::regex_replace(m[1].str(), std::regex("_(bucket|sum|count)$"), "");
    EXPECT_TRUE(typed.contains(m[1]) || typed.contains(family)) << "no type: " << line;
    EXPECT_TRUE(out.emplace(m[1].str() + m[2].str(), std::stod(m[6])).second) << "twice: " << line;
  }
  return out;
}

TEST(Exposition, LabelsAndBuckets) {
  Exposition out;
  out.family("x_total", "counter", "a\\b\nc");
  out.sample(3, {{"who", "a\"b\\c\nd"}});
  Histogram h;
  for (double v : {0.0005, 0.001, 0.0011, 59.0, 1e9}) h.observe(v);
  out.family("y", "histogram", "");
  out.histogram(h, {{"k", "v"}});
  const auto s = samples(out.text());
  EXPECT_THAT(out.text(), HasSubstr("# HELP x_total a\\\\b\\nc\n"));
  EXPECT_EQ(s.at("x_total{who=\"a\\\"b\\\\c\\nd\"}"), 3);
  EXPECT_EQ(s.at("y_bucket{k=\"v\",le=\"0.001\"}"), 2);
  EXPECT_EQ(s.at("y_bucket{k=\"v\",le=\"0.0025\"}"), 3);
  EXPECT_EQ(s.at("y_bucket{k=\"v\",le=\"60\"}"), 4);
  EXPECT_EQ(s.at("y_bucket{k=\"v\",le=\"600\"}"), 4);
  EXPECT_EQ(s.at("y_bucket{k=\"v\",le=\"+Inf\"}"), 5);
  EXPECT_EQ(s.at("y_count{k=\"v\"}"), 5);
}

TEST_F(Direct, MetricsOfGrading) {
  options_.toml = "[[reward]]\nkind = \"code\"\nname = \"rule\"\n";
  start();
  join(Role::rollout, "a", 1);
  join(Role::reward, "r1", 0);
  join(Role::reward, "r2", 0);
  const GroupId group = take<Lease>("a").at(0).group;
  say("a", completion(group, 0));
  say("a", completion(group, 1));
  now_ += 2;  // the jobs wait for a grader
  say("r1", Credit{1});
  Graded g = graded(take<GradeJob>("r1").at(0), 1);
  g.parts[0].seconds = 0.02;
  g.parts[0].verdict.reused = true;
  g.waited_s = 0.5;
  say("r1", g);
  now_ += 1;
  say("r2", Credit{1});
  Graded fault = graded(take<GradeJob>("r2").at(0), 0, VerdictKind::infra_error);
  fault.parts[0].seconds = 7;
  say("r2", fault);
  const auto s = samples(coordinator_->metrics_text(coordinator_->status_json(now_)));
  const std::string part = "{part=\"rule\",kind=\"code\"";
  EXPECT_EQ(s.at("cohort_verdicts_total" + part + ",verdict=\"passed\"}"), 1);
  EXPECT_EQ(s.at("cohort_verdicts_total" + part + ",verdict=\"infra_error\"}"), 1);
  EXPECT_EQ(s.at("cohort_grading_retries_total" + part + "}"), 1);
  EXPECT_EQ(s.at("cohort_grading_cache_hits_total" + part + "}"), 1);
  EXPECT_EQ(s.at("cohort_grading_seconds_count" + part + "}"), 2);
  EXPECT_DOUBLE_EQ(s.at("cohort_grading_seconds_sum" + part + "}"), 7.02);
  EXPECT_EQ(s.at("cohort_grading_seconds_bucket" + part + ",le=\"0.025\"}"), 1);
  EXPECT_EQ(s.at("cohort_grading_queue_seconds_count"), 1);
  EXPECT_DOUBLE_EQ(s.at("cohort_grading_queue_seconds_sum"), 2.5);
  EXPECT_EQ(s.at("cohort_queue{queue=\"completions_to_grade\"}"), 1);
  EXPECT_EQ(s.at("cohort_workers{role=\"reward\"}"), 2);
  EXPECT_EQ(s.at("cohort_workers{role=\"learner\"}"), 0);
  EXPECT_EQ(s.at("cohort_graded_total"), 1);
  EXPECT_TRUE(s.contains("cohort_worker_active{worker=\"r1\",role=\"reward\",host=\"here\"}"));
}

TEST_F(Direct, ABudgetUsedUpEndsTheRunInOrderAndLosesNothing) {
  start();
  join(Role::rollout, "a", 1);
  join(Role::reward, "r", 2);
  const GroupId group = take<Lease>("a").at(0).group;
  for (uint32_t i : {0u, 1u}) say("a", completion(group, i));
  auto jobs = take<GradeJob>("r");
  ASSERT_EQ(jobs.size(), 2u);
  say("r", graded(jobs[0], 1));
  Graded broke = graded(jobs[1], 0, VerdictKind::budget_exhausted);
  broke.parts[0].verdict.reason = "no money";
  say("r", broke);
  const auto status = nlohmann::json::parse(coordinator_->status_json(now_));
  EXPECT_EQ(status["state"], "stopping");
  EXPECT_THAT(status["reason"].get<std::string>(), HasSubstr("no money"));
  EXPECT_EQ(take<Shutdown>("a").size(), 1u);
  EXPECT_TRUE(take<Shutdown>("r").at(0).drain) << "what is under way is paid for";
  EXPECT_EQ(number("SELECT COUNT(*) FROM infra_errors"), 0) << "no attempt is counted";
  EXPECT_EQ(number("SELECT COUNT(*) FROM completions WHERE reward IS NOT NULL"), 1);
  EXPECT_EQ(number("SELECT COUNT(*) FROM groups WHERE state='open'"), 1);
  coordinator_.reset();
  ledger_.reset();
  sent_.clear();
  start();  // with a larger budget
  join(Role::reward, "r", 5);
  jobs = take<GradeJob>("r");
  ASSERT_EQ(jobs.size(), 1u);
  EXPECT_EQ(jobs[0].index, 1u);
  say("r", graded(jobs[0], 0));
  EXPECT_EQ(number("SELECT COUNT(*) FROM groups WHERE state='ready'"), 1);
}

TEST_F(Direct, TheBudgetIsTheRunsWhoeverSpendsIt) {
  const std::string head = "[[reward]]\nkind = \"judge\"\nname = \"rule\"\nbudget_calls = ";
  options_.toml = head + "7\n";
  start();
  join(Role::rollout, "a", 4);
  join(Role::reward, "r1", 1);
  join(Role::reward, "r2", 1);
  auto leases = take<Lease>("a");
  for (uint32_t i : {0u, 1u}) say("a", completion(leases.at(0).group, i));
  auto spend = [&](const std::string& worker, uint32_t calls, VerdictKind kind = VerdictKind::passed) {
    Graded g = graded(take<GradeJob>(worker).at(0), kind == VerdictKind::passed, kind);
    g.parts[0].verdict.calls = calls;
    g.parts[0].verdict.tokens = 10 * calls;
    say(worker, g);
  };
  spend("r1", 3);
  spend("r2", 3, VerdictKind::infra_error);  // failed, but paid
  EXPECT_EQ(nlohmann::json::parse(coordinator_->status_json(now_))["state"], "running");
  coordinator_.reset();
  ledger_.reset();
  sent_.clear();
  start();  // six are spent, by two workers and before a restart
  join(Role::reward, "r3", 1);
  spend("r3", 1);
  const auto status = nlohmann::json::parse(coordinator_->status_json(now_));
  EXPECT_EQ(status["state"], "stopping");
  EXPECT_THAT(status["reason"].get<std::string>(), HasSubstr("7 calls, 70 tokens"));
  EXPECT_EQ(number("SELECT COUNT(*) FROM completions WHERE reward IS NOT NULL"), 2)
      << "what was paid for counts";
  const auto s = samples(coordinator_->metrics_text(coordinator_->status_json(now_)));
  EXPECT_EQ(s.at("cohort_judge_calls_total{part=\"rule\",kind=\"judge\"}"), 7);
  coordinator_.reset();
  ledger_.reset();
  options_.toml = head + "100\n";
  start();
  EXPECT_EQ(nlohmann::json::parse(coordinator_->status_json(now_))["state"], "running");
}

TEST(HttpPage, ServesSnapshotsAndNothingElse) {
  HttpPage page("127.0.0.1", 0);
  httplib::Client client("127.0.0.1", page.port());
  EXPECT_EQ(client.Get("/metrics")->status, 503);
  page.publish({R"({"step": 1})", "cohort_step 1\n"});
  EXPECT_EQ(client.Get("/metrics")->body, "cohort_step 1\n");
  EXPECT_THAT(client.Get("/metrics")->get_header_value("Content-Type"), HasSubstr("version=0.0.4"));
  EXPECT_EQ(client.Get("/status.json")->body, R"({"step": 1})");
  page.publish({R"({"step": 2})", "cohort_step 2\n"});
  EXPECT_EQ(client.Get("/status.json")->body, R"({"step": 2})");
  const auto html = client.Get("/");
  EXPECT_EQ(html->status, 200);
  EXPECT_THAT(html->body, HasSubstr("/status.json"));
  EXPECT_EQ(html->body.find("http://"), std::string::npos) << "it fetches nothing from elsewhere";
  EXPECT_EQ(html->body.find("https://"), std::string::npos);
  for (const char* path : {"/etc/passwd", "/../../etc/passwd", "/metrics/x", "/favicon.ico"})
    EXPECT_EQ(client.Get(path)->status, 404) << path;
  EXPECT_EQ(client.Post("/metrics", "x", "text/plain")->status, 404);
  EXPECT_THROW(HttpPage("127.0.0.1", page.port()), Error) << "no two share a port";
  EXPECT_THROW(HttpPage("203.0.113.1", 0), Error) << "not an address of this machine";
}

TEST(HttpPage, ManyOpenPagesShareTwoThreads) {
  HttpPage page("127.0.0.1", 0);
  page.publish({"{}", "x 1\n"});
  std::vector<std::unique_ptr<httplib::Client>> open;
  const auto began = std::chrono::steady_clock::now();
  for (int i = 0; i < 8; ++i) {
    open.push_back(std::make_unique<httplib::Client>("127.0.0.1", page.port()));
    open.back()->set_keep_alive(true);
    const auto got = open.back()->Get("/status.json");
    ASSERT_TRUE(got) << i;
    EXPECT_EQ(got->get_header_value("Connection"), "close") << "it would hold one of two threads";
  }
  for (auto& client : open) EXPECT_EQ(client->Get("/metrics")->body, "x 1\n");
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(10));
}

TEST(HttpPage, SlowReadersDelayNobodyButReaders) {
  HttpPage page("127.0.0.1", 0);
  const std::string big(8 << 20, 'x');
  page.publish({big, big});
  std::vector<int> mute;
  for (int i = 0; i < 20; ++i) {  // ask, and never read
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(page.port()));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
    const std::string ask = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    ASSERT_EQ(write(fd, ask.data(), ask.size()), static_cast<ssize_t>(ask.size()));
    mute.push_back(fd);
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  // what the event loop calls goes through while both threads are held
  for (int i = 0; i < 1000; ++i) page.publish({"{}", std::to_string(i)});
  for (int fd : mute) close(fd);
  httplib::Client client("127.0.0.1", page.port());
  client.set_read_timeout(30);
  EXPECT_EQ(client.Get("/metrics")->body, "999");
}

}  // namespace
}  // namespace cohort::testing
