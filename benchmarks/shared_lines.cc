// Which cache lines do two loops of a pool share, and which of them does one of the two write? Each
// of those would cost more with every CPU that is added. An exact count, without hardware counters:
// while an echo server on two loops answers its clients, every load, store and atomic operation of
// the two threads is recorded, and their lines are compared at the end.
//
//   bazel run --config=shared_lines //benchmarks:shared_lines
//
// That configuration compiles each access as a call of a hook (access_hooks.cc), so what counts is
// what it compiles: gyre, this program, and what both use of the headers of Abseil and the standard
// library; and the buffers of the C library's copies, recv, send and epoll_wait. It does not see
// into malloc, a prebuilt Abseil, or the kernel, which has the table of fds and a shared listening
// socket for all threads of a process. Where two small blocks of the heap share a line is malloc's
// choice, and may be another one in another program. The threads' stacks are counted, and cannot
// meet.
//
// Exit code 0: no line that is written is shared; 1: there are some, and they are listed; 2:
// nothing was measured.

#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <future>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gyre/benchmarks/line_recorder.h"
#include "gyre/benchmarks/line_report.h"
#include "gyre/examples/command_line.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/unique_fd.h"
#include "gyre/net/socket_address.h"
#include "gyre/net/tcp_server.h"
#include "gyre/threading/loop_pool.h"

