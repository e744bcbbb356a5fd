// Drives an echo server: keeps requests in flight on many connections, checks every byte that comes
// back, and tells how many came and how long they took. A closed loop: a request waits for the
// answer to an earlier one, so with many connections the latency is mostly the queue in front of
// the server.

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "gyre/benchmarks/load_run.h"
#include "gyre/benchmarks/thread_usage.h"
#include "gyre/examples/command_line.h"
#include "gyre/threading/loop_pool.h"

namespace gyre::benchmarks {
namespace {

using std::chrono::seconds;

struct Options {
  std::string target;
  int connections = 100;
  int size = 64;
  int pipeline = 1;
  int seconds = 10;
  int milliseconds = 0;
  int warm_up = 0;
  int threads = 1;
  std::string mode = "echo";
  int server_pid = 0;
  bool json = false;
};

std::atomic<bool> g_interrupted{false};

// A line each second, on a terminal.
class Progress {
 public:
  explicit Progress(int connections) : connections_(connections) {}
  ~Progress() {
    if (terminal_) std::fprintf(stderr, "\r\033[K");
  }

  void show(const LoadRun& run) {
    const auto now = std::chrono::steady_clock::now();
    if (!terminal_ || now < next_line_) return;
    const uint64_t answers = run.answers();
    std::fprintf(stderr, "\r\033[K%lu of %d connections, %lu answers, %lu req/s", run.connected(),
                 connections_, answers, answers - last_answers_);
    std::fflush(stderr);
    last_answers_ = answers;
    next_line_ = now + seconds(1);
  }

