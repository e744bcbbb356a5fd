#include "gyre/examples/server_program.h"

#include <signal.h>

#include <cstdio>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "gyre/examples/command_line.h"
#include "gyre/loop/signal_handler.h"

namespace gyre::examples {
namespace {

struct Options {
  std::string host = "127.0.0.1";
  int port = 0;
  LoopPoolOptions pool;
  TCPServerOptions server;
  int spin_us = 0;
  int drain_seconds = 10;
};

absl::StatusOr<Options> parse_options(int argc, char** argv, const ServerProgram& program) {
  Options options;
  options.spin_us = program.spin_us;
  int max_connections = 0;
  std::string backend = "default", accept = "thread", placement = "round_robin";
  std::string proxies;
  CommandLine line(program.summary, program.example);
  if (program.add_flags != nullptr) program.add_flags(line);
  line.flag("host", "the address to listen on: a name or a number", &options.host);
  line.flag("port", "0: the kernel picks one", &options.port, 0, 65535);
  line.flag("threads", "loops, each in a thread; 0: one for each CPU", &options.pool.threads, 0,
            4096);
  line.flag("backend", "default, epoll, kqueue or select", &backend);
  line.flag("spin-us",
            "how long an idle loop looks for work before it sleeps, where that pays; costs a CPU",
            &options.spin_us, 0, 1000);
  line.flag("accept",
            "thread: one that deals out; shared: every loop from one socket; reuseport: every loop "
            "from its own",
            &accept);
  line.flag("placement",
            "round_robin, least_connections, two_choices, source_hash or least_busy, with "
            "--accept=thread",
            &placement);
  line.flag("max-connections", "open at the same time, the next ones wait; 0: any number",
            &max_connections, 0, 1 << 24);
  line.flag("drain-seconds", "after SIGTERM, until busy connections are cut off",
            &options.drain_seconds, 0, 24 * 3600);
  line.flag("proxy_protocol", "who sends a PROXY header: 10.0.0.0/8,192.0.2.7,unix; empty: nobody",
            &proxies);
  if (absl::Status status = line.parse(argc, argv); !status.ok()) return status;

  const auto in_flag = [](const char* flag, const absl::Status& status) {
    return absl::InvalidArgumentError(
        absl::StrFormat("--%s: %s", flag, std::string(status.message())));
  };
  const absl::StatusOr<Backend> parsed_backend = parse_backend(backend);
  if (!parsed_backend.ok()) return in_flag("backend", parsed_backend.status());
  options.pool.backend = *parsed_backend;
  const absl::StatusOr<AcceptMode> parsed_accept = parse_accept_mode(accept);
  if (!parsed_accept.ok()) return in_flag("accept", parsed_accept.status());
  options.server.accept = *parsed_accept;
  const absl::StatusOr<Placement> parsed_placement = parse_placement(placement);
  if (!parsed_placement.ok()) return in_flag("placement", parsed_placement.status());
  options.server.placement = *parsed_placement;
  options.pool.spin = std::chrono::microseconds(options.spin_us);
  options.server.limits.total = max_connections;
  if (!proxies.empty()) {
    const absl::StatusOr<CidrList> trusted = CidrList::parse(proxies);
    if (!trusted.ok()) return in_flag("proxy_protocol", trusted.status());
    options.server.proxy_protocol.emplace().trusted = *trusted;
  }
  return options;
}

// SIGTERM and SIGINT: the first one drains the server and then stops the loop, a second one closes
// what is still open.
class StopSignals {
 public:
  StopSignals(IOLoop& loop, TCPServer& server, IOLoop::Duration drain)
      : loop_(loop), server_(server), drain_(drain) {}

  absl::Status watch() {
    for (const int signal : {SIGTERM, SIGINT}) {
      auto handler = SignalHandler::create(loop_, signal, [this](int) { on_signal(); });
      if (!handler.ok()) return handler.status();
      handlers_.push_back(*std::move(handler));
    }
    return absl::OkStatus();
  }

  const DrainReport& report() const { return report_; }

 private:
  void on_signal() {
    if (std::exchange(draining_, true)) {
      server_.close_now();
      return;
    }
    loop_.add_future(server_.drain_async(drain_), [this](Future<DrainReport> report) {
      report_ = report.get();
      loop_.stop();
    });
  }

