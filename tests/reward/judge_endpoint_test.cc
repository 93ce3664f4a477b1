// The judge's endpoint: in trouble, slow, gone, over TLS; what is asked once, what it may cost, and its key.
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "reward/judge/answers.h"
#include "reward/judge/prompt.h"
#include "reward/judge/reply.h"
#include "tests/reward/judge_fixture.h"

namespace cohort {
namespace {

using namespace judge_testing;

TEST(Judge, TroubleIsWaitedForAndNeverAScore) {
  FakeJudge judge;
  auto g = make(judge, "patience_s = 30\ntimeout_s = 0.5");
  const std::string good = R"({"reason": "", "verdict": "correct", "nonce": "n"})";
  std::vector<FakeJudge::Behaviour> troubles = {
      FakeJudge::status(500),
      FakeJudge::status(503),
      FakeJudge::status(429),
      FakeJudge::status(502),
      FakeJudge::body(""),
      FakeJudge::body("<html>"),
      FakeJudge::body("{}"),
      FakeJudge::body(R"({"choices": []})"),
      FakeJudge::body(R"({"choices": [{"message": {"content": null}, "finish_reason": "stop"}]})"),
      FakeJudge::body(FakeJudge::completion(good).substr(0, 60)),
      FakeJudge::body(FakeJudge::completion(good, "length")),
      FakeJudge::text([](const FakeJudge::Asked&) { return "Sure! I would say correct."; }),
      FakeJudge::text([&](const FakeJudge::Asked&) { return good; }),
      // a body cut off in the middle of the transfer
      [](const FakeJudge::Asked&, httplib::Response& r) {
        r.set_content_provider(500, "application/json", [](size_t, size_t, httplib::DataSink& sink) {
          sink.write("{\"choices\": ", 12);
          return false;
        });
      },
      // slower than the time-out
      [](const FakeJudge::Asked&, httplib::Response&) {
        std::this_thread::sleep_for(std::chrono::milliseconds(900));
      },
  };
  // each trouble alone: one try more, and the answer is the good one's
  std::vector<std::thread> threads;
  for (size_t i = 0; i < troubles.size(); ++i) {
    FakeJudge one;
    one.once(troubles[i]);
    const Verdict v = grade(*make(one, "patience_s = 30\ntimeout_s = 0.5"), "x");
    EXPECT_EQ(v.kind, K::passed) << i << v.reason;
    EXPECT_EQ(v.score, 1) << i;
    EXPECT_EQ(v.calls, 2u) << i;
  }
  // and each for ever
  for (size_t i = 0; i < troubles.size(); ++i) {
    judge.always(troubles[i]);
    const Verdict v = grade(*make(judge, "patience_s = 0\ntimeout_s = 0.5"), "x");
    EXPECT_EQ(v.kind, K::infra_error) << i;
    EXPECT_EQ(v.score, 0) << i;
    EXPECT_EQ(v.calls, 1u) << i;
  }
  for (int status : {400, 401, 404, 301}) {  // waiting mends none of these
    judge.always(FakeJudge::status(status));
    const size_t n = judge.asked().size();
    const Verdict v = grade(*g, "x");
    EXPECT_EQ(v.kind, K::infra_error);
    EXPECT_THAT(v.reason, HasSubstr(std::to_string(status)));
    EXPECT_EQ(judge.asked().size(), n + 1);
  }
}

TEST(Judge, DownAndMute) {
  // nobody listens
  const int closed = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(closed, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  socklen_t size = sizeof address;
  getsockname(closed, reinterpret_cast<sockaddr*>(&address), &size);
  const std::string url = fmt::format("http://127.0.0.1:{}/v1", ntohs(address.sin_port));
  Verdict v = grade(*make(url, "patience_s = 1.0"), "x");
  EXPECT_EQ(v.kind, K::infra_error);
  EXPECT_GE(v.calls, 2u);
  EXPECT_EQ(v.score, 0);
  // takes the connection and says nothing
  ASSERT_EQ(listen(closed, 16), 0);
  auto began = Clock::now();
  EXPECT_EQ(grade(*make(url, "patience_s = 0\ntimeout_s = 0.3"), "x").kind, K::infra_error);
  EXPECT_LT(seconds_since(began), 10);
  close(closed);
}

TEST(Judge, RetryAfterHoldsAllThreads) {
  FakeJudge judge;
  judge.once(FakeJudge::status(429, "2"));
  auto g = make(judge);
  const auto began = Clock::now();
  Verdict first, second;
  std::thread other([&] { first = grade(*g, "a"); });
  while (judge.asked().empty()) usleep(1000);
  usleep(200000);
  second = grade(*g, "b");  // was not refused, and yet waits
  EXPECT_GE(seconds_since(began), 1.9);
  other.join();
  EXPECT_EQ(first.kind, K::passed);
  EXPECT_EQ(second.kind, K::passed);
  EXPECT_EQ(judge.asked().size(), 3u);
  // as a date, too
  char date[64];
  const time_t then = time(nullptr) + 3;
  strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime(&then));
  judge.once(FakeJudge::status(503, date));
  const auto again = Clock::now();
  EXPECT_EQ(grade(*g, "d").kind, K::passed);
  EXPECT_GE(seconds_since(again), 1);
  judge.once(FakeJudge::status(503, "next week"));
  EXPECT_EQ(grade(*g, "e").kind, K::passed);
  // longer than the patience: no score, and the next grading waits on
  judge.always(FakeJudge::status(429, "3600"));
  auto brief = make(judge, "patience_s = 5");
  EXPECT_EQ(grade(*brief, "c").kind, K::infra_error);
  const size_t n = judge.asked().size();
  std::atomic<bool> cancelled = false;
  std::thread later([&] {
    usleep(300000);
    cancelled = true;
  });
  EXPECT_EQ(brief->grade(input_of("c"), cancelled).kind, K::cancelled);
  later.join();
  EXPECT_EQ(judge.asked().size(), n);
}

TEST(Judge, CancelEndsEveryWait) {
  FakeJudge judge;
  judge.always([](const FakeJudge::Asked&, httplib::Response&) {
    std::this_thread::sleep_for(std::chrono::seconds(2));
  });
  auto slow = make(judge, "timeout_s = 600\nconcurrency = 1");
  FakeJudge failing;
  failing.always(FakeJudge::status(500, "500"));
  auto waiting = make(failing, "patience_s = 900");
  for (Grader* g : {slow.get(), waiting.get()}) {
    std::atomic<bool> cancelled = false;
    std::vector<std::thread> threads;
    std::atomic<int> right = 0;
    for (int i = 0; i < 3; ++i)  // one in the request, one for the slot, one for the same answer
      threads.emplace_back([&, i] {
        right += g->grade(input_of(i == 2 ? "0" : std::to_string(i)), cancelled).kind == K::cancelled;
      });
    usleep(300000);
    const auto began = Clock::now();
    cancelled = true;
    for (std::thread& t : threads) t.join();
    EXPECT_LT(seconds_since(began), 1.5);
    EXPECT_EQ(right, 3);
  }
}

TEST(Judge, ConcurrencyIsBounded) {
  FakeJudge judge;
  judge.always([](const FakeJudge::Asked& a, httplib::Response& r) {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    FakeJudge::verdict("\"correct\"")(a, r);
  });
  auto g = make(judge, "concurrency = 3\nvotes = 2");
  std::vector<std::thread> threads;
  std::atomic<int> right = 0;
  for (int t = 0; t < 12; ++t)
    threads.emplace_back([&, t] { right += grade(*g, std::to_string(t)).kind == K::passed; });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(right, 12);
  EXPECT_EQ(judge.asked().size(), 24u);
  EXPECT_EQ(judge.most_at_once(), 3);
}

std::string fresh_file(const std::string& name) {
  const std::string path = ::testing::TempDir() + "/" + name + "_" + std::to_string(getpid()) + ".sqlite";
  for (const char* end : {"", "-wal", "-shm"}) std::filesystem::remove(path + end);
  return path;
}

TEST(Judge, SameContentIsAskedOnce) {
  FakeJudge judge;
  judge.always([](const FakeJudge::Asked& a, httplib::Response& r) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    FakeJudge::verdict("\"correct\"")(a, r);
  });
  const std::string cache = "cache = \"" + fresh_file("judge_cache") + "\"";
  {
    auto g = make(judge, cache);
    std::vector<std::thread> threads;
    std::atomic<int> reused = 0;
    for (int t = 0; t < 8; ++t) threads.emplace_back([&] { reused += grade(*g, "the same").reused; });
    for (std::thread& t : threads) t.join();
    EXPECT_EQ(reused, 7);
    EXPECT_EQ(judge.asked().size(), 1u);
  }
  const Verdict v = grade(*make(judge, cache), "the same");  // as another worker, or another run
  EXPECT_TRUE(v.reused);
  EXPECT_EQ(v.calls, 0u);
  EXPECT_EQ(v.kind, K::passed);
  EXPECT_EQ(judge.asked().size(), 1u);
  // whatever could change the answer makes another question
  for (const char* other : {"temperature = 0.5", "seed = 2", "prompt = \"harmlessness\"", "max_tokens = 99",
                            "response_format = \"text\"", "votes = 3"}) {
    const size_t n = judge.asked().size();
    if (std::string(other).find("harmless") != std::string::npos)
      judge.once(FakeJudge::verdict("\"harmless\""));
    EXPECT_FALSE(grade(*make(judge, cache + "\n" + other), "the same").reused) << other;
    EXPECT_EQ(judge.asked().size(), n + 1) << other;  // of the three votes, two are known
  }
  EXPECT_NE(grade(*make(judge, cache), "the same").hash,
            grade(*make(judge, cache + "\nseed = 2"), "the same").hash);
  // where it is asked, and how patiently, is not what decides
  EXPECT_EQ(grade(*make(judge, cache), "the same").hash,
            grade(*make(judge, cache + "\ntimeout_s = 5"), "the same").hash);
}

TEST(Judge, OneThreadWaitsForAnEndpointThatIsDown) {
  FakeJudge judge;
  judge.always([](const FakeJudge::Asked& a, httplib::Response& r) {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));  // until all are there
    FakeJudge::status(503)(a, r);
  });
  auto g = make(judge, "patience_s = 0");
  std::vector<std::thread> threads;
  std::atomic<int> failed = 0;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&] { failed += grade(*g, "the same").kind == K::infra_error; });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(failed, 8);
  EXPECT_LE(judge.asked().size(), 2u) << "they share its failure";
  judge.always(FakeJudge::verdict("\"correct\""));
  EXPECT_EQ(grade(*g, "the same").kind, K::passed);
  // a thread whose job is cancelled leaves the question to another that waits
  judge.once([](const FakeJudge::Asked&, httplib::Response&) {
    std::this_thread::sleep_for(std::chrono::milliseconds(800));
  });
  const size_t before = judge.asked().size();
  std::atomic<bool> cancelled = false;
  std::thread first([&] { EXPECT_EQ(g->grade(input_of("new"), cancelled).kind, K::cancelled); });
  while (judge.asked().size() == before) usleep(1000);
  std::thread second([&] { EXPECT_EQ(grade(*g, "new").kind, K::passed); });
  usleep(100000);
  cancelled = true;
  first.join();
  second.join();
}