namespace {

using gyre::benchmarks::LineRecorder;
using gyre::benchmarks::LineUse;
using gyre::benchmarks::SharedLine;

constexpr int kLoops = 2;
constexpr size_t kRequestBytes = 64;
constexpr int kWarmUpRequests = 1000;  // buffers, tables, first uses
// The window is longer, so that the wheel of the idle timeouts comes round to each connection.
constexpr std::chrono::seconds kIdleTimeout(1);
constexpr std::chrono::milliseconds kTimerPeriod(5);
// A client that is not answered by then gives up.
constexpr timeval kAnswerLimit{10, 0};
constexpr size_t kMostLinesListed = 20;

struct Settings {
  int requests = 200000;
  int connections = 8;
  gyre::AcceptMode accept = gyre::AcceptMode::kReusePort;
  std::string accept_name = "reuseport";
  bool reconnect = false;
  bool share = false;
  bool list = false;
};

// ---- The server

// What the handlers of one loop count, or those of all: on a line of its own.
struct alignas(LineUse::kBytes) Count {
  std::atomic<uint64_t> value{0};
};
Count requests_of_loop[kLoops];
Count requests_of_all;

// Says first on which loop the connection is, then echoes.
gyre::TCPServer::Handler echo_handler(const gyre::LoopPool& pool, bool share) {
  return [&pool, share](std::shared_ptr<gyre::IOStream> connection) {
    gyre::IOStream* stream = connection.get();
    const char loop = &stream->loop() == &pool.loop(0) ? 0 : 1;
    stream->write(std::string_view(&loop, 1));
    Count& requests = requests_of_loop[static_cast<size_t>(loop)];
    stream
        ->set_read_callback([stream, share, &requests](std::string_view bytes) {
          requests.value.fetch_add(1, std::memory_order_relaxed);
          if (share) requests_of_all.value.fetch_add(1, std::memory_order_relaxed);
          stream->write(bytes);
        })
        .IgnoreError();
  };
}

// A loop has timers, too.
void tick(gyre::IOLoop& loop) { loop.call_later(kTimerPeriod, tick, std::ref(loop)); }

// Begins to record what the thread of each loop does, as soon as the window is open.
void attach(LineRecorder (&recorders)[kLoops], gyre::LoopPool& pool) {
  for (size_t i = 0; i < kLoops; ++i) {
    std::promise<void> attached;
    pool.loop(i).add_callback([&] {
      recorders[i].attach();
      tick(pool.loop(i));
      attached.set_value();
    });
    attached.get_future().wait();
  }
}

// ---- The clients: blocking sockets in threads that are not recorded

using Connections = std::vector<gyre::UniqueFd>;

// A connection, and the number of its loop.
absl::StatusOr<std::pair<gyre::UniqueFd, size_t>> connect_to(const gyre::SocketAddress& address) {
  gyre::UniqueFd fd(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &kAnswerLimit, sizeof(kAnswerLimit));
  // Closed with RST: ports in TIME_WAIT would run out.
  const linger reset{1, 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  char loop = 0;
  if (::connect(fd.get(), address.data(), address.size()) != 0 ||
      ::recv(fd.get(), &loop, 1, 0) != 1) {
    return absl::UnavailableError("a connection was not greeted");
  }
  return std::pair(std::move(fd), static_cast<size_t>(loop));
}

// Connects until each loop has `wanted`, however the server deals them out.
absl::Status connect_all(const gyre::SocketAddress& address, size_t wanted,
                         Connections (&of_loop)[kLoops]) {
  for (size_t attempts = 0; attempts < 100 + 100 * wanted; ++attempts) {
    auto connected = connect_to(address);
    if (!connected.ok()) return connected.status();
    auto& [fd, loop] = *connected;
    if (of_loop[loop].size() < wanted) of_loop[loop].push_back(std::move(fd));
    if (of_loop[0].size() + of_loop[1].size() == kLoops * wanted) return absl::OkStatus();
  }
  return absl::UnavailableError("one of the loops gets too few connections");
}

// A request on each connection, then all their answers; until there were `requests`.
absl::Status send_requests(const Connections& connections, int requests) {
  char request[kRequestBytes];
  char answer[kRequestBytes];
  std::fill_n(request, kRequestBytes, 'x');
  for (size_t left = static_cast<size_t>(requests); left > 0;) {
    const size_t batch = std::min(connections.size(), left);
    for (size_t i = 0; i < batch; ++i) {
      ::send(connections[i].get(), request, kRequestBytes, MSG_NOSIGNAL);
    }
    for (size_t i = 0; i < batch; ++i) {
      const ssize_t received = ::recv(connections[i].get(), answer, kRequestBytes, MSG_WAITALL);
      if (received != kRequestBytes || !std::equal(request, std::end(request), answer)) {
        return absl::UnavailableError("a request was not answered");
      }
    }
    left -= batch;
  }
  return absl::OkStatus();
}

// Each on a connection of its own.
absl::Status connect_and_send(const gyre::SocketAddress& address, int requests) {
  for (int i = 0; i < requests; ++i) {
    auto connected = connect_to(address);
    if (!connected.ok()) return connected.status();
    Connections connections;
    connections.push_back(std::move(connected->first));
    if (absl::Status status = send_requests(connections, 1); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status load(const gyre::SocketAddress& address, const Connections (&of_loop)[kLoops],
                  bool reconnect, int requests) {
  std::future<absl::Status> clients[kLoops];
  for (int i = 0; i < kLoops; ++i) {
    clients[i] = std::async(std::launch::async, [&, i] {
      return reconnect ? connect_and_send(address, requests) : send_requests(of_loop[i], requests);
    });
  }
  absl::Status status;
  for (std::future<absl::Status>& client : clients) status.Update(client.get());
  return status;
}

// ---- The measurement

// The threads of the loops have ended on return.
absl::Status record(const Settings& settings, LineRecorder (&recorders)[kLoops]) {
  gyre::LoopPoolOptions pool_options;
  pool_options.threads = kLoops;
  const absl::StatusOr<std::unique_ptr<gyre::LoopPool>> pool = gyre::LoopPool::create(pool_options);
  if (!pool.ok()) return pool.status();
  gyre::TCPServerOptions options;
  options.accept = settings.accept;
  options.stream.idle_timeout = kIdleTimeout;
  gyre::TCPServer server(**pool, echo_handler(**pool, settings.share), options);
  if (absl::Status status = server.listen(0, "127.0.0.1"); !status.ok()) return status;
  attach(recorders, **pool);

  Connections of_loop[kLoops];
  if (!settings.reconnect) {
    absl::Status status =
        connect_all(server.address(), static_cast<size_t>(settings.connections), of_loop);
    if (!status.ok()) return status;
  }
  absl::Status status = load(server.address(), of_loop, settings.reconnect, kWarmUpRequests);
  if (!status.ok()) return status;
  for (Count& requests : requests_of_loop) requests.value = 0;
  LineRecorder::open_window();
  status = load(server.address(), of_loop, settings.reconnect, settings.requests);
  LineRecorder::close_window();
  return status;
}

int report(const LineRecorder (&recorders)[kLoops], bool list_all) {
  for (int i = 0; i < kLoops; ++i) {
    if (recorders[i].accesses() == 0 || recorders[i].overflowed()) {
      std::fprintf(stderr, "shared_lines: %s\n",
                   recorders[i].overflowed()
                       ? "a loop touches more lines than there is room for: fewer --connections"
                       : "not one access was recorded: build it with --config=shared_lines");
      return 2;
    }
  }
  for (int i = 0; i < kLoops; ++i) {
    std::printf("loop %d: %zu requests, %zu accesses to %zu lines\n", i,
                static_cast<size_t>(requests_of_loop[i].value.load()),
                static_cast<size_t>(recorders[i].accesses()), recorders[i].lines().size());
  }
  std::vector<SharedLine> shared =
      gyre::benchmarks::shared_lines(recorders[0].lines(), recorders[1].lines());
  const auto only_read = std::stable_partition(shared.begin(), shared.end(),
                                               [](const SharedLine& l) { return l.is_written(); });
  const size_t written = static_cast<size_t>(only_read - shared.begin());
  std::printf("lines that both touch: %zu, of which are written: %zu\n", shared.size(), written);
  const size_t listed = std::min(list_all ? shared.size() : written, kMostLinesListed);
  for (size_t i = 0; i < listed; ++i) gyre::benchmarks::print_line(shared[i]);
  if (listed < written) std::printf("\nand %zu more\n", written - listed);
  return written == 0 ? 0 : 1;
}

absl::Status parse(int argc, char** argv, Settings& settings) {
  gyre::examples::CommandLine line(
      "Counts the cache lines that two loops under an echo load share, and lists those that are\n"
      "written. To be built with --config=shared_lines.",
      "--requests=5000 --share");
  line.flag("requests", "of each of two clients, while all accesses are recorded",
            &settings.requests, 1, 10000000);
  line.flag("connections", "of each loop", &settings.connections, 1, 1000);
  line.flag("accept", "who accepts: thread, shared or reuseport", &settings.accept_name,
            [&settings](const std::string& name) {
              const auto mode = gyre::parse_accept_mode(name);
              if (mode.ok()) settings.accept = *mode;
              return mode.status();
            });
  line.flag("reconnect", "a connection for each request", &settings.reconnect);
  line.flag("share", "the loops count their requests together, which has to be found",
            &settings.share);
  line.flag("list", "lists what both only read, too", &settings.list);
  return line.parse(argc, argv);
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  if (absl::Status status = parse(argc, argv, settings); !status.ok()) {
    return gyre::examples::usage_error(argv[0], status);
  }
  LineRecorder recorders[kLoops];
  if (absl::Status status = record(settings, recorders); !status.ok()) {
    return gyre::examples::usage_error(argv[0], status);
  }
  return report(recorders, settings.list);
}
