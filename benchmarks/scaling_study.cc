#include "gyre/benchmarks/scaling_study.h"

#include <algorithm>

#include "absl/strings/str_format.h"

namespace gyre::benchmarks {
namespace {

std::vector<double> sorted_values(const std::vector<ScalingSample>& samples,
                                  double ScalingSample::*member) {
  std::vector<double> values;
  for (const ScalingSample& sample : samples) values.push_back(sample.*member);
  std::sort(values.begin(), values.end());
  return values;
}

std::string json_string(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    if (static_cast<unsigned char>(c) < ' ') {
      quoted += absl::StrFormat("\\u%04x", static_cast<unsigned char>(c));
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

std::string json_of(const ScalingSample& sample) {
  std::string text;
  for (const ScalingMetric& metric : kScalingMetrics) {
    text += absl::StrFormat("%s\"%s\": %.6g", text.empty() ? "{" : ", ", metric.name,
                            sample.*metric.member);
  }
  return text + "}";
}

std::string json_of(const ScalingResult& result) {
  std::string text = absl::StrFormat(
      "{\"loops\": %d, \"backend\": \"%s\", \"accept\": \"%s\", \"shares_cpus\": %s, \"median\": {",
      result.point.loops, std::string(to_string(result.point.backend)), result.point.accept,
      result.shares_cpus ? "true" : "false");
  for (const ScalingMetric& metric : kScalingMetrics) {
    text += absl::StrFormat("%s\"%s\": %.6g", &metric == kScalingMetrics.begin() ? "" : ", ",
                            metric.name, result.median(metric.member));
  }
  text += "}, \"samples\": [";
  for (const ScalingSample& sample : result.samples)
    text += (&sample == &result.samples.front() ? "" : ", ") + json_of(sample);
  return text + "]}";
}

}  // namespace

double ScalingResult::median(double ScalingSample::*member) const {
  const std::vector<double> values = sorted_values(samples, member);
  if (values.empty()) return 0;
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}
double ScalingResult::least(double ScalingSample::*member) const {
  return samples.empty() ? 0 : sorted_values(samples, member).front();
}
double ScalingResult::most(double ScalingSample::*member) const {
  return samples.empty() ? 0 : sorted_values(samples, member).back();
}

std::string series_name(const ScalingPoint& point) {
  return std::string(to_string(point.backend)) + ", " + point.accept;
}

std::string to_table(const ScalingStudy& study) {
  std::string text = absl::StrFormat("%-6s %-8s %-10s %10s %8s %9s %9s %9s %9s %9s %9s\n", "loops",
                                     "backend", "accept", "req/s", "cpu us", "p50 us", "p99 us",
                                     "p99.9 us", "imbalance", "sleeps/rq", "wakes/rq");
  for (const ScalingResult& result : study.results) {
    if (result.samples.empty()) continue;
    text += absl::StrFormat(
        "%-6d %-8s %-10s %10.0f %8.2f %9.1f %9.1f %9.1f %9.2f %9.4f %9.4f%s\n", result.point.loops,
        std::string(to_string(result.point.backend)), result.point.accept,
        result.median(&ScalingSample::requests_per_second),
        result.median(&ScalingSample::cpu_us_per_request), result.median(&ScalingSample::p50_us),
        result.median(&ScalingSample::p99_us), result.median(&ScalingSample::p999_us),
        result.median(&ScalingSample::imbalance), result.median(&ScalingSample::sleeps_per_request),
        result.median(&ScalingSample::wakeups_per_request), result.shares_cpus ? "  *" : "");
  }
  for (const std::string& note : study.notes) text += note + "\n";
  return text;
}

std::string to_csv(const ScalingStudy& study) {
  std::string text = "loops,backend,accept,shares_cpus,repetition";
  for (const ScalingMetric& metric : kScalingMetrics) text += std::string(",") + metric.name;
  text += '\n';
  for (const ScalingResult& result : study.results) {
    for (size_t i = 0; i < result.samples.size(); ++i) {
      text += absl::StrFormat("%d,%s,%s,%d,%d", result.point.loops,
                              std::string(to_string(result.point.backend)), result.point.accept,
                              result.shares_cpus, i + 1);
      for (const ScalingMetric& metric : kScalingMetrics)
        text += absl::StrFormat(",%.6g", result.samples[i].*metric.member);
      text += '\n';
    }
  }
  return text;
}

std::string to_json(const ScalingStudy& study) {
  std::string text = absl::StrFormat(
      "{\"workload\": %s,\n \"plan\": {\"connections\": %d, \"client_threads\": %d, "
      "\"pipeline\": %d, \"request_bytes\": %d, \"warm_up_ms\": %d, \"window_ms\": %d, "
      "\"repetitions\": %d},\n \"machine\": {",
      json_string(study.workload), study.plan.connections, study.plan.client_threads,
      study.plan.pipeline, study.plan.request_bytes, study.plan.times.warm_up.count(),
      study.plan.times.window.count(), study.repetitions);
  for (const auto& [name, value] : study.machine) {
    text += absl::StrFormat("%s%s: %s", name == study.machine.front().first ? "" : ", ",
                            json_string(name), json_string(value));
  }
  text += "},\n \"notes\": [";
  for (const std::string& note : study.notes)
    text += (&note == &study.notes.front() ? "" : ", ") + json_string(note);
  text += "],\n \"results\": [";
  for (const ScalingResult& result : study.results)
    text += (&result == &study.results.front() ? "\n  " : ",\n  ") + json_of(result);
  return text + "\n]}\n";
}

}  // namespace gyre::benchmarks