 private:
  const int connections_;
  const bool terminal_ = ::isatty(STDERR_FILENO) != 0;
  std::chrono::steady_clock::time_point next_line_{};
  uint64_t last_answers_ = 0;
};

// What the run gave beside its LoadResult.
struct Measured {
  double seconds = 0;
  double server_cpu_seconds = 0;
};

double per_second(const LoadResult& result, const Measured& measured) {
  return measured.seconds > 0 ? static_cast<double>(result.requests) / measured.seconds : 0;
}

// Microseconds of the server's for each request.
double server_cpu(const LoadResult& result, const Measured& measured) {
  return result.requests > 0 ? 1e6 * measured.server_cpu_seconds / result.requests : 0;
}

void print_text(const Options& options, const LoadResult& result, const Measured& measured) {
  const auto micros = [&](double share) { return result.latency.percentile(share) / 1e3; };
  std::printf("%lu connections, %d threads, %d bytes, pipeline %d, %.1f s\n", result.connected,
              options.threads, options.size, options.pipeline, measured.seconds);
  std::printf("%lu requests, %.0f req/s, latency in us: p50 %.1f  p99 %.1f  p99.9 %.1f  max %.1f\n",
              result.requests, per_second(result, measured), micros(0.5), micros(0.99),
              micros(0.999), result.latency.max() / 1e3);
  if (options.server_pid > 0)
    std::printf("server: %.2f us of CPU a request\n", server_cpu(result, measured));
}

void print_json(const Options& options, const LoadResult& result, const Measured& measured) {
  const auto micros = [&](double share) { return result.latency.percentile(share) / 1e3; };
  std::printf(
      "{\"connections\": %lu, \"threads\": %d, \"size\": %d, \"pipeline\": %d, \"seconds\": %.3f, "
      "\"requests\": %lu, \"requests_per_second\": %.1f, ",
      result.connected, options.threads, options.size, options.pipeline, measured.seconds,
      result.requests, per_second(result, measured));
  if (options.server_pid > 0) {
    std::printf("\"server_cpu_us_per_request\": %.4f, \"server_cpu_share\": %.3f, ",
                server_cpu(result, measured),
                measured.seconds > 0 ? measured.server_cpu_seconds / measured.seconds : 0);
  }
  std::printf(
      "\"latency_us\": {\"p50\": %.1f, \"p99\": %.1f, \"p99.9\": %.1f, \"max\": %.1f}, "
      "\"refused\": %lu, \"broken\": %lu, \"wrong_bytes\": %lu, \"lost_requests\": %lu}\n",
      micros(0.5), micros(0.99), micros(0.999), result.latency.max() / 1e3, result.refused,
      result.broken, result.wrong_bytes, result.lost_requests);
}

int report(const Options& options, const LoadResult& result, const Measured& measured) {
  (options.json ? print_json : print_text)(options, result, measured);
  if (result.all_came_back() && result.connected == static_cast<uint64_t>(options.connections))
    return 0;
  std::fflush(stdout);
  std::fprintf(
      stderr,
      "tcp_load: %lu of %d connected, %lu refused, %lu broken, %lu wrong bytes, %lu requests "
      "without an answer%s%s\n",
      result.connected, options.connections, result.refused, result.broken, result.wrong_bytes,
      result.lost_requests,
      result.first_error.empty() ? "" : "; the first error: ", result.first_error.c_str());
  return 1;
}

absl::Status parse(int argc, char** argv, Options* options, LoadOptions* load) {
  examples::CommandLine line("Drives an echo server and checks every byte that comes back.",
                             "--target=127.0.0.1:8888 --connections=1000 --seconds=5");
  line.flag("target", "HOST:PORT of the server", &options->target);
  line.flag("connections", "how many, over all threads", &options->connections, 1, 1000000);
  line.flag("size", "bytes of a request", &options->size, 1, 16 * 1024 * 1024);
  line.flag("pipeline", "requests in flight on each connection", &options->pipeline, 1, 65536);
  line.flag("seconds", "how long to measure", &options->seconds, 1, 86400);
  line.flag("milliseconds", "the same; 0: as --seconds says", &options->milliseconds, 0, 86400000);
  line.flag("warm_up", "milliseconds of load before that", &options->warm_up, 0, 86400000);
  line.flag("mode", "echo; reconnect: each connection is for one request", &options->mode);
  line.flag("server_pid", "a process whose CPU time is counted as well; 0: none",
            &options->server_pid, 0, 1 << 30);
  line.flag("threads", "loops, each in a thread", &options->threads, 1, 1024);
  line.flag("json", "print one line of JSON", &options->json);
  if (absl::Status status = line.parse(argc, argv); !status.ok()) return status;
  if (options->mode != "echo" && options->mode != "reconnect") {
    return absl::InvalidArgumentError(absl::StrFormat(
        "--mode: unknown mode \"%s\": echo and reconnect are known", options->mode));
  }
  load->reconnect = options->mode == "reconnect";
  if (load->reconnect && options->pipeline != 1)
    return absl::InvalidArgumentError("--pipeline goes with --mode=echo only");
  if (options->target.empty()) return absl::InvalidArgumentError("--target=HOST:PORT is missing");
  std::string host;
  uint16_t port;
  if (absl::Status status = SocketAddress::split(options->target, &host, &port); !status.ok())
    return status;
  const absl::StatusOr<std::vector<SocketAddress>> addresses = SocketAddress::resolve(host, port);
  if (!addresses.ok()) return addresses.status();
  load->target = addresses->front();
  load->request_bytes = options->size;
  load->pipeline = options->pipeline;
  return absl::OkStatus();
}

// Ends the measurement early; a second time ends the program.
void end_on_interrupt() {
  struct sigaction action {};
  action.sa_handler = [](int) { g_interrupted.store(true); };
  action.sa_flags = SA_RESETHAND;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

absl::StatusOr<LoadResult> run_with_progress(IOLoop& loop, LoadRun& load_run, int connections) {
  Progress progress(connections);
  load_run.on_progress = [&progress](const LoadRun& run) { progress.show(run); };
  return loop.run_sync([&] { return load_run.run(g_interrupted); });
}

int run(int argc, char** argv) {
  Options options;
  LoadOptions load;
  if (absl::Status status = parse(argc, argv, &options, &load); !status.ok()) {
    return examples::usage_error(argv[0], status);
  }
  constexpr size_t kSpareFds = 64;
  const size_t limit = examples::raise_open_file_limit();
  if (static_cast<size_t>(options.connections) + kSpareFds > limit) {
    return examples::usage_error(
        argv[0], absl::InvalidArgumentError(absl::StrFormat(
                     "--connections=%d: this process may open %d files only (ulimit -n)",
                     options.connections, limit)));
  }
  absl::StatusOr<std::unique_ptr<IOLoop>> loop = IOLoop::create({.name = "main"});
  if (!loop.ok()) return examples::usage_error(argv[0], loop.status());
  LoopPoolOptions pool_options;
  pool_options.threads = options.threads;
  pool_options.name = "load";
  absl::StatusOr<std::unique_ptr<LoopPool>> pool = LoopPool::create(std::move(pool_options));
  if (!pool.ok()) return examples::usage_error(argv[0], pool.status());
  end_on_interrupt();
  const std::chrono::milliseconds window = options.milliseconds > 0
                                               ? std::chrono::milliseconds(options.milliseconds)
                                               : seconds(options.seconds);
  LoadRun load_run(**loop, **pool, load, options.connections,
                   {std::chrono::milliseconds(options.warm_up), window});
  const pid_t server = options.server_pid;
  ThreadUsage before, used;
  if (server > 0) {
    load_run.on_window_begin = [&] { before = usage_of_threads(server); };
    load_run.on_window_end = [&] { used = usage_of_threads(server) - before; };
  }
  absl::StatusOr<LoadResult> result = run_with_progress(**loop, load_run, options.connections);
  (*pool)->stop();
  (*pool)->join();
  if (!result.ok()) return examples::usage_error(argv[0], result.status());
  return report(options, *result,
                {std::chrono::duration<double>(load_run.measured()).count(),
                 std::chrono::duration<double>(used.cpu).count()});
}

}  // namespace
}  // namespace gyre::benchmarks

int main(int argc, char** argv) { return gyre::benchmarks::run(argc, argv); }
