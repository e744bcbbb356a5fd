// A server that ends well: the first SIGTERM or SIGINT (Ctrl-C) ends the idle connections at once
// and the busy ones after their answer, within ten seconds; a second signal does not wait.
//
//   bazel run //examples:graceful_shutdown -- --port=8888 --work-ms=3000
//   nc 127.0.0.1 8888        a line is answered after three seconds; press Ctrl-C in the server
//
// examples/server_program.cc, which the other servers run in, does the same.

#include <signal.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gyre/examples/command_line.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/signal_handler.h"
#include "gyre/loop/task.h"
#include "gyre/net/tcp_server.h"

namespace {

constexpr std::chrono::seconds kPatience(10);

// What the main thread does: its loop has the signals, and ends when the server has drained.
class Shutdown {
 public:
  Shutdown(gyre::IOLoop& loop, gyre::TCPServer& server) : loop_(loop), server_(server) {}

  absl::Status watch(int signal) {
    auto handler = gyre::SignalHandler::create(loop_, signal, [this](int) { on_signal(); });
    if (!handler.ok()) return handler.status();
    handlers_.push_back(*std::move(handler));
    return absl::OkStatus();
  }

 private:
  void on_signal() {
    if (std::exchange(draining_, true)) {
      std::printf("closing\n");
      server_.close_now();  // and with it the drain ends
      return;
    }
    std::printf("draining; a second signal closes at once\n");
    std::fflush(stdout);
    loop_.add_future(server_.drain_async(kPatience),
                     [this](gyre::Future<gyre::DrainReport> report) {
                       std::printf("%s\n", report.get().to_string().c_str());
                       loop_.stop();
                     });
  }

  gyre::IOLoop& loop_;
  gyre::TCPServer& server_;
  bool draining_ = false;
  std::vector<std::unique_ptr<gyre::SignalHandler>> handlers_;
};

}  // namespace

int main(int argc, char** argv) {
  int port = 0, work_ms = 1000;
  gyre::examples::CommandLine line(
      "Answers lines after some work, and drains when it is told to end.",
      "--port=8888 --work-ms=3000");
  line.flag("port", "0: the kernel picks one", &port, 0, 65535);
  line.flag("work-ms", "how long an answer takes", &work_ms, 0, 60'000);
  if (absl::Status status = line.parse(argc, argv); !status.ok()) {
    return gyre::examples::usage_error(argv[0], status);
  }

  const auto loop = gyre::IOLoop::create({.name = "main"});
  if (!loop.ok()) return gyre::examples::usage_error(argv[0], loop.status());
  const auto pool = gyre::LoopPool::create();
  if (!pool.ok()) return gyre::examples::usage_error(argv[0], pool.status());
  const std::chrono::milliseconds work(work_ms);
  // From a line to its answer the connection is busy: this coroutine has not asked for the next.
  gyre::TCPServer server(
      **pool, [work](std::shared_ptr<gyre::IOStream> stream) -> gyre::Task<void> {
        for (;;) {
          const absl::StatusOr<std::string> job = co_await stream->read_until("\n");
          if (!job.ok()) co_return;
          co_await gyre::sleep_for(work);
          stream->write("done: " + *job);
        }
      });
  if (absl::Status status = server.listen(port, "127.0.0.1"); !status.ok()) {
    return gyre::examples::usage_error(argv[0], status);
  }
  Shutdown shutdown(**loop, server);
  for (const int signal : {SIGTERM, SIGINT}) {
    if (absl::Status status = shutdown.watch(signal); !status.ok()) {
      return gyre::examples::usage_error(argv[0], status);
    }
  }
  std::printf("listening on %s\n", server.address().to_string().c_str());
  std::fflush(stdout);
  return (*loop)->start().ok() ? 0 : 1;
}
