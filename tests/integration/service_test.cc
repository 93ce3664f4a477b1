// Reward workers as a service: the real coordinator and real reward workers, which ask a judge that is often in
// trouble and are themselves killed at random. Rollout and learner are fakes that answer at once.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "tests/actors/fake_run.h"
#include "tests/actors/link_workers.h"
#include "tests/actors/run_check.h"
#include "tests/integration/process.h"
#include "tests/reward/fake_judge.h"
#include "transport/base/log.h"

namespace cohort::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

int free_port() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  bind(fd, reinterpret_cast<sockaddr*>(&a), sizeof a);
  socklen_t size = sizeof a;
  getsockname(fd, reinterpret_cast<sockaddr*>(&a), &size);
  close(fd);
  return ntohs(a.sin_port);
}

std::string text_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Says what the completion's last letter is: an odd index is correct. One question in `trouble` goes wrong first.
FakeJudge::Behaviour by_index(int trouble) {
  return [trouble, rng = std::make_shared<std::mt19937>(7), lock = std::make_shared<std::mutex>()](
             const FakeJudge::Asked& a, httplib::Response& r) {
    unsigned dice, wait;
    {
      std::lock_guard held(*lock);
      dice = (*rng)() % static_cast<unsigned>(trouble);
      wait = 5 + (*rng)() % 30;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(wait));
    if (dice == 0) return FakeJudge::status(wait % 2 ? 503 : 429)(a, r);
    if (dice == 1) return FakeJudge::body("{\"choices\": [{\"mess")(a, r);
    if (dice == 2) std::this_thread::sleep_for(1500ms);  // past the time-out
    const std::string user = a.user(), close = "\n</response nonce";
    const char last = user[user.find(close) - 1];
    FakeJudge::verdict((last - '0') % 2 ? "\"correct\"" : "\"incorrect\"")(a, r);
  };
}

