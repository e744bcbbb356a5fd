// Drives an echo server: keeps requests in flight on many connections, checks every byte that comes
// back, and tells how many came and how long they took. A closed loop: a request waits for the
// answer to an earlier one, so with many connections the latency is mostly the queue in front of
// the server.

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "gyre/benchmarks/load_worker.h"
#include "gyre/examples/command_line.h"
#include "gyre/loop/task.h"
#include "gyre/threading/loop_pool.h"

namespace gyre::benchmarks {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

struct Options {
  std::string target;
  int connections = 100;
  int size = 64;
  int pipeline = 1;
  int seconds = 10;
  int threads = 1;
  bool json = false;
};

// After the last request is sent, so long is waited for the answers.
constexpr seconds kAnswerDeadline(10);
constexpr seconds kConnectDeadline(60);

std::atomic<bool> g_interrupted{false};

// The run, from the main thread's loop: it asks the workers, each of which lives on a loop of the
// pool.
class Load {
 public:
  Load(IOLoop& loop, LoopPool& pool, const Options& options, const LoadOptions& load)
      : loop_(loop), options_(options), pattern_(load.request_bytes) {
    const int threads = static_cast<int>(pool.size());
    for (int i = 0; i < threads; ++i) {
      const int share = options.connections / threads + (i < options.connections % threads ? 1 : 0);
      workers_.push_back(std::make_unique<LoadWorker>(pool.loop(i), load, pattern_, share));
      loops_.push_back(&pool.loop(i));
    }
  }

  Task<LoadResult> run() {
    const bool connected = co_await ask_all(
        kConnectDeadline,
        [](LoadWorker& worker, std::function<void()> done) { worker.connect(std::move(done)); });
    tell("connected");
    if (connected) {
      begin([](LoadWorker& worker) { worker.start_sending(); });
      begin([](LoadWorker& worker) { worker.start_measuring(); });
      co_await measure();
      co_await ask_all(kAnswerDeadline, [](LoadWorker& worker, std::function<void()> done) {
        worker.stop_sending(std::move(done));
      });
    }
    clear_line();
    co_return co_await collect();
  }

  double measured_seconds() const { return measured_seconds_; }

 private:
  using Question = void (*)(LoadWorker&, std::function<void()> done);

  void begin(void (*what)(LoadWorker&)) {
    for (size_t i = 0; i < workers_.size(); ++i) {
      loops_[i]->add_callback([worker = workers_[i].get(), what] { what(*worker); });
    }
  }

  // Asks every worker, and waits until all have answered. False: not within the deadline.
  Task<bool> ask_all(IOLoop::Duration deadline, Question question) {
    auto answers = std::make_shared<std::atomic<size_t>>(0);
    for (size_t i = 0; i < workers_.size(); ++i) {
      loops_[i]->add_callback([worker = workers_[i].get(), question, answers] {
        question(*worker, [answers] { answers->fetch_add(1); });
      });
    }
    const IOLoop::TimePoint end = loop_.time() + deadline;
    while (answers->load() < workers_.size()) {
      if (loop_.time() > end) co_return false;
      show_progress();
      co_await sleep_for(milliseconds(2));
    }
    co_return true;
  }

  Task<void> measure() {
    const IOLoop::TimePoint begin = loop_.time();
    while (loop_.time() - begin < seconds(options_.seconds) && !g_interrupted.load()) {
      show_progress();
      co_await sleep_for(std::min<IOLoop::Duration>(
          milliseconds(10), begin + seconds(options_.seconds) - loop_.time()));
    }
    measured_seconds_ = std::chrono::duration<double>(loop_.time() - begin).count();
  }

  Task<LoadResult> collect() {
    LoadResult total;
    for (size_t i = 0; i < workers_.size(); ++i) {
      // The coroutine goes to the worker's loop and back: nothing is shared between threads.
      if (!co_await resume_on(*loops_[i])) continue;
      LoadResult result = workers_[i]->finish();
      co_await resume_on(loop_);
      total.merge(result);
    }
    co_return total;
  }

