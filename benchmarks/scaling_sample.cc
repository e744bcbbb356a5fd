#include "gyre/benchmarks/scaling_sample.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "gyre/benchmarks/thread_usage.h"
#include "gyre/threading/cpu_affinity.h"

namespace gyre::benchmarks {
namespace {

// The server's threads are found by their names, its acceptor's too.
constexpr char kServerName[] = "server";
constexpr char kServerPrefix[] = "server-";

absl::StatusOr<std::unique_ptr<LoopPool>> make_pool(const char* name, int threads,
                                                    Backend backend) {
  LoopPoolOptions options;
  options.name = name;
  options.threads = threads;
  options.backend = backend;
  return LoopPool::create(std::move(options));
}

// One CPU for each loop, from the `first` of this process's on.
void bind_to_cpus(LoopPool& pool, size_t first) {
  const std::vector<int> cpus = affinity_mask();
  for (size_t i = 0; i < pool.size(); ++i) {
    if (first + i >= cpus.size()) return;
    // Unbound, where the platform cannot: that costs precision, nothing else.
    pool.loop(i).add_callback([cpu = cpus[first + i]] { pin_this_thread(cpu).IgnoreError(); });
  }
}

// What the loops and the server's threads count.
struct Counts {
  ThreadUsage usage;
  uint64_t wakeups = 0;

  static Counts of(LoopPool& pool) {
    Counts counts{usage_of_threads(0, kServerPrefix), 0};
    for (size_t i = 0; i < pool.size(); ++i) counts.wakeups += pool.loop(i).metrics().wakeups;
    return counts;
  }
};

// A connection's bytes are in the server's books once it is closed.
double imbalance_of(const TCPServer& server, size_t loops) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (server.open_connections() > 0 && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  uint64_t most = 0, all = 0;
  for (size_t i = 0; i < loops; ++i) {
    const uint64_t bytes = server.stats(i).bytes_received;
    most = std::max(most, bytes);
    all += bytes;
  }
  return all > 0 ? static_cast<double>(most * loops) / static_cast<double>(all) : 1;
}

LoadOptions load_options(const ScalingWorkload& workload, const ScalingPlan& plan,
                         const SocketAddress& target) {
  LoadOptions options;
  options.target = target;
  options.request = workload.request;
  options.request_bytes = plan.request_bytes;
  options.answer = workload.answer;
  options.answer_bytes = workload.answer_bytes;
  options.pipeline = plan.pipeline;
  return options;
}

absl::Status check(const LoadResult& result, const std::atomic<bool>& interrupted) {
  if (interrupted.load()) return absl::CancelledError("interrupted");
  if (result.all_came_back() && result.requests > 0) return absl::OkStatus();
  return absl::DataLossError(absl::StrFormat(
      "%d connections refused, %d broken, %d wrong bytes, %d requests without an answer%s%s",
      result.refused, result.broken, result.wrong_bytes, result.lost_requests,
      result.first_error.empty() ? "" : "; the first error: ", result.first_error));
}

ScalingSample sample_of(const LoadResult& result, std::chrono::nanoseconds measured,
                        const Counts& before, const Counts& after) {
  const auto micros = [&](double share) { return result.latency.percentile(share) / 1e3; };
  const auto requests = static_cast<double>(result.requests);
  const ThreadUsage used = after.usage - before.usage;
  ScalingSample sample;
  sample.requests_per_second = requests / std::chrono::duration<double>(measured).count();
  sample.p50_us = micros(0.5);
  sample.p99_us = micros(0.99);
  sample.p999_us = micros(0.999);
  sample.wakeups_per_request = static_cast<double>(after.wakeups - before.wakeups) / requests;
  sample.sleeps_per_request = static_cast<double>(used.sleeps) / requests;
  sample.cpu_us_per_request = static_cast<double>(used.cpu.count()) / 1e3 / requests;
  return sample;
}

}  // namespace

bool shares_cpus(const ScalingPoint& point, const ScalingPlan& plan) {
  return point.loops + plan.client_threads > usable_cpus();
}

absl::StatusOr<ScalingSample> measure_point(IOLoop& loop, const ScalingWorkload& workload,
                                            const ScalingPoint& point, const ScalingPlan& plan,
                                            const std::atomic<bool>& interrupted) {
  absl::StatusOr<std::unique_ptr<LoopPool>> servers =
      make_pool(kServerName, point.loops, point.backend);
  if (!servers.ok()) return servers.status();
  absl::StatusOr<std::unique_ptr<LoopPool>> clients =
      make_pool("client", plan.client_threads, Backend::kDefault);
  if (!clients.ok()) return clients.status();
  if (!shares_cpus(point, plan)) {
    bind_to_cpus(**servers, 0);
    bind_to_cpus(**clients, point.loops);
  }
  TCPServerOptions options;
  options.name = kServerName;
  const absl::StatusOr<AcceptMode> accept = parse_accept_mode(point.accept);
  if (!accept.ok()) return accept.status();
  options.accept = *accept;
  const std::unique_ptr<TCPServer> server = workload.make_server(**servers, std::move(options));
  if (absl::Status status = server->listen(0, "127.0.0.1"); !status.ok()) return status;

  LoadRun run(loop, **clients, load_options(workload, plan, server->address()), plan.connections,
              plan.times);
  Counts before, after;
  run.on_window_begin = [&] { before = Counts::of(**servers); };
  run.on_window_end = [&] { after = Counts::of(**servers); };
  absl::StatusOr<LoadResult> result = loop.run_sync([&] { return run.run(interrupted); });
  const double imbalance = result.ok() ? imbalance_of(*server, (*servers)->size()) : 1;
  (*clients)->stop();
  (*clients)->join();
  if (!result.ok()) return result.status();
  if (absl::Status status = check(*result, interrupted); !status.ok()) return status;
  ScalingSample sample = sample_of(*result, run.measured(), before, after);
  sample.imbalance = imbalance;
  return sample;
}

}  // namespace gyre::benchmarks