class Service : public ::testing::Test {
 protected:
  void SetUp() override {
    log::init("test", "", log::Level::error);
    dir_ = temp_dir("service");
    std::ofstream out(dir_ + "/train.jsonl");
    for (int i = 0; i < 200; ++i)
      out << nlohmann::json{{"id", i}, {"prompt", "question " + std::to_string(i)}, {"reference", "r"}}
          << "\n";
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  void config(int steps, const std::string& judge_options) {
    port_ = free_port();
    std::ofstream(dir_ + "/run.toml")
        << link_config(dir_, steps, 4, 4)
        << fmt::format("http_port = {}\n[grading]\nconcurrency = 4\n", port_)
        << fmt::format(
               "[[reward]]\nkind = \"judge\"\nbase_url = \"{}\"\nmodel = \"m\"\n"
               "cache = \"{}/judge.sqlite\"\ntimeout_s = 0.5\n{}\n",
               judge_.base_url(), dir_, judge_options);
  }
  std::unique_ptr<cohort::Process> coordinator() {
    auto p = std::make_unique<cohort::Process>(
        folder("c"), std::vector<std::string>{"--config", dir_ + "/run.toml", "--run-dir", dir_ + "/run"},
        COHORT_BIN_DIR "/cohort-coordinator");
    p->until([&] { return text_of(dir_ + "/run/coordinator.endpoint").ends_with("\n"); }, 20);
    run_.endpoint = text_of(dir_ + "/run/coordinator.endpoint");
    if (!run_.endpoint.empty()) run_.endpoint.pop_back();
    return p;
  }
  std::unique_ptr<cohort::Process> reward(int i) {
    const std::string name = "reward-" + std::to_string(i);
    return std::make_unique<cohort::Process>(
        folder(name), std::vector<std::string>{"--join", run_.endpoint, "--name", name},
        COHORT_BIN_DIR "/cohort-reward");
  }
  cohort::Outcome replay(const std::string& id) {
    cohort::Process p(folder("replay"), {"verify", "replay", dir_ + "/run", id},
                      COHORT_BIN_DIR "/cohort-reward");
    return p.wait(30);
  }
  std::string folder(const std::string& name) {
    std::filesystem::create_directories(dir_ + "/" + name);
    return dir_ + "/" + name;
  }
  int64_t number(const std::string& sql) { return sql_number(dir_ + "/run", sql); }

  std::string dir_;
  FakeJudge judge_;
  int port_ = 0;
  LinkRun run_;
};

TEST_F(Service, KilledWorkersAndAJudgeInTroubleLoseAndDoubleNothing) {
  judge_.always(by_index(12));
  config(12, "patience_s = 60.0");
  auto c = coordinator();
  ASSERT_FALSE(run_.endpoint.empty()) << c->output();
  run_.credit = 6;
  run_.tokens = 8;
  std::vector<std::thread> fakes;
  fakes.emplace_back([&] { link_rollout(run_, "rollout-0"); });
  fakes.emplace_back([&] { link_learner(run_, 5); });
  std::vector<std::unique_ptr<cohort::Process>> workers;
  for (int i = 0; i < 3; ++i) workers.push_back(reward(i));
  std::mt19937 rng(5);
  std::string metrics, page;
  for (int kill = 0; kill < 9 && c->alive().size() > 0; ++kill) {
    std::this_thread::sleep_for(std::chrono::milliseconds(150 + rng() % 250));
    httplib::Client client("127.0.0.1", port_);
    if (const auto got = client.Get("/metrics"); got && got->status == 200) metrics = got->body;
    if (const auto got = client.Get("/")) page = got->body;
    const size_t which = rng() % workers.size();
    workers[which]->signal(SIGKILL);
    workers[which] = reward(static_cast<int>(which));
  }
  const cohort::Outcome out = c->wait(120);
  run_.stop = true;
  for (auto& t : fakes) t.join();
  EXPECT_EQ(out.code, 0) << out.output << out.error;
  for (auto& w : workers) EXPECT_EQ(w->wait(20).code, 0) << "told to leave, it leaves";
  EXPECT_EQ(run_.trained.size(), 12u) << run_.trouble;
  EXPECT_EQ(number("SELECT COUNT(*) FROM groups WHERE state='consumed'"), 48);
  EXPECT_EQ(number("SELECT COUNT(*) FROM groups WHERE state='failed'"), 0);
  EXPECT_EQ(
      number("SELECT COUNT(*) FROM completions c JOIN groups USING(group_id) WHERE state='consumed' AND "
             "(c.reward IS NULL OR c.reward != c.idx % 2)"),
      0)
      << "every reward is the judge's of that completion";
  EXPECT_EQ(number("SELECT COUNT(*) FROM verdicts"),
            number("SELECT COUNT(*) FROM completions WHERE reward IS NOT NULL"))
      << "one verdict a completion";
  EXPECT_EQ(number("SELECT COUNT(*) FROM verdicts WHERE kind NOT IN ('passed','failed')"), 0);
  EXPECT_GT(number("SELECT COUNT(*) FROM infra_errors"), 0) << "some were lost with their workers";
  EXPECT_GE(number("SELECT COUNT(DISTINCT graded_by) FROM completions WHERE reward IS NOT NULL"), 2);
  EXPECT_THAT(metrics, HasSubstr("cohort_verdicts_total{part=\"judge\",kind=\"judge\",verdict=\"passed\"}"));
  EXPECT_THAT(metrics, HasSubstr("cohort_workers{role=\"reward\"}"));
  EXPECT_THAT(page, HasSubstr("status.json"));

  // graded again from the ledger: the same hash, the same verdict, and nothing asked
  const size_t asked = judge_.asked().size();
  cohort::Outcome again = replay("1");
  EXPECT_EQ(again.code, 0) << again.output << again.error;
  std::istringstream lines(again.output);
  int n = 0;
  for (std::string line; std::getline(lines, line); ++n) {
    const auto j = nlohmann::json::parse(line);
    EXPECT_EQ(j["hash_agrees"], true);
    EXPECT_EQ(j["verdict_agrees"], true);
    EXPECT_EQ(j["now"]["hash"].get<std::string>().size(), 32u);
    EXPECT_EQ(j["index"], n);
  }
  EXPECT_EQ(n, 4);
  EXPECT_EQ(judge_.asked().size(), asked);
  EXPECT_EQ(replay("1/9").code, 1);
  EXPECT_EQ(replay("x").code, 2);
  // a completion that was not what was graded is noticed
  {
    Database db(dir_ + "/run/ledger.sqlite", false);
    db.run("UPDATE completions SET text = text || '0' WHERE group_id = 1 AND idx = 1");
  }
  again = replay("1/1");
  EXPECT_EQ(again.code, 1);
  EXPECT_THAT(again.output, HasSubstr("\"hash_agrees\":false"));
  EXPECT_THAT(again.output, HasSubstr("\"verdict_agrees\":false"));
}

TEST_F(Service, ABudgetUsedUpEndsInOrderAndGoesOnWithMore) {
  judge_.always(by_index(1000000));
  config(4, "budget_calls = 25");
  auto c = coordinator();
  ASSERT_FALSE(run_.endpoint.empty()) << c->output();
  run_.credit = 4;
  run_.tokens = 8;
  auto all = [&](std::unique_ptr<cohort::Process> c) {
    std::vector<std::thread> fakes;
    fakes.emplace_back([&] { link_rollout(run_, "rollout-0"); });
    fakes.emplace_back([&] { link_learner(run_, 1); });
    auto one = reward(0);
    const cohort::Outcome out = c->wait(60);
    for (auto& t : fakes) t.join();
    EXPECT_EQ(one->wait(20).code, 0);
    return out;
  };
  cohort::Outcome out = all(std::move(c));
  EXPECT_EQ(out.code, 0) << out.output << out.error;
  EXPECT_THAT(out.output + out.error, HasSubstr("budget_calls"));
  EXPECT_EQ(judge_.asked().size(), 25u);
  EXPECT_EQ(number("SELECT COUNT(*) FROM infra_errors"), 0);
  EXPECT_EQ(number("SELECT COUNT(*) FROM groups WHERE state='failed'"), 0);
  const int64_t graded = number("SELECT COUNT(*) FROM completions WHERE reward IS NOT NULL");
  EXPECT_EQ(graded, 25);
  config(4, "budget_calls = 2500");  // the only key that differs besides the port
  const size_t before = run_.trained.size();
  out = all(coordinator());
  EXPECT_EQ(out.code, 0) << out.output << out.error;
  EXPECT_LT(before, 4u);
  EXPECT_EQ(number("SELECT COUNT(*) FROM groups WHERE state='consumed'"), 16);
}

// Programs of this machine that gave themselves this name, by their state.
int running(const std::string& name) {
  int n = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    std::string pid, comm, state;
    std::ifstream(entry.path() / "stat") >> pid >> comm >> state;
    n += comm == "(" + name + ")" && state != "Z" && state != "X";
  }
  return n;
}