  // A line each second, on a terminal.
  void show_progress() {
    if (!terminal_ || loop_.time() < next_line_) return;
    uint64_t connected = 0, answers = 0;
    for (const std::unique_ptr<LoadWorker>& worker : workers_) {
      connected += worker->connected();
      answers += worker->answers();
    }
    std::fprintf(stderr, "\r\033[K%lu of %d connections, %lu answers, %lu req/s", connected,
                 options_.connections, answers, answers - last_answers_);
    std::fflush(stderr);
    last_answers_ = answers;
    next_line_ = loop_.time() + seconds(1);
  }
  void tell(const char* what) {
    if (terminal_) std::fprintf(stderr, "\r\033[K%s\n", what);
  }
  void clear_line() {
    if (terminal_) std::fprintf(stderr, "\r\033[K");
  }

  IOLoop& loop_;
  const Options& options_;
  const Pattern pattern_;
  std::vector<std::unique_ptr<LoadWorker>> workers_;
  std::vector<IOLoop*> loops_;
  double measured_seconds_ = 0;
  const bool terminal_ = ::isatty(STDERR_FILENO) != 0;
  IOLoop::TimePoint next_line_{};
  uint64_t last_answers_ = 0;
};

void print_text(const Options& options, const LoadResult& result, double measured) {
  const auto micros = [&](double share) { return result.latency.percentile(share) / 1e3; };
  std::printf("%lu connections, %d threads, %d bytes, pipeline %d, %.1f s\n", result.connected,
              options.threads, options.size, options.pipeline, measured);
  std::printf("%lu requests, %.0f req/s, latency in us: p50 %.1f  p99 %.1f  p99.9 %.1f  max %.1f\n",
              result.requests, measured > 0 ? result.requests / measured : 0, micros(0.5),
              micros(0.99), micros(0.999), result.latency.max() / 1e3);
}

void print_json(const Options& options, const LoadResult& result, double measured) {
  const auto micros = [&](double share) { return result.latency.percentile(share) / 1e3; };
  std::printf(
      "{\"connections\": %lu, \"threads\": %d, \"size\": %d, \"pipeline\": %d, \"seconds\": %.3f, "
      "\"requests\": %lu, \"requests_per_second\": %.1f, \"latency_us\": {\"p50\": %.1f, \"p99\": "
      "%.1f, "
      "\"p99.9\": %.1f, \"max\": %.1f}, \"refused\": %lu, \"broken\": %lu, \"wrong_bytes\": %lu, "
      "\"lost_requests\": %lu}\n",
      result.connected, options.threads, options.size, options.pipeline, measured, result.requests,
      measured > 0 ? result.requests / measured : 0, micros(0.5), micros(0.99), micros(0.999),
      result.latency.max() / 1e3, result.refused, result.broken, result.wrong_bytes,
      result.lost_requests);
}

int report(const Options& options, const LoadResult& result, double measured) {
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
  examples::CommandLine line("Drives an echo server and checks every byte that comes back.");
  line.flag("target", "HOST:PORT of the server", &options->target);
  line.flag("connections", "how many, over all threads", &options->connections, 1, 1000000);
  line.flag("size", "bytes of a request", &options->size, 1, 16 * 1024 * 1024);
  line.flag("pipeline", "requests in flight on each connection", &options->pipeline, 1, 65536);
  line.flag("seconds", "how long to measure", &options->seconds, 1, 86400);
  line.flag("threads", "loops, each in a thread", &options->threads, 1, 1024);
  line.flag("json", "print one line of JSON", &options->json);
  if (absl::Status status = line.parse(argc, argv); !status.ok()) return status;
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
  Load the_load(**loop, **pool, options, load);
  absl::StatusOr<LoadResult> result = (*loop)->run_sync([&] { return the_load.run(); });
  (*pool)->stop();
  (*pool)->join();
  if (!result.ok()) return examples::usage_error(argv[0], result.status());
  return report(options, *result, the_load.measured_seconds());
}

}  // namespace
}  // namespace gyre::benchmarks

int main(int argc, char** argv) { return gyre::benchmarks::run(argc, argv); }
