// The report of a small ledger made by hand: what it reads, and that the page stands alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <filesystem>
#include <fstream>
#include <limits>

#include "launch/report/chart.h"
#include "launch/report/page.h"
#include "transport/base/error.h"

namespace cohort {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Chart, LeavesOutWhatIsNotANumberAndEscapesNames) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::string svg = chart_figure({.title = "a<b>", .series = {{"x&y", {{0, 1}, {1, nan}, {2, 3}}}}});
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(svg, HasSubstr("a&lt;b&gt;"));
  EXPECT_THAT(svg, HasSubstr("x&amp;y"));
  EXPECT_EQ(chart_figure({.title = "nothing", .series = {{"x", {{0, nan}}}}}), "");
}

TEST(Chart, OnePointAndEqualValuesHaveAScale) {
  for (double y : {0.0, 1.0, -3.0, 1e-9, 1e12}) {
    const std::string svg = chart_figure({.title = "t", .series = {{"x", {{5, y}, {6, y}}}}});
    EXPECT_THAT(svg, Not(HasSubstr("nan"))) << y;
    EXPECT_THAT(svg, Not(HasSubstr("inf\""))) << y;
    EXPECT_THAT(chart_figure({.title = "t", .series = {{"x", {{5, y}}}}}), HasSubstr("<circle"));
  }
}

class ReportTest : public testing::Test {
 protected:
  ReportTest() {
    char name[] = "/tmp/cohort_report_XXXXXX";
    folder = mkdtemp(name);
  }
  ~ReportTest() override { std::filesystem::remove_all(folder); }
  void ledger(const char* sql) const {
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open((folder + "/ledger.sqlite").c_str(), &db), SQLITE_OK);
    char* error = nullptr;
    EXPECT_EQ(sqlite3_exec(db, sql, nullptr, nullptr, &error), SQLITE_OK) << error;
    sqlite3_close(db);
  }
  std::string folder;
};

// The columns the report reads, by the names of docs/ledger.md.
constexpr const char* kLedger = R"sql(
CREATE TABLE meta(key TEXT, value TEXT); INSERT INTO meta VALUES('run_name','tiny <run>'),('run_id','tiny-1'),('config','[run]');
CREATE TABLE prompts(split TEXT, line INT, id TEXT, record TEXT);
INSERT INTO prompts VALUES('train',1,'a','{"id":"a","prompt":"1 2 3 = 6"}');
CREATE TABLE groups(group_id INT, split TEXT, line INT, draw INT, eval_version INT, size INT, birth INT, state TEXT);
INSERT INTO groups VALUES(1,'train',1,0,NULL,2,0,'consumed'),(2,'train',1,1,NULL,2,0,'delivered'),(3,'train',1,2,NULL,2,1,'filtered');
CREATE TABLE completions(group_id INT, idx INT, n_tokens INT, text TEXT, finish_reason TEXT, seconds REAL, reward REAL, grade_seconds REAL);
INSERT INTO completions VALUES(1,0,10,'x','stop',1,0,0.5),(1,1,20,'y','stop',1,1,0.5),(2,0,30,'<answer> z','length',2,0.25,0.5),(2,1,50,'w','stop',2,1,0.5);
CREATE TABLE verdicts(group_id INT, idx INT, part INT, name TEXT, kind TEXT);
INSERT INTO verdicts VALUES(1,0,0,'countdown','failed'),(1,1,0,'countdown','passed'),(2,0,0,'countdown','failed'),(2,1,0,'countdown','passed');
CREATE TABLE infra_errors(group_id INT);
CREATE TABLE batches(step INT, formed_at REAL, reward_mean REAL); INSERT INTO batches VALUES(0,100,0.5),(1,101,0.625);
CREATE TABLE batch_groups(step INT, position INT, group_id INT); INSERT INTO batch_groups VALUES(0,0,1),(1,0,2);
CREATE TABLE metrics(step INT, name TEXT, value REAL); INSERT INTO metrics VALUES(0,'kl',0.1),(1,'kl',NULL);
CREATE TABLE evals(version INT, prompts INT, samples INT, pass_at_1 REAL, low REAL, high REAL);
INSERT INTO evals VALUES(0,64,4,0.25,0.2,0.3),(2,64,4,0.5,0.45,0.55);
)sql";

std::string operator""_line(const char* text, size_t size) {
  std::string out(text, size);
  std::erase(out, '\n');
  return out;
}

TEST_F(ReportTest, ReadsStepsEvalsSamplesAndStatus) {
  ledger(kLedger);
  std::ofstream(folder + "/status.jsonl")
      << R"({"seconds":1,"step":0,"wait_share":{"rollout":0.5,"reward":0.1,"learner":0.2},"workers":[
{"role":"rollout","busy_s":1},{"role":"rollout","busy_s":3},{"role":"learner","busy_s":5,"wait_s":1}]})"_line
      << "\n"
      << R"({"seconds":9,"step":2,"workers":[
{"role":"rollout","busy_s":2},{"role":"rollout","busy_s":5},{"role":"learner","busy_s":9.5,"wait_s":1}]})"_line
      << "\n{\"secon";
  const RunData run = read_run(folder, 5);
  ASSERT_EQ(run.steps.size(), 2u);
  EXPECT_DOUBLE_EQ(run.steps[0].length_mean, 15);
  EXPECT_DOUBLE_EQ(run.steps[1].length_max, 50);
  EXPECT_DOUBLE_EQ(run.steps[1].lag_mean, 1);
  EXPECT_DOUBLE_EQ(run.steps[1].truncated, 0.5);
  EXPECT_DOUBLE_EQ(run.steps[1].sample_s, 2);
  EXPECT_EQ(run.groups_filtered, 1);
  EXPECT_EQ(run.verdicts.at("countdown passed").at(1), 1);
  EXPECT_EQ(run.metrics.at("kl").size(), 1u);  // NULL: the learner's value was not a number
  EXPECT_EQ(run.status.size(), 2u);            // and half a line, of a run that was killed
  ASSERT_EQ(run.samples.size(), 1u);
  EXPECT_EQ(run.samples[0].prompt, "1 2 3 = 6");
  EXPECT_EQ(run.samples[0].verdicts, "countdown failed");

  const std::string page = report_page(run);
  EXPECT_THAT(page, HasSubstr("tiny &lt;run&gt;"));
  EXPECT_THAT(page, HasSubstr("&lt;answer&gt; z"));
  for (const char* title :
       {"Reward", "Held-out accuracy", "Response length", "Staleness", "Time per side", "Wait share"})
    EXPECT_THAT(page, HasSubstr("<b>" + std::string(title) + "</b>"));
  EXPECT_THAT(page, HasSubstr("<title>step 1: 0.75</title>")) << "sampling: 1.5 s of a worker in two steps";
  EXPECT_THAT(page, HasSubstr("<title>step 1: 2.25</title>")) << "training: 4.5 s";
  EXPECT_THAT(page, Not(HasSubstr("\n.s0{fill"))) << "that would fill the area of every line";
  for (const char* outside : {"http:", "https:", "src=", "href=", "@import", "<script"})
    EXPECT_THAT(page, Not(HasSubstr(outside)));
}

TEST_F(ReportTest, NoLedgerIsOneLine) {
  EXPECT_THROW(read_run(folder), Error);
  EXPECT_THROW(read_run(folder + "/nowhere"), Error);
  std::ofstream(folder + "/ledger.sqlite")
      << "this is not a database, but long enough to be taken for one ...................";
  EXPECT_THROW(read_run(folder), Error);
}

}  // namespace
}  // namespace cohort