TEST(Judge, BudgetEndsWithATypedVerdict) {
  FakeJudge judge;
  const std::string options = "cache = \"" + fresh_file("judge_budget") + "\"\nbudget_calls = 5\nvotes = 2";
  auto g = make(judge, options);
  EXPECT_EQ(grade(*g, "1").kind, K::passed);
  EXPECT_EQ(grade(*make(judge, options), "2").kind, K::passed);  // another worker of the host counts on
  const Verdict v = grade(*g, "3");
  EXPECT_EQ(v.kind, K::budget_exhausted);
  EXPECT_EQ(v.score, 0);
  EXPECT_THAT(v.reason, HasSubstr("budget_calls"));
  EXPECT_EQ(judge.asked().size(), 5u);
  EXPECT_EQ(grade(*g, "1").kind, K::passed);  // what is known costs nothing
  EXPECT_EQ(grade(*g, "4").kind, K::budget_exhausted);
  EXPECT_EQ(judge.asked().size(), 5u);
  EXPECT_EQ(grade(*make(judge, options, "another run"), "4").kind, K::passed);
  // tokens: 100 a call
  auto t = make(judge, "budget_tokens = 250");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(grade(*t, std::to_string(i)).kind, K::passed);
  EXPECT_EQ(grade(*t, "9").kind, K::budget_exhausted);
}

