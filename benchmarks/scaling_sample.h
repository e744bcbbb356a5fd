#ifndef GYRE_BENCHMARKS_SCALING_SAMPLE_H_
#define GYRE_BENCHMARKS_SCALING_SAMPLE_H_

#include <atomic>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "gyre/benchmarks/load_run.h"
#include "gyre/benchmarks/thread_scaling.h"
#include "gyre/loop/io_loop.h"

namespace gyre::benchmarks {

// One point of a study.
struct ScalingPoint {
  int loops = 1;
  Backend backend = Backend::kDefault;
  std::string accept;  // as parse_accept_mode() has it

  bool operator==(const ScalingPoint&) const = default;
};

// What is the same for all points.
struct ScalingPlan {
  int connections = 64;
  int client_threads = 1;
  int pipeline = 1;
  int request_bytes = 64;
  LoadTimes times;
};

// What a run of a point gave.
struct ScalingSample {
  double requests_per_second = 0;
  double p50_us = 0, p99_us = 0, p999_us = 0;
  // The most that a loop served over what each would serve if they were equal: 1 to `loops`.
  double imbalance = 1;
  // Sleeps of a loop that another thread's post ended, for each request.
  double wakeups_per_request = 0;
  // Times that a thread of the server went to sleep, for each request.
  double sleeps_per_request = 0;
  // Of the server's threads together, the kernel's share included.
  double cpu_us_per_request = 0;
};

// Whether the clients' threads and the server's have CPUs of their own.
bool shares_cpus(const ScalingPoint& point, const ScalingPlan& plan);

// Serves and loads the workload in threads of this process, bound to CPUs where there are enough,
// and takes both down again. DataLoss where an answer was wrong or missing, Cancelled once
// `interrupted`; else what the pool or the server failed with.
absl::StatusOr<ScalingSample> measure_point(IOLoop& loop, const ScalingWorkload& workload,
                                            const ScalingPoint& point, const ScalingPlan& plan,
                                            const std::atomic<bool>& interrupted);

}  // namespace gyre::benchmarks

#endif  // GYRE_BENCHMARKS_SCALING_SAMPLE_H_
