// The table of kinds and the reward list of a run.
#include "reward/grader.h"

#include <chrono>
#include <set>

#include "reward/code.h"
#include "reward/countdown.h"
#include "reward/format.h"
#include "reward/judge/judge.h"
#include "reward/language.h"
#include "reward/length.h"
#include "reward/math/math_grader.h"
#include "reward/process.h"
#include "reward/record.h"
#include "transport/base/measure.h"

namespace cohort {
namespace {

struct Kind {
  std::string name;
  std::unique_ptr<Grader> (*make)(const TomlTable& options);
  std::unique_ptr<Grader> (*make_in_run)(const RewardSpec& spec) = nullptr;  // instead, where the run matters
};

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> table = {
      {"countdown", make_countdown_grader},
      {"format", make_format_grader},
      {"math", make_math_grader},
      {"code", make_code_grader},
      {"process", make_process_grader},
      {"length", make_length_grader},
      {"language_consistency", make_language_grader},
      {"judge", nullptr, make_judge_grader},
  };
  return table;
}

const Kind& find_kind(const std::string& name, const std::string& where) {
  std::vector<std::string> known;
  for (const Kind& kind : kinds()) {
    if (kind.name == name) return kind;
    known.push_back(kind.name);
  }
  const std::string near = nearest_name(name, known);
  std::string all;
  for (const std::string& k : known) all += (all.empty() ? "" : ", ") + k;
  if (!near.empty()) fail_usage("{} = \"{}\" is no reward; did you mean \"{}\"?", where, name, near);
  fail_usage("{} = \"{}\" is no reward; there are {}", where, name, all);
}

}  // namespace

void check_kind(const std::string& name, const std::string& where) {
  find_kind(name, where);
}

std::unique_ptr<Grader> make_grader(const RewardSpec& spec) {
  const Kind& kind = find_kind(spec.kind, "reward.kind");
  return kind.make_in_run ? kind.make_in_run(spec) : kind.make(spec.options);
}

std::vector<RewardPart> RewardList::grade(const GradeInput& input, const std::atomic<bool>& cancelled) {
  std::vector<RewardPart> parts;
  for (size_t i = 0; i < graders.size(); ++i) {
    const auto began = std::chrono::steady_clock::now();
    RewardPart part{specs[i].name, specs[i].weight, graders[i]->grade(input, cancelled)};
    part.seconds = seconds_since(began);
    parts.push_back(std::move(part));
    if (is_no_reward(parts.back().verdict.kind)) break;
  }
  return parts;
}

RewardList make_reward_list(const std::vector<TomlTable>& reward_tables, const std::string& run_id) {
  RewardList list;
  std::set<std::string> names;
  for (const TomlTable& table : reward_tables) {
    RewardSpec spec;
    spec.kind = table.get_string("kind").value_or("");
    if (spec.kind.empty()) fail_usage("{} is missing: which reward is this?", table.where("kind"));
    find_kind(spec.kind, table.where("kind"));
    spec.name = table.get_string("name").value_or(spec.kind);
    spec.weight = table.get_double("weight").value_or(1);
    if (!names.insert(spec.name).second)
      fail_usage("{}: two rewards are named \"{}\"; give one another name", table.where("name"), spec.name);
    spec.options = table;
    spec.run_id = run_id;
    list.graders.push_back(make_grader(spec));
    list.specs.push_back(std::move(spec));
  }
  if (list.graders.empty()) fail_usage("the run file has no [[reward]]: nothing would be learnt");
  return list;
}

}  // namespace cohort