// A group that is given up while three of its programs sleep in the jail, and groups of few different programs.
TEST_F(Service, GradingThatNoLongerMattersIsEndedAndEqualProgramsRunOnce) {
  const std::string name = "cohortc" + std::to_string(getpid() % 1000000);
  std::ofstream(dir_ + "/second.py")
      << "import json, sys, time\nfor line in sys.stdin:\n    job = json.loads(line)\n    time.sleep(0.02)\n"
         "    print('?' if '# bad' in job['completion'] else json.dumps({'id': job['id'], 'score': 0.0}), "
         "flush=True)\n";
  std::ofstream prompts(dir_ + "/train.jsonl");
  for (int i = 0; i < 200; ++i)
    prompts << nlohmann::json{{"id", i},
                              {"prompt", "print 1"},
                              {"language", "python"},
                              {"tests", {{{"stdin", ""}, {"stdout", "1"}}}},
                              {"limits", {{"wall_s", 3000}}}}
            << "\n";
  prompts.close();
  port_ = free_port();
  std::ofstream(dir_ + "/run.toml")
      << link_config(dir_, 8, 4, 4)
      << fmt::format("http_port = {}\ngrading_attempts = 2\n[grading]\nconcurrency = 4\n", port_)
      << "[[reward]]\nkind = \"code\"\nwhole_completion = true\n"
      << fmt::format("[[reward]]\nkind = \"process\"\ncommand = [\"python3\", \"{}/second.py\"]\n", dir_);
  auto c = coordinator();
  ASSERT_FALSE(run_.endpoint.empty()) << c->output();
  run_.credit = 1;
  run_.tokens = 8;
  std::atomic<bool> asleep = false;
  run_.text = [&](GroupId group, uint32_t index) -> std::string {
    if (group != 1) return index % 2 ? "print(1)" : "print(2)  # " + std::to_string(index);
    if (index < 3)
      return "import ctypes, time\nctypes.CDLL(None).prctl(15, b'" + name + "', 0, 0, 0)\ntime.sleep(2000)";
    // the last of the first group, whose second reward cannot be had, waits for the others
    for (int i = 0; i < 600 && running(name) < 1; ++i) std::this_thread::sleep_for(50ms);
    asleep = running(name) > 0;
    return "print(1)  # bad";
  };
  std::vector<std::thread> fakes;
  fakes.emplace_back([&] { link_rollout(run_, "rollout-0"); });
  fakes.emplace_back([&] { link_learner(run_, 1); });
  auto one = reward(0);
  std::string metrics;
  httplib::Client client("127.0.0.1", port_);
  EXPECT_TRUE(c->until(
      [&] {
        if (const auto got = client.Get("/metrics"); got && got->status == 200) metrics = got->body;
        return c->alive().empty();
      },
      60));
  const cohort::Outcome out = c->wait(10);
  run_.stop = true;
  for (auto& t : fakes) t.join();
  EXPECT_EQ(out.code, 0) << out.output << out.error;
  EXPECT_TRUE(asleep) << "the programs of the group that was given up had begun";
  EXPECT_EQ(number("SELECT COUNT(*) FROM groups WHERE state='failed'"), 1);
  EXPECT_EQ(number("SELECT COUNT(*) FROM groups WHERE state='consumed'"), 32);
  EXPECT_EQ(number("SELECT COUNT(*) FROM completions WHERE group_id = 1 AND reward IS NOT NULL"), 0);
  EXPECT_EQ(number("SELECT COUNT(*) FROM verdicts WHERE group_id = 1"), 0)
      << "what was cancelled is no verdict";
  EXPECT_EQ(one->wait(20).code, 0);
  EXPECT_EQ(running(name), 0) << "and its programs were killed, not waited for";
  // of four completions a group two differ, all of a prompt each: half are found
  const std::string found = "cohort_grading_cache_hits_total{part=\"code\",kind=\"code\"} ";
  const size_t at = metrics.find(found);
  ASSERT_NE(at, std::string::npos) << metrics;
  EXPECT_GE(std::stod(metrics.substr(at + found.size())), 1);
  EXPECT_GT(number("SELECT COUNT(*) FROM verdicts WHERE evidence LIKE '%\"reused\":true%'"), 6);
}

