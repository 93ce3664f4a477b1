// The verdict contract: every row of docs/sandbox.md is a hostile program that is run here, against the verdict
// the row promises, and the machine is compared before and after.
#include "contract.h"

#include <grp.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <thread>

#include "host_state.h"
#include "reward/code.h"
#include "reward/sandbox/jail.h"

namespace cohort {
namespace {

using nlohmann::json;

constexpr uid_t kOrdinaryUser = 61987;  // nobody's
constexpr const char* kSecret = "cohort-secret-5b0e";

// A folder of the host with a file nobody inside may read.
struct HostFolder {
  std::string path;
  HostFolder() {
    char name[] = "/tmp/contract-XXXXXX";
    path = mkdtemp(name);
    chmod(path.c_str(), 0777);
    std::ofstream(path + "/hidden_tests.txt") << kSecret << "\n";
  }
  ~HostFolder() { std::filesystem::remove_all(path); }
  std::string secret() const { return path + "/hidden_tests.txt"; }
};

// An abstract unix socket of this machine that accepts everybody.
struct AbstractListener {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  AbstractListener() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    memcpy(address.sun_path, "\0cohort-contract", 16);
    bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(sa_family_t) + 16);
    listen(fd, 8);
  }
  ~AbstractListener() { close(fd); }
};

// Limits so tight that every program here meets one soon; an emulated machine needs more time to get as far.
double slowness() {
  const char* times = getenv("COHORT_CONTRACT_SLOWNESS");
  return times ? atof(times) : 1;
}
constexpr const char* kOptions =
    "whole_completion = true\n{}\n[limits]\nwall_s = {}\ncpu_s = {}\nmemory_mb = 128\noutput_kb = "
    "256\nfile_mb = 8\n"
    "processes = 32\n[compile]\nwall_s = {}\ncpu_s = {}\nmemory_mb = 512\noutput_kb = 256\nfile_mb = "
    "64\nprocesses = 16\n";