  IOLoop& loop_;
  TCPServer& server_;
  const IOLoop::Duration drain_;
  bool draining_ = false;
  DrainReport report_;
  std::vector<std::unique_ptr<SignalHandler>> handlers_;
};

// SIGUSR1: what the server is at, to stderr. It runs on the main loop, which waits for the others.
absl::StatusOr<std::unique_ptr<SignalHandler>> dump_on_signal(IOLoop& main_loop, LoopPool& pool,
                                                              TCPServer& server) {
  return SignalHandler::create(main_loop, SIGUSR1, [&](int) {
    const std::string text = main_loop.dump() + server.dump() + pool.dump();
    std::fputs(text.c_str(), stderr);
    std::fflush(stderr);
  });
}

void print_row(const std::string& name, const TCPServer::LoopStats& server, uint64_t callbacks,
               uint64_t wakeups, double busy) {
  std::printf("%-10s %12lu %15lu %15lu %12lu %10lu %7.1f\n", name.c_str(), server.accepted,
              server.bytes_received, server.bytes_sent, callbacks, wakeups, busy);
}

void print_report(LoopPool& pool, const TCPServer& server) {
  std::printf("%-10s %12s %15s %15s %12s %10s %7s\n", "loop", "connections", "bytes in",
              "bytes out", "callbacks", "wake-ups", "busy %");
  TCPServer::LoopStats total;
  uint64_t callbacks = 0, wakeups = 0;
  double busy = 0;
  for (size_t i = 0; i < pool.size(); ++i) {
    const LoopMetrics metrics = pool.loop(i).metrics();
    const TCPServer::LoopStats stats = server.stats(i);
    const double time = static_cast<double>((metrics.busy + metrics.idle).count());
    const double share = time > 0 ? 100 * metrics.busy.count() / time : 0;
    print_row(pool.loop(i).name(), stats, metrics.callbacks, metrics.wakeups, share);
    total.accepted += stats.accepted;
    total.bytes_received += stats.bytes_received;
    total.bytes_sent += stats.bytes_sent;
    callbacks += metrics.callbacks;
    wakeups += metrics.wakeups;
    busy += share;
  }
  print_row("all", total, callbacks, wakeups, busy / pool.size());
  std::fflush(stdout);
}

class HandlerService final : public Service {
 public:
  explicit HandlerService(std::shared_ptr<const TCPServer::Handler> handler)
      : handler_(std::move(handler)) {}
  void serve(std::shared_ptr<IOStream> connection) override { (*handler_)(std::move(connection)); }

 private:
  const std::shared_ptr<const TCPServer::Handler> handler_;
};

// From the first connection until a signal comes and all is sent. Fails as TCPServer::listen does.
absl::Status serve(IOLoop& main_loop, LoopPool& pool, Service& service, const Options& options) {
  TCPServer server(
      pool,
      [&service](std::shared_ptr<IOStream> connection) { service.serve(std::move(connection)); },
      options.server);
  if (absl::Status status = server.listen(options.port, options.host); !status.ok()) return status;
  StopSignals signals(main_loop, server, std::chrono::seconds(options.drain_seconds));
  if (absl::Status status = signals.watch(); !status.ok()) return status;
  const auto dumper = dump_on_signal(main_loop, pool, server);
  if (!dumper.ok()) return dumper.status();
  std::printf("listening on %s\n", server.address().to_string().c_str());
  std::fflush(stdout);

  main_loop.start().IgnoreError();  // it is neither running nor closed
  std::fprintf(stderr, "%s\n", signals.report().to_string().c_str());
  print_report(pool, server);
  return absl::OkStatus();
}

}  // namespace

int run_server(int argc, char** argv, const std::string& summary, TCPServer::Handler handler,
               const IOStreamOptions& stream) {
  const auto shared = std::make_shared<const TCPServer::Handler>(std::move(handler));
  return run_server(argc, argv,
                    {.summary = summary, .stream = stream, .make_service = [shared](LoopPool&) {
                       return std::make_unique<HandlerService>(shared);
                     }});
}

int run_server(int argc, char** argv, const ServerProgram& program) {
  absl::StatusOr<Options> options = parse_options(argc, argv, program);
  if (!options.ok()) return usage_error(argv[0], options.status());
  options->server.stream = program.stream;
  raise_open_file_limit();
  absl::StatusOr<std::unique_ptr<IOLoop>> main_loop = IOLoop::create({.name = "main"});
  if (!main_loop.ok()) return usage_error(argv[0], main_loop.status());
  absl::StatusOr<std::unique_ptr<LoopPool>> pool = LoopPool::create(options->pool);
  if (!pool.ok()) return usage_error(argv[0], pool.status());
  if ((*pool)->loop(0).backend() == Backend::kSelect) {
    std::fprintf(stderr,
                 "note: the select backend looks at every fd in each wait, and elsewhere than on "
                 "Linux it holds those below FD_SETSIZE (%d) only\n",
                 FD_SETSIZE);
  }
  const std::unique_ptr<Service> service = program.make_service(**pool);
  const absl::Status status = serve(**main_loop, **pool, *service, *options);
  // What the service has on the loops is destroyed when nothing runs on them any more.
  (*pool)->stop();
  (*pool)->join();
  return status.ok() ? 0 : usage_error(argv[0], status);
}

}  // namespace gyre::examples