// Another host: a network namespace with a cable to ours. Root only; gone with this object, and what a killed test
// left behind is cleared by the next.
class OtherHost {
 public:
  static bool possible() {
    return geteuid() == 0 && access("/usr/sbin/ip", X_OK) == 0 && sh("netns add " + name() + "-try") &&
           sh("netns del " + name() + "-try");
  }
  OtherHost() {
    clear_dead();
    ok = sh("netns add " + name()) &&
         sh("link add " + cable() + " type veth peer name eth0 netns " + name()) &&
         sh("addr add " + address(1) + "/30 dev " + cable()) && sh("link set " + cable() + " up") &&
         inside("addr add " + address(2) + "/30 dev eth0") && inside("link set eth0 up");
  }
  ~OtherHost() {
    sh("link del " + cable());
    sh("netns del " + name());
  }
  void plug(bool in) const { sh("link set " + cable() + (in ? " up" : " down")); }
  static std::string name() { return "cohort-" + std::to_string(getpid()); }
  // Of our end (1) and its end (2); another pair for each test process, as several may run.
  static std::string address(int end) {
    const int pid = getpid();
    return fmt::format("10.231.{}.{}", pid & 0xff, ((pid >> 8) & 0x3f) * 4 + end);
  }
  bool ok = false;

 private:
  static std::string cable() { return "ch" + std::to_string(getpid()); }
  static bool sh(const std::string& what) {
    return std::system(("/usr/sbin/ip " + what + " 2>/dev/null").c_str()) == 0;
  }
  static bool inside(const std::string& what) { return sh("-n " + name() + " " + what); }
  static void clear_dead() {  // its cable goes with it
    std::error_code ec;
    for (const auto& entry : std::filesystem::directory_iterator("/run/netns", ec)) {
      const std::string name = entry.path().filename();
      if (!name.starts_with("cohort-")) continue;
      const int pid = std::atoi(name.c_str() + 7);
      if (pid > 0 && kill(pid, 0) != 0) sh("netns del " + name);
    }
  }
};

