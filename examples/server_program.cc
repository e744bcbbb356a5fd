#include "gyre/examples/server_program.h"

#include <signal.h>

#include <atomic>
#include <cstdio>
#include <vector>

#include "absl/strings/str_format.h"
#include "gyre/examples/command_line.h"
#include "gyre/threading/loop_pool.h"

namespace gyre::examples {
namespace {

struct Options {
  std::string host = "127.0.0.1";
  int port = 0;
  LoopPoolOptions pool;
  TCPServerOptions server;
};

absl::StatusOr<Options> parse_options(int argc, char** argv, const std::string& summary) {
  Options options;
  std::string backend = "default", accept = "thread", placement = "round_robin";
  std::string proxies;
  CommandLine line(summary);
  line.flag("host", "the address to listen on: a name or a number", &options.host);
  line.flag("port", "0: the kernel picks one", &options.port, 0, 65535);
  line.flag("threads", "loops, each in a thread; 0: one for each CPU", &options.pool.threads, 0,
            4096);
  line.flag("backend", "default, epoll, kqueue or select", &backend);
  line.flag("accept", "thread: one that deals out; reuseport: every loop by itself", &accept);
  line.flag("placement", "round_robin or least_connections, with --accept=thread", &placement);
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
  if (!proxies.empty()) {
    const absl::StatusOr<CidrList> trusted = CidrList::parse(proxies);
    if (!trusted.ok()) return in_flag("proxy_protocol", trusted.status());
    options.server.proxy_protocol.emplace().trusted = *trusted;
  }
  return options;
}

// The loop that the signals stop. Lock-free, as a signal handler needs it.
std::atomic<IOLoop*> g_signalled_loop{nullptr};

// SIGTERM and SIGINT stop the loop; also before it starts.
void stop_on_signal(IOLoop& loop) {
  g_signalled_loop.store(&loop);
  struct sigaction action {};
  action.sa_handler = [](int) { g_signalled_loop.load()->stop(); };
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGINT, &action, nullptr);
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

}  // namespace

int run_server(int argc, char** argv, const std::string& summary, TCPServer::Handler handler) {
  const absl::StatusOr<Options> options = parse_options(argc, argv, summary);
  if (!options.ok()) return usage_error(argv[0], options.status());
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
  TCPServer server(**pool, std::move(handler), options->server);
  if (absl::Status status = server.listen(options->port, options->host); !status.ok()) {
    return usage_error(argv[0], status);
  }
  stop_on_signal(**main_loop);
  std::printf("listening on %s\n", server.address().to_string().c_str());
  std::fflush(stdout);

  (*main_loop)->start().IgnoreError();  // it is neither running nor closed
  constexpr std::chrono::seconds kDrainDeadline(10);
  const uint64_t cut_off = server.drain(kDrainDeadline);
  if (cut_off > 0)
    std::fprintf(stderr, "%lu connections did not take what was written, and were closed\n",
                 cut_off);
  print_report(**pool, server);
  return 0;
}

}  // namespace gyre::examples