TEST(Judge, ProcessesShareCacheAndBudget) {
  const std::string path = fresh_file("judge_shared");
  constexpr int kProcesses = 4, kEach = 50, kBudget = 120;
  std::vector<pid_t> children;
  for (int p = 0; p < kProcesses; ++p) {
    const pid_t pid = fork();
    if (pid == 0) {
      int got = 0;
      try {
        judge::Answers answers(path);
        for (int i = 0; i < kEach; ++i) {
          got += answers.take_call("a", {kBudget, 0});
          answers.add_tokens("a", 1);
          answers.keep(std::to_string(i), std::to_string(p));
        }
      } catch (const std::exception& e) {
        fmt::print(stderr, "{}\n", e.what());
        _exit(255);
      }
      _exit(got);
    }
    children.push_back(pid);
  }
  int total = 0;
  for (pid_t pid : children) {
    int status = 0;
    waitpid(pid, &status, 0);
    ASSERT_TRUE(WIFEXITED(status));
    ASSERT_NE(WEXITSTATUS(status), 255);
    total += WEXITSTATUS(status);
  }
  EXPECT_EQ(total, kBudget);
  judge::Answers answers(path);
  EXPECT_EQ(answers.spent("a").calls, kBudget);
  EXPECT_EQ(answers.spent("a").tokens, kProcesses * kEach);
  EXPECT_TRUE(answers.find("49"));
  EXPECT_FALSE(answers.find("50"));
}

