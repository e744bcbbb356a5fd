// The page of a study: charts, the figures as a table, the machine.

#include <algorithm>

#include "absl/strings/str_format.h"
#include "gyre/benchmarks/line_chart.h"
#include "gyre/benchmarks/scaling_study.h"

namespace gyre::benchmarks {
namespace {

constexpr char kStyle[] = R"css(
:root { color-scheme: light dark; --page: #f6f7f9; --card: #ffffff; --ink: #1b2330; --soft: #5d6878;
  --rule: #e3e7ec; --series-0: #2563eb; --series-1: #d9730d; --series-2: #0d9467; --series-3: #a63fb5; }
@media (prefers-color-scheme: dark) { :root { --page: #11151b; --card: #1a2029; --ink: #e7ebf0;
  --soft: #9aa5b4; --rule: #2c3541; --series-0: #6ea8ff; --series-1: #f2a65a; --series-2: #45cf9f;
  --series-3: #dd8be8; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 32px 24px 48px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 16px; margin: 0; }
h2 span { color: var(--soft); font-weight: normal; font-size: 13px; margin-left: 6px; }
p { margin: 0 0 10px; } .soft { color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 16px;
  margin: 24px 0 16px; }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 16px 18px; }
.tile b { display: block; font-size: 26px; line-height: 1.3; }
.tile span { color: var(--soft); font-size: 13px; }
.legend { display: flex; flex-wrap: wrap; gap: 6px 22px; margin: 16px 0; font-size: 14px;
  align-items: center; }
.legend div { display: flex; align-items: center; gap: 8px; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(400px, 1fr)); gap: 16px; }
.charts svg { width: 100%; height: auto; display: block; margin-top: 8px; }
section { margin-top: 16px; } section h2 { margin-bottom: 10px; }
.grid { stroke: var(--rule); } .axis { stroke: var(--soft); }
.tick { fill: var(--soft); font-size: 12px; }
.line { fill: none; stroke-width: 2; } .mark { stroke-width: 2; }
.whisker { fill: none; stroke-width: 1.5; opacity: .45; }
.reference { fill: none; stroke: var(--soft); stroke-width: 1.5; stroke-dasharray: 1 5;
  stroke-linecap: round; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 5px 8px; border-bottom: 1px solid var(--rule); }
td { white-space: nowrap; }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
th:first-child, td:first-child, .left th, .left td { text-align: left; }
.left td { white-space: normal; }
tr:last-child td, tr:last-child th { border-bottom: 0; }
td small { color: var(--soft); display: block; font-size: 11px; }
)css";

using Member = double ScalingSample::*;

std::vector<int> loop_counts(const ScalingStudy& study) {
  std::vector<int> counts;
  for (const ScalingResult& result : study.results) counts.push_back(result.point.loops);
  std::sort(counts.begin(), counts.end());
  counts.erase(std::unique(counts.begin(), counts.end()), counts.end());
  return counts;
}

// A backend has its kind of stroke, a way to accept its colour: in the order in which they come.
std::vector<ChartSeries> series_of(const ScalingStudy& study, Member member) {
  const std::vector<int> counts = loop_counts(study);
  std::vector<ChartSeries> all;
  std::vector<std::string> accepts;
  std::vector<Backend> backends;
  const auto place = [](auto& seen, const auto& value) {
    const auto found = std::find(seen.begin(), seen.end(), value);
    if (found != seen.end()) return static_cast<int>(found - seen.begin());
    seen.push_back(value);
    return static_cast<int>(seen.size()) - 1;
  };
  for (const ScalingResult& result : study.results) {
    if (result.samples.empty()) continue;
    const std::string name = series_name(result.point);
    auto series = std::find_if(all.begin(), all.end(),
                               [&](const ChartSeries& one) { return one.name == name; });
    if (series == all.end()) {
      all.push_back(
          {name, place(accepts, result.point.accept), place(backends, result.point.backend), {}});
      series = all.end() - 1;
    }
    const auto category =
        std::lower_bound(counts.begin(), counts.end(), result.point.loops) - counts.begin();
    series->points.push_back({static_cast<size_t>(category), result.median(member),
                              result.least(member), result.most(member), result.shares_cpus});
  }
  return all;
}

// What as many loops would do if each did what one alone does.
ChartReference proportional_growth(const ScalingStudy& study) {
  const std::vector<int> counts = loop_counts(study);
  double best = 0;
  for (const ScalingResult& result : study.results) {
    if (result.point.loops == 1)
      best = std::max(best, result.median(&ScalingSample::requests_per_second));
  }
  ChartReference reference{"in proportion", {}};
  if (best > 0 && counts.size() > 1) {
    for (const int count : counts) reference.values.push_back(best * count);
  }
  return reference;
}

std::string chart_card(const ScalingStudy& study, const ScalingMetric& metric) {
  LineChart chart;
  chart.title = metric.title;
  chart.unit = metric.unit;
  chart.category_title = "loops";
  for (const int count : loop_counts(study)) chart.categories.push_back(std::to_string(count));
  chart.series = series_of(study, metric.member);
  if (metric.member == &ScalingSample::imbalance) chart.base = 1;
  if (metric.member == &ScalingSample::requests_per_second)
    chart.reference = proportional_growth(study);
  return absl::StrFormat("<div class=\"card\"><h2>%s<span>%s</span></h2>\n%s</div>\n",
                         html_escape(metric.title), html_escape(metric.unit), to_svg(chart));
}

std::string tile(const std::string& value, const std::string& what) {
  return absl::StrFormat("<div class=\"card tile\"><b>%s</b><span>%s</span></div>\n",
                         html_escape(value), html_escape(what));
}

std::string tiles(const ScalingStudy& study) {
  const ScalingResult *best = nullptr, *most_loops = nullptr, *single = nullptr;
  const auto rate = [](const ScalingResult& result) {
    return result.median(&ScalingSample::requests_per_second);
  };
  for (const ScalingResult& result : study.results) {
    if (result.samples.empty()) continue;
    if (best == nullptr || rate(result) > rate(*best)) best = &result;
  }
  if (best == nullptr) return "";
  for (const ScalingResult& result : study.results) {
    if (result.samples.empty() || series_name(result.point) != series_name(best->point)) continue;
    if (result.point.loops == 1) single = &result;
    if (most_loops == nullptr || result.point.loops > most_loops->point.loops) most_loops = &result;
  }
  const std::string series = series_name(best->point);
  std::string html = tile(short_number(rate(*best)),
                          absl::StrFormat("requests/s, the most: %d loop%s, %s", best->point.loops,
                                          best->point.loops == 1 ? "" : "s", series));
  if (single != nullptr && most_loops != single) {
    // Not of one kind: the star leads to the note.
    const char* star = single->shares_cpus == most_loops->shares_cpus ? "" : " *";
    html += tile(absl::StrFormat("\u00d7 %.2f", rate(*most_loops) / rate(*single)),
                 absl::StrFormat("throughput of %d loops over 1 (%s)%s", most_loops->point.loops,
                                 series, star));
    html +=
        tile(absl::StrFormat("\u00d7 %.2f", most_loops->median(&ScalingSample::cpu_us_per_request) /
                                                single->median(&ScalingSample::cpu_us_per_request)),
             absl::StrFormat("CPU per request, %d loops over 1%s", most_loops->point.loops, star));
  }
  html +=
      tile(short_number(best->median(&ScalingSample::p99_us)) + " \u00b5s", "99 % latency there");
  return "<div class=\"tiles\">\n" + html + "</div>\n";
}

std::string legend(const ScalingStudy& study) {
  std::string html = "<div class=\"legend\">\n";
  for (const ChartSeries& series : series_of(study, &ScalingSample::requests_per_second))
    html += "<div>" + to_svg_key(series) + html_escape(series.name) + "</div>\n";
  html +=
      "<span class=\"soft\">Medians; the whiskers go from the least to the most of the "
      "repetitions.";
  const bool hollow = std::any_of(study.results.begin(), study.results.end(),
                                  [](const ScalingResult& result) { return result.shares_cpus; });
  if (hollow) html += " Hollow: the clients' threads had no CPUs of their own.";
  return html + "</span></div>\n";
}

std::string figures(const ScalingStudy& study) {
  std::string html = "<div class=\"scroll\"><table><tr><th>backend, accept</th><th>loops</th>";
  for (const ScalingMetric& metric : kScalingMetrics) {
    html +=
        absl::StrFormat("<th>%s<br>%s</th>", html_escape(metric.title), html_escape(metric.unit));
  }
  html += "</tr>\n";
  for (const ScalingResult& result : study.results) {
    if (result.samples.empty()) continue;
    html += absl::StrFormat("<tr><td>%s</td><td>%d%s</td>", html_escape(series_name(result.point)),
                            result.point.loops, result.shares_cpus ? " *" : "");
    for (const ScalingMetric& metric : kScalingMetrics) {
      html += absl::StrFormat(
          "<td>%s<small>%s to %s</small></td>", short_number(result.median(metric.member)),
          short_number(result.least(metric.member)), short_number(result.most(metric.member)));
    }
    html += "</tr>\n";
  }
  return html + "</table></div>\n";
}

std::string machine(const ScalingStudy& study) {
  std::string html = "<div class=\"scroll\"><table class=\"left\">\n";
  for (const auto& [name, value] : study.machine) {
    html +=
        absl::StrFormat("<tr><th>%s</th><td>%s</td></tr>\n", html_escape(name), html_escape(value));
  }
  return html + "</table></div>\n";
}

std::string section(const char* title, const std::string& content) {
  return absl::StrFormat("<section class=\"card\"><h2>%s</h2>\n%s</section>\n", title, content);
}

std::string subtitle(const ScalingStudy& study) {
  const ScalingPlan& plan = study.plan;
  return absl::StrFormat(
      "%d connections, %d in flight on each, %d client thread%s; %d repetitions of %d ms each, "
      "interleaved, after %d ms of warm-up. Client and server are threads of one process, over "
      "loopback.",
      plan.connections, plan.pipeline, plan.client_threads, plan.client_threads == 1 ? "" : "s",
      study.repetitions, plan.times.window.count(), plan.times.warm_up.count());
}

}  // namespace

std::string to_page(const ScalingStudy& study) {
  const std::string title = html_escape("Thread scaling: " + study.workload);
  std::string html = absl::StrFormat(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>%s</title>\n<style>%s</style>\n</head>\n<body>\n<main>\n<h1>%s</h1>\n"
      "<p class=\"soft\">%s</p>\n",
      title, kStyle, title, html_escape(subtitle(study)));
  html += tiles(study) + legend(study) + "<div class=\"charts\">\n";
  for (const ScalingMetric& metric : kScalingMetrics) html += chart_card(study, metric);
  html += "</div>\n";
  std::string notes;
  for (const std::string& note : study.notes) notes += "<p>" + html_escape(note) + "</p>\n";
  if (!notes.empty()) html += section("To read with the figures", notes);
  html += section("All figures", figures(study)) + section("Machine", machine(study));
  return html + "</main>\n</body>\n</html>\n";
}

}  // namespace gyre::benchmarks
