// HumanEval: every canonical solution passes, every mutant gets the verdict of the problem's own tests run the plain
// way (golden/make_humaneval_mutants.py), and no forgery passes.
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <sstream>
#include <thread>

#include "tests/reward/code_fixture.h"

namespace cohort {
namespace {

using namespace code_testing;

std::vector<json> problems() {
  const char* data = std::getenv("COHORT_TEST_DATA");
  const std::string path =
      std::string(data ? data : COHORT_SOURCE_DIR "/../shared/data") + "/humaneval/HumanEval.jsonl.gz";
  std::vector<json> all;
  if (access(path.c_str(), R_OK) != 0) return all;
  std::string text;
  if (FILE* pipe = popen(("gzip -dc '" + path + "'").c_str(), "r")) {
    char bytes[1 << 16];
    for (size_t n; (n = fread(bytes, 1, sizeof bytes, pipe)) > 0;) text.append(bytes, n);
    pclose(pipe);
  }
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) all.push_back(json::parse(line));
  return all;
}

json record_of(const json& p) {
  return {{"language", "python"},
          {"test_code", p["test"]},
          {"entry_point", p["entry_point"]},
          {"prelude", p["prompt"]}};
}

void in_threads(size_t n, const std::function<void(size_t)>& work) {
  std::atomic<size_t> next = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&] {
      for (size_t i; (i = next++) < n;) work(i);
    });
  for (std::thread& thread : threads) thread.join();
}

std::unique_ptr<Grader> patient() {
  return make_code_grader(
      TomlTable::parse("whole_completion = true\n[limits]\nwall_s = 60\ncpu_s = 10\n", "t.toml"));
}

TEST(HumanEval, CanonicalSolutionsPass) {
  const std::vector<json> all = problems();
  if (all.empty()) GTEST_SKIP() << "HumanEval is not there";
  ASSERT_EQ(all.size(), 164u);
  const auto grader = patient();
  in_threads(all.size(), [&](size_t i) {
    const std::string program =
        all[i]["prompt"].get<std::string>() + all[i]["canonical_solution"].get<std::string>();
    const Verdict v = grade(program, record_of(all[i]), *grader);
    EXPECT_EQ(v.kind, K::passed) << all[i]["task_id"] << ": " << v.reason << " " << v.evidence;
  });
}

TEST(HumanEval, MutantsGetThePlainVerdict) {
  const std::vector<json> all = problems();
  if (all.empty()) GTEST_SKIP() << "HumanEval is not there";
  std::vector<json> mutants;
  std::ifstream in(COHORT_SOURCE_DIR "/tests/golden/humaneval_mutants.jsonl");
  for (std::string line; std::getline(in, line);) mutants.push_back(json::parse(line));
  ASSERT_GT(mutants.size(), 500u);
  const auto grader = patient();
  std::atomic<size_t> failing = 0;
  in_threads(mutants.size(), [&](size_t i) {
    const json& p = all.at(mutants[i][0]);
    std::string solution = p["canonical_solution"];
    const size_t at = mutants[i][1];
    const std::string old = mutants[i][2], changed = mutants[i][3];
    ASSERT_EQ(solution.substr(at, old.size()), old);
    solution.replace(at, old.size(), changed);
    const Verdict v = grade(p["prompt"].get<std::string>() + solution, record_of(p), *grader);
    EXPECT_NE(v.kind, K::infra_error) << v.reason;
    EXPECT_EQ(v.kind == K::passed, mutants[i][4].get<bool>())
        << p["task_id"] << " " << mutants[i] << ": " << v.reason;
    failing += v.kind != K::passed;
  });
  EXPECT_GT(failing, 400u);
}

TEST(HumanEval, ForgeriesFail) {
  const std::vector<json> all = problems();
  if (all.empty()) GTEST_SKIP() << "HumanEval is not there";
  const auto grader = patient();
  const std::vector<std::string> forgeries = {
      "\nclass E:\n  def __eq__(self, o): return True\n  def __ne__(self, o): return False\n  def "
      "__lt__(self, o): return True\n"
      "  def __gt__(self, o): return True\n  def __sub__(self, o): return 0\n  def __abs__(self): return 0\n "
      " def __len__(self): return 0\n"
      "def ENTRY(*a, **k): return E()\n",
      "\nimport os\nos._exit(0)\n",
      "\nimport os\ndef ENTRY(*a, **k):\n  os.write(1, b'[\"ok\", \"\"]')\n  os._exit(0)\n",
      // the helpers that some tests call (poly, encode_cyclic, encode_shift) are not the candidate's to change
      "\ndef poly(*a): return 0\ndef encode_cyclic(s): return s\ndef encode_shift(s): return s\n"
      "def ENTRY(*a, **k): return a[0] if a else None\n",
  };
  in_threads(all.size(), [&](size_t i) {
    for (size_t f = 0; f < forgeries.size(); ++f) {
      if (f != 0 && f != 3 && i % 16 != 0) continue;
      std::string forged = forgeries[f];
      for (size_t at; (at = forged.find("ENTRY")) != std::string::npos;)
        forged.replace(at, 5, all[i]["entry_point"].get<std::string>());
      const Verdict v =
          grade(all[i]["prompt"].get<std::string>() + "    pass\n" + forged, record_of(all[i]), *grader);
      EXPECT_TRUE(v.kind == K::failed || v.kind == K::candidate_crash)
          << all[i]["task_id"] << " forgery " << f << ": " << to_string(v.kind) << " " << v.reason;
    }
  });
}

}  // namespace
}  // namespace cohort
