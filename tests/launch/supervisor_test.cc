// The supervisor with real processes: restarts, what it makes of a child's end, and that nothing is left
// behind.
#include "actors/supervisor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "transport/base/error.h"

namespace cohort {
namespace {

using testing::HasSubstr;
using namespace std::chrono_literals;

class SupervisorTest : public testing::Test {
 protected:
  SupervisorTest() {
    char name[] = "/tmp/cohort_supervisor_XXXXXX";
    folder = mkdtemp(name);
    options = {.log_dir = folder,
               .guard = COHORT_BIN_DIR "/cohort",
               .environment = {{"COHORT_TEST_MARK", folder}},
               .backoff_s = 0.02,
               .max_backoff_s = 0.1,
               .healthy_s = 5,
               .max_quick_failures = 3};
  }
  ~SupervisorTest() override { std::filesystem::remove_all(folder); }

  ChildSpec shell(const std::string& name, const std::string& script, bool restart = true) const {
    return {name, {"/bin/sh", "-c", script}, restart};
  }
  // Processes that carry this test's mark in their environment, zombies aside.
  std::vector<pid_t> alive() const {
    std::vector<pid_t> out;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
      std::ifstream file(entry.path() / "environ", std::ios::binary);
      const std::string text{std::istreambuf_iterator<char>(file), {}};
      if (text.find("COHORT_TEST_MARK=" + folder) != std::string::npos)
        out.push_back(std::atoi(entry.path().filename().c_str()));
    }
    return out;
  }
  bool all_gone(double seconds) const {
    for (int i = 0; i < seconds * 50; ++i) {
      if (alive().empty()) return true;
      std::this_thread::sleep_for(20ms);
    }
    return false;
  }
  ChildEnd next_end(Supervisor& s) const {
    for (int i = 0; i < 100; ++i)
      if (auto ends = s.wait(100ms); !ends.empty()) return ends[0];
    ADD_FAILURE() << "no child ended";
    return {};
  }