// A self-signed certificate for this machine's loopback address, and its key.
struct Certificate {
  std::string folder = ::testing::TempDir() + "/tls_XXXXXX";
  bool made = false;
  Certificate() {
    if (!mkdtemp(folder.data())) return;
    const std::string command = fmt::format(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=cohort-test -addext "
        "subjectAltName=IP:127.0.0.1 -keyout {} -out {} 2>/dev/null",
        key(), file());
    made = std::system(command.c_str()) == 0;
  }
  ~Certificate() { std::filesystem::remove_all(folder); }
  std::string file() const { return folder + "/certificate.pem"; }
  std::string key() const { return folder + "/key.pem"; }
};

TEST(Judge, OverTlsWithACertificateOfOnesOwn) {
  const Certificate certificate, other;
  if (!certificate.made || !other.made) GTEST_SKIP() << "openssl is not there to make a certificate";
  FakeJudge judge(certificate.file(), certificate.key());
  judge.always(FakeJudge::verdict("\"correct\""));
  auto trusting = make(judge, "patience_s = 0.0\nca_file = \"" + certificate.file() + "\"");
  const Verdict v = grade(*trusting, "42");
  EXPECT_EQ(v.kind, K::passed) << v.reason;
  // neither the system nor another certificate vouches for it: no score, and nothing was said to it
  const size_t asked = judge.asked().size();
  for (const std::string& more : {std::string(), "\nca_file = \"" + other.file() + "\""}) {
    const Verdict w = grade(*make(judge, "patience_s = 0.0" + more), "42");
    EXPECT_EQ(w.kind, K::infra_error);
    EXPECT_THAT(w.reason, HasSubstr("certificate"));
    EXPECT_EQ(w.hash, v.hash);
  }
  EXPECT_EQ(judge.asked().size(), asked);
  EXPECT_THAT(error_of([&] { make(judge, "ca_file = \"/no/such.pem\""); }), HasSubstr("/no/such.pem"));
}

TEST(Judge, TheKeyIsSentAndNeverSaid) {
  FakeJudge judge;
  setenv("COHORT_TEST_KEY", "sk-secret-1234", 1);
  const std::string file = fresh_file("judge_key");
  const std::string options = "api_key_env = \"COHORT_TEST_KEY\"\ncache = \"" + file + "\"\npatience_s = 0";
  auto g = make(judge, options);
  EXPECT_EQ(grade(*g, "x").kind, K::passed);
  EXPECT_EQ(judge.asked()[0].authorization, "Bearer sk-secret-1234");
  std::vector<FakeJudge::Behaviour> tellers;
  for (int status : {200, 400, 401, 403, 429, 500})
    tellers.push_back([status](const FakeJudge::Asked& a, httplib::Response& r) {
      r.status = status;
      r.set_content("your key is " + a.authorization, "text/plain");
    });
  tellers.push_back(FakeJudge::text([](const FakeJudge::Asked& a) { return a.authorization; }));
  for (size_t i = 0; i < tellers.size(); ++i) {
    judge.always(tellers[i]);
    const Verdict v = grade(*g, "y" + std::to_string(i));
    EXPECT_EQ(v.kind, K::infra_error);
    EXPECT_THAT(v.reason + v.evidence, Not(HasSubstr("secret"))) << i;
  }
  // an answer that carries it is no answer, or at least does not keep it
  g.reset();
  std::string bytes;
  for (const char* end : {"", "-wal"}) {
    std::ifstream in(file + end, std::ios::binary);
    bytes.append(std::istreambuf_iterator<char>(in), {});
  }
  EXPECT_THAT(bytes, Not(HasSubstr("secret")));
  unsetenv("COHORT_TEST_KEY");
  EXPECT_THAT(error_of([&] { make(judge, options); }), HasSubstr("COHORT_TEST_KEY"));
}

// llama-cpp-python says 500 and why; what a person has to do stands behind it.
TEST(Judge, AnUnknownResponseFormatIsNamed) {
  FakeJudge judge;
  judge.always([](const FakeJudge::Asked&, httplib::Response& r) {
    r.status = 500;
    r.set_content(std::string(200, 'x') + " 'loc': ('body', 'response_format', 'type')", "text/plain");
  });
  const Verdict v = grade(*make(judge, "patience_s = 0"), "42");
  EXPECT_EQ(v.kind, K::infra_error);
  EXPECT_THAT(v.reason, HasSubstr("set response_format to what this endpoint knows"));
  judge.always(FakeJudge::status(500));
  EXPECT_THAT(grade(*make(judge, "patience_s = 0"), "42").reason, Not(HasSubstr("response_format")));
}

}  // namespace
}  // namespace cohort
