// An echo server, and beside it, on a port of its own that only the operator reaches, a page for
// Prometheus. Prints both ports.
//
//   bazel run -c opt //examples:metrics_server -- --port=8888 --metrics-port=8889
//   curl http://127.0.0.1:8889/metrics

#include <signal.h>

#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "gyre/examples/command_line.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/signal_handler.h"
#include "gyre/net/server_metrics.h"
#include "gyre/net/tcp_server.h"
#include "gyre/threading/loop_pool.h"
#include "gyre/threading/prometheus.h"

namespace {

using gyre::IOStream;

constexpr size_t kMaxRequest = 16 * 1024;

gyre::TCPServerOptions named(std::string name) {
  gyre::TCPServerOptions options;
  options.name = std::move(name);
  return options;
}

void echo(std::shared_ptr<IOStream> connection) {
  IOStream* const stream = connection.get();
  stream->set_read_callback([stream](std::string_view bytes) { stream->write(bytes); })
      .IgnoreError();  // a new stream is open, and nobody else reads
}

std::string answer(const std::string& request, const gyre::LoopPool& pool,
                   const gyre::TCPServer& server) {
  if (!request.starts_with("GET /metrics "))
    return "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
  gyre::PrometheusText page;
  page.add(pool);
  gyre::add_metrics(page, server);
  const std::string body = page.to_string();
  return "HTTP/1.1 200 OK\r\nContent-Type: " + std::string(gyre::PrometheusText::kContentType) +
         "\r\nContent-Length: " + std::to_string(body.size()) + "\r\nConnection: close\r\n\r\n" +
         body;
}

}  // namespace

int main(int argc, char** argv) {
  int port = 0, metrics_port = 0;
  gyre::examples::CommandLine line("An echo server with a page of metrics for Prometheus.",
                                   "--port=8888 --metrics-port=8889");
  line.flag("port", "of the echo server; 0: the kernel picks one", &port, 0, 65535);
  line.flag("metrics-port", "of the page, at /metrics; 0: the kernel picks one", &metrics_port, 0,
            65535);
  if (absl::Status status = line.parse(argc, argv); !status.ok())
    return gyre::examples::usage_error(argv[0], status);
  auto main_loop = gyre::IOLoop::create({.name = "main"});
  auto pool = gyre::LoopPool::create();
  if (!main_loop.ok()) return gyre::examples::usage_error(argv[0], main_loop.status());
  if (!pool.ok()) return gyre::examples::usage_error(argv[0], pool.status());

  gyre::TCPServer server(**pool, echo, named("echo"));
  // Any loop may write the page: what it reads of the others are counts.
  gyre::TCPServer metrics(
      **pool,
      [&](std::shared_ptr<IOStream> stream) -> gyre::Task<void> {
        const auto request = co_await stream->read_until("\r\n\r\n", kMaxRequest);
        if (!request.ok()) co_return;
        stream->write(answer(*request, **pool, server));
        stream->close_when_flushed();
      },
      named("metrics"));
  absl::Status status = server.listen(port, "127.0.0.1");
  status.Update(metrics.listen(metrics_port, "127.0.0.1"));
  if (!status.ok()) return gyre::examples::usage_error(argv[0], status);
  const auto on_signal = [&](int) { (*main_loop)->stop(); };
  const auto handler = gyre::SignalHandler::create(**main_loop, SIGTERM, on_signal);
  if (!handler.ok()) return gyre::examples::usage_error(argv[0], handler.status());
  std::printf("echo on port %d, metrics on port %d\n", server.port(), metrics.port());
  std::fflush(stdout);
  return (*main_loop)->start().ok() ? 0 : 1;
}