  std::string folder;
  SupervisorOptions options;
};

TEST_F(SupervisorTest, RestartsADeadWorkerAndGivesUpAfterAFew) {
  Supervisor s(options);
  s.start(shell("w", "echo life; kill -9 $$"));
  for (int life = 1; life <= 3; ++life) {
    const ChildEnd end = next_end(s);
    EXPECT_EQ(end.signal, SIGKILL);
    EXPECT_EQ(end.will_restart, life < 3);
    EXPECT_EQ(end.hopeless, life == 3);
  }
  std::ifstream log(s.log_path("w"));
  int lives = 0;
  for (std::string line; std::getline(log, line);) lives += line == "life";
  EXPECT_EQ(lives, 3);
  EXPECT_EQ(s.usage()[0].starts, 3);
}

TEST_F(SupervisorTest, ABadConfigurationIsHopelessAtOnceAndItsLineIsFound) {
  Supervisor s(options);
  s.start(shell("learner",
                "echo 'cohort-learner: run.toml:3: grpo.clip = 2 must be from 0 to 1' >&2;"
                "echo -------; echo 'mpirun detected that one or more processes: exited'; exit 2"));
  const ChildEnd end = next_end(s);
  EXPECT_TRUE(end.hopeless);
  EXPECT_EQ(end.error, "run.toml:3: grpo.clip = 2 must be from 0 to 1");
  s.start(shell("second", "echo 'cohort-rollout: m/model.safetensors: is truncated' >&2; exit 1"));
  EXPECT_TRUE(next_end(s).hopeless);
  s.start(shell("crash", "exit 1"));  // no line for a person: worth another try
  EXPECT_TRUE(next_end(s).will_restart);
}

TEST_F(SupervisorTest, AnOlderLifesErrorIsNotThisOnes) {
  options.max_quick_failures = 10;
  std::ofstream(folder + "/w.log") << "cohort-learner: an old complaint\n";
  Supervisor s(options);
  s.start(shell("w", "exit 1"));
  EXPECT_EQ(next_end(s).error, "");
}

// mpirun ends with 128 + the signal that ended a rank.
TEST_F(SupervisorTest, ASignalBehindAnExitCodeIsNamed) {
  Supervisor s(options);
  s.start(shell("learner", "exit 137"));
  EXPECT_THAT(next_end(s).text(), HasSubstr("learner exited with 137 (signal 9, Killed)"));
}

TEST_F(SupervisorTest, AMissingProgramIsOneLine) {
  Supervisor s(options);
  s.start({"x", {"/nowhere/cohort-x"}, true});
  EXPECT_THAT(next_end(s).text(), HasSubstr("/nowhere/cohort-x: cannot be started"));
}

TEST_F(SupervisorTest, KillAllTakesGrandchildrenThatWentTheirOwnWay) {
  {
    Supervisor s(options);
    s.start(shell("w", "setsid sleep 1000 & (setsid setsid sleep 1000 &) ; sleep 1000"));
    s.wait(300ms);
    EXPECT_GE(alive().size(), 3u);
  }
  EXPECT_TRUE(all_gone(0.1));  // already when the destructor returns
}

TEST_F(SupervisorTest, AnInterruptIsCountedAndDoesNotReachTheChildren) {
  Supervisor s(options);
  s.start(shell("w", "sleep 1000"));
  s.wait(50ms);
  kill(getpid(), SIGINT);
  EXPECT_TRUE(s.wait(1000ms).empty());
  EXPECT_EQ(s.interrupts(), 1);
  EXPECT_TRUE(s.running("w"));
}

// One process of the tree is killed with SIGKILL, which it can do nothing about: all below it must go.
class KillNine : public SupervisorTest {
 protected:
  pid_t run_supervisor() {
    const pid_t supervisor = fork();
    if (supervisor != 0) return supervisor;
    options.environment["OMPI_ALLOW_RUN_AS_ROOT"] = options.environment["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] =
        "1";
    Supervisor s(options);
    s.start(shell("w", "setsid sleep 1000 & sleep 1000", false));
    s.start(
        {"learner",
         {"/usr/bin/mpirun", "--oversubscribe", "-n", "2", options.guard, "guard", "0", "/bin/sleep", "1000"},
         false});
    while (true) s.wait(1000ms);
  }
  bool wait_alive(size_t n) const {
    for (int i = 0; i < 500; ++i) {
      if (alive().size() == n)
        return true;  // asked once: a process that is just being executed has no environment
      std::this_thread::sleep_for(20ms);
    }
    return false;
  }
  pid_t running(const std::string& program) const {
    for (pid_t pid : alive())
      if (std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/exe").filename() == program)
        return pid;
    return 0;
  }
  static pid_t parent(pid_t pid) {
    std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
    std::string id, name, state;
    pid_t parent = 0;
    stat >> id >> name >> state >> parent;
    return parent;
  }
  static constexpr size_t kAll = 8;  // two guards, a shell and its two; mpirun and two ranks
};

TEST_F(KillNine, TheSupervisor) {
  const pid_t supervisor = run_supervisor();
  ASSERT_TRUE(wait_alive(kAll)) << alive().size();
  kill(supervisor, SIGKILL);
  waitpid(supervisor, nullptr, 0);
  EXPECT_TRUE(all_gone(5)) << alive().size();
}

TEST_F(KillNine, MpirunAndAGuard) {
  const pid_t supervisor = run_supervisor();
  ASSERT_TRUE(wait_alive(kAll)) << alive().size();
  kill(running("orterun"), SIGKILL);
  EXPECT_TRUE(wait_alive(4)) << alive().size();  // its guard and its ranks are gone
  kill(parent(running("dash")), SIGKILL);        // a guard: the shell and its children go
  EXPECT_TRUE(all_gone(5)) << alive().size();
  kill(supervisor, SIGKILL);
  waitpid(supervisor, nullptr, 0);
}

TEST(ChildEnvironment, DropsWhatAnMpirunLeft) {
  setenv("OMPI_COMM_WORLD_SIZE", "4", 1);
  setenv("OMPI_MCA_x", "1", 1);
  const auto inside = child_environment({{"OMP_NUM_THREADS", "1"}});
  unsetenv("OMPI_COMM_WORLD_SIZE");
  const auto outside = child_environment({});  // a user's own settings stay
  unsetenv("OMPI_MCA_x");
  EXPECT_THAT(inside, testing::Not(testing::Contains(HasSubstr("OMPI_"))));
  EXPECT_THAT(inside, testing::Contains("OMP_NUM_THREADS=1"));
  EXPECT_THAT(outside, testing::Contains("OMPI_MCA_x=1"));
}

}  // namespace
}  // namespace cohort