class Graders {
 public:
  Grader& with(const std::string& options) {
    const std::lock_guard lock(mutex_);
    auto& grader = graders_[options];
    const double slow = slowness();
    if (!grader)
      grader = make_code_grader(TomlTable::parse(
          fmt::format(kOptions, options, 1.5 * slow, 1.0 * slow, 60 * slow, 3 * slow), "contract"));
    return *grader;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::unique_ptr<Grader>> graders_;
};

// "" or what is not as the row says.
std::string run_graded(const ContractCase& c, const std::string& input, const std::string& isolation,
                       Graders& graders) {
  json record = contract_record(c, input);
  if (!c.limits.empty()) record["limits"] = json::parse(c.limits);
  GradeInput in;
  in.completion = c.source;
  in.record_json = record.dump();
  const Verdict v = graders.with(isolation + "\n" + c.options).grade(in, false);
  const std::string all = v.reason + " " + v.evidence;
  std::string wrong;
  if (to_string(v.kind) != c.verdict || v.score != c.score)
    wrong = fmt::format("is {} with score {}", to_string(v.kind), v.score);
  if (!c.reason.empty() && !std::regex_search(all, std::regex(c.reason)))
    wrong += fmt::format("; does not say \"{}\"", c.reason);
  for (const std::string& text : c.absent)
    if (all.find(text) != std::string::npos) wrong += fmt::format("; gives away \"{}\"", text);
  return wrong.empty() ? "" : fmt::format("{} ({}): {}: {}\n", c.name, input, wrong, all);
}

// A file that the worker would bring back, made by the program.
std::string run_taken(const ContractCase& c, sandbox::Want want) {
  sandbox::Jail jail({.isolation = want, .read_only = {}, .warm = {}});
  sandbox::Job job;
  job.argv = {"/usr/bin/python3", "-I", "-B", "solution.py"};
  job.files = {{"solution.py", c.source}};
  job.take = c.take;
  const std::atomic<bool> never = false;
  const sandbox::Outcome o = jail.run(job, never);
  if (o.ended != sandbox::Ended::exited || o.exit_code != 0)
    return c.name + ": did not end well: " + o.err + "\n";
  if (o.took || !o.taken.empty()) return c.name + ": was brought back\n";
  return "";
}

std::vector<std::string> run_all(const std::vector<ContractCase>& cases, const std::string& isolation,
                                 sandbox::Want want) {
  Graders graders;
  std::vector<std::string> wrong(cases.size());
  std::atomic<size_t> next = 0;
  auto work = [&] {
    for (size_t i; (i = next++) < cases.size();) {
      const ContractCase& c = cases[i];
      for (int run = 0; run < c.runs; ++run)
        for (const std::string& input : c.inputs)
          wrong[i] += c.take.empty() ? run_graded(c, input, isolation, graders) : run_taken(c, want);
    }
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) threads.emplace_back(work);
  for (std::thread& t : threads) t.join();
  return wrong;
}

// Of these groups only, where the environment names some ("Memory,Crash").
std::vector<ContractCase> cases(const HostFolder& folder) {
  std::vector<ContractCase> all = read_contract(COHORT_SOURCE_DIR "/tests/reward/contract", folder.secret());
  if (const char* groups = getenv("COHORT_CONTRACT_GROUPS"))
    std::erase_if(all, [&](const ContractCase& c) { return strstr(groups, c.group.c_str()) == nullptr; });
  return all;
}

TEST(Contract, EveryRowHoldsAndLeavesNothing) {
  const HostFolder folder;
  const AbstractListener listener;
  const std::vector<ContractCase> all = cases(folder);
  ASSERT_GE(all.size(), getenv("COHORT_CONTRACT_GROUPS") ? 20u : 53u);
  // what a process makes once at its first use is made now
  std::vector<ContractCase> once = {all.front()};
  for (const ContractCase& c : all)
    if (once.size() < 2 && c.language == "python" && c.take.empty())
      once.push_back(c);  // the warm interpreter
  run_all(once, "", sandbox::Want::automatic);
  const HostState before = HostState::now();
  for (const std::string& wrong : run_all(all, "", sandbox::Want::automatic)) EXPECT_EQ(wrong, "");
  EXPECT_EQ(HostState::now().added_since(before), "");
  std::ifstream secret(folder.secret());
  std::string content;
  std::getline(secret, content);
  EXPECT_EQ(content, kSecret);
  for (const auto& entry : std::filesystem::directory_iterator(folder.path))
    EXPECT_EQ(entry.path().string(), folder.secret());
}

// Where the kernel refuses namespaces. A row with a `fallback` is held less well there, and says how it ends.
TEST(Contract, TheFallbackHoldsItAsFarAsThePageSays) {
  const HostFolder folder;
  const AbstractListener listener;
  std::vector<ContractCase> all = cases(folder);
  for (ContractCase& c : all)
    if (!c.fallback.empty()) {
      c.verdict = c.fallback;
      c.score = c.fallback == "passed" ? 1 : 0;
      c.reason.clear();
    }
  run_all({all.begin(), all.begin() + 1}, "isolation = \"process\"", sandbox::Want::process);
  const HostState before = HostState::now();
  for (const std::string& wrong : run_all(all, "isolation = \"process\"", sandbox::Want::process))
    EXPECT_EQ(wrong, "");
  EXPECT_EQ(HostState::now().added_since(before), "");
}

// Root's programs run as nobody, an ordinary user's as that user, whose files and processes there are more of; it
// often has no control groups either.
TEST(Contract, HoldsForAnOrdinaryUser) {
  if (geteuid() != 0) GTEST_SKIP() << "the other tests are run by one";
  const HostFolder home;
  chown(home.path.c_str(), kOrdinaryUser, kOrdinaryUser);
  const pid_t child = fork();
  if (child == 0) {
    setenv("HOME", home.path.c_str(), 1);
    setenv("COHORT_CONTRACT_GROUPS", "Memory, Crash, No effect outside", 1);
    if (setgroups(0, nullptr) == 0 && setresgid(kOrdinaryUser, kOrdinaryUser, kOrdinaryUser) == 0 &&
        setresuid(kOrdinaryUser, kOrdinaryUser, kOrdinaryUser) == 0 &&
        access(COHORT_SOURCE_DIR "/tests/reward/contract/cases.toml", R_OK) == 0)
      execl("/proc/self/exe", "reward_contract_test", "--gtest_filter=*EveryRow*:*TheFallback*", nullptr);
    _exit(77);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 77) GTEST_SKIP() << "another user cannot see this checkout";
  EXPECT_EQ(status, 0);
}

// title → verdict, by group, from the table between the two marks.
std::map<std::string, std::string> rows_of_the_page() {
  std::ifstream page(COHORT_SOURCE_DIR "/docs/sandbox.md");
  std::map<std::string, std::string> rows;
  std::string group;
  bool inside = false;
  auto trimmed = [](std::string text) {
    text.erase(0, text.find_first_not_of(" `"));
    text.erase(text.find_last_not_of(" `") + 1);
    return text;
  };
  for (std::string line; std::getline(page, line);) {
    if (line.starts_with("<!-- contract")) inside = true;
    if (line.starts_with("<!-- end of contract")) inside = false;
    if (!inside || !line.starts_with("| ") || line.starts_with("| ---") || line.starts_with("| group"))
      continue;
    std::vector<std::string> cells;
    for (size_t at = 1, end; (end = line.find(" |", at)) != std::string::npos; at = end + 2)
      cells.push_back(trimmed(line.substr(at, end - at)));
    if (cells.size() < 3) ADD_FAILURE() << "a row with too few cells: " << line;
    if (cells.size() >= 3) rows[cells[0] + ": " + cells[1]] = cells[2];
  }
  return rows;
}

TEST(Contract, ThePageAndTheListAreTheSame) {
  const HostFolder folder;
  std::map<std::string, std::string> listed;
  std::set<std::string> names;
  auto trimmed = [](std::string text) {
    text.erase(0, text.find_first_not_of(" `"));
    text.erase(text.find_last_not_of(" `") + 1);
    return text;
  };
  for (const ContractCase& c : cases(folder)) {
    EXPECT_TRUE(names.insert(c.name).second) << c.name << " is there twice";
    EXPECT_TRUE(listed.emplace(c.group + ": " + trimmed(c.title), c.verdict).second) << c.title;
  }
  EXPECT_EQ(rows_of_the_page(), listed);
}

}  // namespace
}  // namespace cohort
