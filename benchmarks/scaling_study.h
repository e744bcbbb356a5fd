#ifndef GYRE_BENCHMARKS_SCALING_STUDY_H_
#define GYRE_BENCHMARKS_SCALING_STUDY_H_

#include <array>
#include <string>
#include <vector>

#include "gyre/benchmarks/machine.h"
#include "gyre/benchmarks/scaling_sample.h"

namespace gyre::benchmarks {

// A figure of the samples: its name in files, its title and unit on the page.
struct ScalingMetric {
  const char* name;
  const char* title;
  const char* unit;
  double ScalingSample::*member;
};
inline constexpr std::array<ScalingMetric, 8> kScalingMetrics{{
    {"requests_per_second", "Throughput", "requests/s", &ScalingSample::requests_per_second},
    {"cpu_us_per_request", "Server CPU per request", "\u00b5s", &ScalingSample::cpu_us_per_request},
    {"p50_us", "Latency, median", "\u00b5s", &ScalingSample::p50_us},
    {"p99_us", "Latency, 99 %", "\u00b5s", &ScalingSample::p99_us},
    {"p999_us", "Latency, 99.9 %", "\u00b5s", &ScalingSample::p999_us},
    {"imbalance", "Imbalance between loops", "max / mean", &ScalingSample::imbalance},
    {"sleeps_per_request", "Sleeps per request", "", &ScalingSample::sleeps_per_request},
    {"wakeups_per_request", "Wake-ups by other threads", "per request",
     &ScalingSample::wakeups_per_request},
}};

// A point and its samples, in the order in which they were taken.
struct ScalingResult {
  ScalingPoint point;
  bool shares_cpus = false;
  std::vector<ScalingSample> samples;

  double median(double ScalingSample::*member) const;
  double least(double ScalingSample::*member) const;
  double most(double ScalingSample::*member) const;
};

// All that was measured, and where.
struct ScalingStudy {
  std::string workload;
  ScalingPlan plan;
  int repetitions = 0;
  MachineDescription machine;
  std::vector<std::string> notes;  // what a reader of the figures has to know
  std::vector<ScalingResult> results;
};

// "epoll, thread".
std::string series_name(const ScalingPoint& point);

std::string to_table(const ScalingStudy& study);
// A line for each sample.
std::string to_csv(const ScalingStudy& study);
std::string to_json(const ScalingStudy& study);
// One HTML file: nothing is loaded from elsewhere, no script.
std::string to_page(const ScalingStudy& study);

}  // namespace gyre::benchmarks

#endif  // GYRE_BENCHMARKS_SCALING_STUDY_H_
