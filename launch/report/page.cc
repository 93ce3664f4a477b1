#include "launch/report/page.h"

#include <fmt/core.h>

#include <cmath>

#include "launch/report/chart.h"

namespace cohort {
namespace {

using Json = nlohmann::json;

constexpr const char* kStyle = R"css(
:root{--bg:#fff;--fg:#1b1f24;--soft:#59636e;--line:#d8dee4;--c0:#0969da;--c1:#bc4c00;--c2:#1a7f37;--c3:#8250df;--c4:#cf222e;--c5:#9a6700}
@media(prefers-color-scheme:dark){:root{--bg:#0d1117;--fg:#e6edf3;--soft:#9198a1;--line:#30363d;--c0:#58a6ff;--c1:#ff9b50;--c2:#57c46c;--c3:#bc8cff;--c4:#ff7b72;--c5:#e3b341}}
body{background:var(--bg);color:var(--fg);font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:1200px;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem;border-bottom:1px solid var(--line)}small,.soft{color:var(--soft)}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(380px,1fr));gap:1rem}figure{margin:0}svg{width:100%;height:auto}
svg text{fill:var(--soft);font-size:11px}svg .grid{stroke:var(--line);stroke-width:1}polyline{fill:none;stroke-width:1.8}
polyline.s0{stroke:var(--c0)}polyline.s1{stroke:var(--c1)}polyline.s2{stroke:var(--c2)}polyline.s3{stroke:var(--c3)}polyline.s4{stroke:var(--c4)}polyline.s5{stroke:var(--c5)}
circle.s0,polygon.s0{fill:var(--c0)}circle.s1,polygon.s1{fill:var(--c1)}circle.s2,polygon.s2{fill:var(--c2)}circle.s3,polygon.s3{fill:var(--c3)}circle.s4,polygon.s4{fill:var(--c4)}circle.s5,polygon.s5{fill:var(--c5)}
span.s0{color:var(--c0)}span.s1{color:var(--c1)}span.s2{color:var(--c2)}span.s3{color:var(--c3)}span.s4{color:var(--c4)}span.s5{color:var(--c5)}
.band{opacity:.16}figcaption span{font-size:12px;margin-right:.8em;white-space:nowrap}figcaption span::before{content:"\25CF\00A0"}
table{border-collapse:collapse}td,th{padding:.2rem .7rem;text-align:right;border-bottom:1px solid var(--line)}td:first-child,th:first-child{text-align:left}
pre{white-space:pre-wrap;overflow-wrap:anywhere;border:1px solid var(--line);border-radius:6px;padding:.6rem;font-size:13px}
)css";

using StepField = double StepData::*;
ChartSeries by_step(const RunData& run, const std::string& name, StepField field) {
  ChartSeries series{name, {}};
  for (const StepData& s : run.steps)
    series.points.push_back({static_cast<double>(s.step), s.*field, {}, {}});
  return series;
}

// One line of status.jsonl after the other; `value` gives nothing where a line lacks it.
template <class F>
ChartSeries by_time(const RunData& run, const std::string& name, F value) {
  ChartSeries series{name, {}};
  const size_t stride = run.status.size() / 400 + 1;
  for (size_t i = 0; i < run.status.size(); i += stride) try {
      const Json& line = run.status[i];
      series.points.push_back({line.at("seconds").get<double>(), value(line), {}, {}});
    } catch (const Json::exception&) {
    }
  return series;
}

// What a worker of that role counts up in `field`, by the step it was spent for: status.jsonl has it every second, and
// the last line of a step is the one whose heartbeats know of the step before.
ChartSeries seconds_a_step(const RunData& run, const std::string& name, const std::string& role,
                           const char* field) {
  std::vector<std::pair<double, double>> counted;  // step, seconds of one worker so far
  for (const Json& line : run.status) {
    double seconds = 0, workers = 0;
    const auto all = line.find("workers");
    if (all == line.end() || !all->is_array()) continue;
    for (const Json& w : *all)
      if (w.value("role", "") == role) seconds += w.value(field, 0.0), ++workers;
    if (workers == 0) continue;
    const double step = line.value("step", 0.0);
    if (counted.empty() || counted.back().first != step)
      counted.emplace_back(step, seconds / workers);
    else
      counted.back().second = seconds / workers;
  }
  ChartSeries series{name, {}};
  for (size_t i = 1; i < counted.size(); ++i) {
    const double steps = counted[i].first - counted[i - 1].first,
                 seconds = counted[i].second - counted[i - 1].second;
    // else a worker was started anew, or the run went back to its checkpoint
    if (steps > 0 && seconds >= 0) series.points.push_back({counted[i].first - 1, seconds / steps, {}, {}});
  }
  return series;
}

std::string learning(const RunData& run) {
  ChartSeries accuracy{"held-out pass@1", {}};
  for (const EvalData& e : run.evals)
    accuracy.points.push_back({double(e.version), e.pass_at_1, e.low, e.high});
  std::string out;
  out += chart_figure({.title = "Reward",
                       .note = "mean of the batch",
                       .series = {by_step(run, "reward/mean", &StepData::reward_mean)}});
  out += chart_figure({.title = "Held-out accuracy",
                       .note = "with its 95% interval",
                       .x_label = "version",
                       .series = {accuracy},
                       .from_zero = true,
                       .percent = true});
  out += chart_figure({.title = "Response length",
                       .note = "tokens a completion",
                       .series = {by_step(run, "mean", &StepData::length_mean),
                                  by_step(run, "longest", &StepData::length_max)},
                       .from_zero = true});
  out += chart_figure({.title = "Cut by the length limit",
                       .series = {by_step(run, "share of completions", &StepData::truncated)},
                       .from_zero = true,
                       .percent = true});
  Chart verdicts{.title = "Verdicts", .note = "completions of the batch", .from_zero = true};
  for (const auto& [name, counts] : run.verdicts) {
    ChartSeries series{name, {}};
    for (const StepData& s : run.steps) {
      auto it = counts.find(s.step);
      series.points.push_back({double(s.step), it == counts.end() ? 0 : double(it->second), {}, {}});
    }
    verdicts.series.push_back(std::move(series));
  }
  return out + chart_figure(verdicts);
}

std::string flow(const RunData& run) {
  std::string out = chart_figure(
      {.title = "Staleness",
       .note = "steps between a group's oldest token and its training",
       .series = {by_step(run, "mean", &StepData::lag_mean), by_step(run, "largest", &StepData::lag_max)},
       .from_zero = true});
  out += chart_figure({.title = "Time per side",
                       .note = "seconds of one worker for a step",
                       .series = {seconds_a_step(run, "sampling", "rollout", "busy_s"),
                                  seconds_a_step(run, "grading", "reward", "busy_s"),
                                  seconds_a_step(run, "training", "learner", "busy_s"),
                                  seconds_a_step(run, "learner waits", "learner", "wait_s")},
                       .from_zero = true});
  out += chart_figure(
      {.title = "A completion",
       .note = "mean seconds of its sampling and its grading",
       .series = {by_step(run, "sampling", &StepData::sample_s), by_step(run, "grading", &StepData::grade_s)},
       .from_zero = true});
  Chart waits{.title = "Wait share",
              .note = "of each side's wall time so far",
              .x_label = "seconds",
              .from_zero = true,
              .percent = true};
  Chart speed{.title = "Tokens per second", .x_label = "seconds", .from_zero = true};
  Chart queues{.title = "Queues", .x_label = "seconds", .from_zero = true};
  for (const char* side : {"rollout", "reward", "learner"}) {
    waits.series.push_back(
        by_time(run, side, [&](const Json& line) { return line.at("wait_share").at(side).get<double>(); }));
    if (std::string(side) != "reward")
      speed.series.push_back(by_time(
          run, side, [&](const Json& line) { return line.at("tokens_per_s").at(side).get<double>(); }));
  }
  const std::pair<const char*, const char*> kinds[] = {{"completions sampling", "completions_sampling"},
                                                       {"completions to grade", "completions_to_grade"},
                                                       {"groups ready", "groups_ready"}};
  for (const auto& [name, queue] : kinds)
    queues.series.push_back(by_time(
        run, name, [key = queue](const Json& line) { return line.at("queues").at(key).get<double>(); }));
  return out + chart_figure(waits) + chart_figure(speed) + chart_figure(queues);
}

std::string learner_metrics(const RunData& run) {
  std::string out;
  for (const auto& [name, points] : run.metrics) {
    if (name == "trained" || name == "reward/mean") continue;
    ChartSeries series{name, {}};
    for (auto [x, y] : points) series.points.push_back({x, y, {}, {}});
    out += chart_figure({.title = name, .series = {series}});
  }
  return out;
}

std::string usage_table(const Json& usage) {
  if (!usage.is_object() || !usage.contains("processes")) return "";
  std::string rows;
  for (const Json& p : usage["processes"])
    rows +=
        fmt::format("<tr><td>{}<td>{:.1f}<td>{:.1f}<td>{:.0f}%<td>{:.0f}<td>{}</tr>",
                    html_text(p.value("name", "")), p.value("cpu_s", 0.0), p.value("wall_s", 0.0),
                    p.value("wall_s", 0.0) > 0 ? 100 * p.value("cpu_s", 0.0) / p.value("wall_s", 0.0) : 0.0,
                    p.value("max_rss_mb", 0.0), p.value("starts", 0));
  return "<h2>Who used how much</h2><table><tr><th>process<th>CPU s<th>wall s<th>of one core<th>MiB at "
         "most<th>starts</tr>" +
         rows + "</table>";
}

std::string sample_list(const RunData& run) {
  std::string out;
  for (const SampleData& s : run.samples)
    out += fmt::format("<pre><b>{}</b>\n{}\n<span class=soft>step {}, reward {:.2f}, {}; {}</span></pre>",
                       html_text(s.prompt), html_text(s.completion), s.step, s.reward,
                       html_text(s.finish_reason), html_text(s.verdicts));
  return out.empty() ? "" : "<h2>Completions of the last batch</h2>" + out;
}

}  // namespace

std::string with_interval(double value, double low, double high) {
  return fmt::format("{:.3f} ({:.3f} to {:.3f})", value, low, high);
}

std::string report_page(const RunData& run) {
  std::string facts = fmt::format(
      "{} steps, {} completions; {} groups, of which {} left out for equal rewards and {} failed; {} "
      "infrastructure errors retried",
      run.steps.size(), run.completions, run.groups_total, run.groups_filtered, run.groups_failed,
      run.infra_errors);
  if (!run.evals.empty()) {
    const EvalData &first = run.evals.front(), &last = run.evals.back();
    facts += fmt::format(". Held-out pass@1 {} at version {}, {} at version {}",
                         with_interval(first.pass_at_1, first.low, first.high), first.version,
                         with_interval(last.pass_at_1, last.low, last.high), last.version);
  }
  const std::string metrics = learner_metrics(run);
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport "
      "content=\"width=device-width,initial-scale=1\">"
      "<title>{0}</title><style>{1}</style></head><body>\n<h1>{0}</h1><p class=soft>{2}</p><p>{3}.</p>\n"
      "<h2>Learning</h2><div class=charts>{4}</div>\n<h2>Flow</h2><div class=charts>{5}</div>\n{6}{7}{8}"
      "<h2>Configuration</h2><details><summary>the resolved run "
      "file</summary><pre>{9}</pre></details></body></html>\n",
      html_text(run.run_name.empty() ? "run" : run.run_name), kStyle, html_text(run.run_id), html_text(facts),
      learning(run), flow(run),
      metrics.empty() ? "" : "<h2>Learner</h2><div class=charts>" + metrics + "</div>\n", sample_list(run),
      usage_table(run.usage), html_text(run.config));
}

}  // namespace cohort