TEST_F(Service, FromAnotherHostAndThroughACutCable) {
  if (!OtherHost::possible()) GTEST_SKIP() << "no network namespaces here";
  OtherHost host;
  if (!host.ok) GTEST_SKIP() << "no cable can be laid here";
  std::ofstream(dir_ + "/slow.py")
      << "import json, sys, time\nfor line in sys.stdin:\n    job = json.loads(line)\n"
         "    time.sleep(0.05)\n    print(json.dumps({'id': job['id'], 'score': "
         "int(job['completion'][-1]) % 2}), flush=True)\n";
  std::ofstream(dir_ + "/run.toml")
      << link_config(dir_, 20, 4, 4) << fmt::format("endpoint = \"tcp://{}:0\"\n", OtherHost::address(1))
      << fmt::format(
             "[[reward]]\nkind = \"process\"\ncommand = [\"python3\", \"{}/slow.py\"]\ninstances = 2\n",
             dir_);
  auto c = coordinator();
  ASSERT_FALSE(run_.endpoint.empty()) << c->output();
  run_.credit = 6;
  run_.tokens = 8;
  std::vector<std::thread> fakes;
  fakes.emplace_back([&] { link_rollout(run_, "rollout-0"); });
  fakes.emplace_back([&] { link_learner(run_, 5); });
  auto far_away = [&] {
    return std::make_unique<cohort::Process>(
        folder("far"),
        std::vector<std::string>{"netns", "exec", OtherHost::name(), COHORT_BIN_DIR "/cohort-reward",
                                 "--join", run_.endpoint, "--name", "far"},
        "/usr/sbin/ip");
  };
  auto graded = [&](const std::string& by) {
    return number("SELECT COUNT(*) FROM completions WHERE graded_by='" + by + "'");
  };
  auto far = far_away();
  EXPECT_TRUE(far->until([&] { return graded("far") > 4; }, 30)) << far->output();
  auto near = reward(0);
  EXPECT_TRUE(near->until([&] { return graded("reward-0") > 4; }, 30)) << near->output();
  // the cable is cut: its jobs are graded here; mended, it is back
  host.plug(false);
  std::this_thread::sleep_for(4s);
  host.plug(true);
  const int64_t before = graded("far");
  EXPECT_TRUE(far->until([&] { return graded("far") > before || c->alive().empty(); }, 30));
  far->signal(SIGKILL);
  const cohort::Outcome out = c->wait(90);
  run_.stop = true;
  for (auto& t : fakes) t.join();
  EXPECT_EQ(out.code, 0) << out.output << out.error;
  EXPECT_EQ(number("SELECT COUNT(*) FROM groups WHERE state='consumed'"), 80);
  EXPECT_EQ(number("SELECT COUNT(*) FROM groups WHERE state='failed'"), 0);
  EXPECT_EQ(
      number("SELECT COUNT(*) FROM completions c JOIN groups USING(group_id) WHERE state='consumed' AND "
             "(c.reward IS NULL OR c.reward != c.idx % 2)"),
      0);
  EXPECT_EQ(number("SELECT COUNT(*) FROM verdicts"),
            number("SELECT COUNT(*) FROM completions WHERE reward IS NOT NULL"));
}

}  // namespace
}  // namespace cohort::testing
