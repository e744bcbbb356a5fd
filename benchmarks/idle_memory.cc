// What an idle connection costs a server in memory: the resident set before and after, divided.
// The clients are in a process of their own, so that their fds take no place in the server's
// tables.

#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "gyre/examples/command_line.h"
#include "gyre/loop/unique_fd.h"
#include "gyre/net/socket_address.h"
#include "gyre/net/tcp_server.h"
#include "gyre/threading/loop_pool.h"

namespace {

// The pages of this process that are in memory and no file's: proc(5).
int64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  int64_t size = 0, resident = 0, shared = 0;
  statm >> size >> resident >> shared;
  return (resident - shared) * ::sysconf(_SC_PAGESIZE);
}

bool open_connections(const gyre::SocketAddress& address, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);  // open until the process ends
    if (::connect(fd, address.data(), address.size()) != 0) {
      std::perror("connect");
      return false;
    }
    // One echo, so that whatever a connection keeps of it is counted.
    char byte = 'x';
    if (::send(fd, &byte, 1, 0) != 1 || ::recv(fd, &byte, 1, 0) != 1) return false;
  }
  return true;
}

// The clients' process: opens as many connections as it is told, and says when they are there. Ends
// with its pipe.
void run_clients(int from_server, int to_server) {
  struct Order {
    uint16_t port;
    size_t count;
  } order;
  while (::read(from_server, &order, sizeof(order)) == sizeof(order)) {
    const auto address = gyre::SocketAddress::parse("127.0.0.1", order.port);
    const char done = open_connections(*address, order.count) ? 'y' : 'n';
    if (::write(to_server, &done, 1) != 1) break;
  }
  ::_exit(0);
}

class Clients {
 public:
  // Before the process has threads.
  Clients() {
    int down[2], up[2];
    if (::pipe(down) != 0 || ::pipe(up) != 0) return;
    if (::fork() == 0) {
      ::close(down[1]);
      ::close(up[0]);
      run_clients(down[0], up[1]);
    }
    ::close(down[0]);
    ::close(up[1]);
    orders_.reset(down[1]);
    answers_.reset(up[0]);
  }

  bool open(uint16_t port, size_t count) {
    const struct {
      uint16_t port;
      size_t count;
    } order{port, count};
    char done = 'n';
    return ::write(orders_.get(), &order, sizeof(order)) == sizeof(order) &&
           ::read(answers_.get(), &done, 1) == 1 && done == 'y';
  }

 private:
  gyre::UniqueFd orders_;
  gyre::UniqueFd answers_;
};

}  // namespace

int main(int argc, char** argv) {
  int wanted = 10000;
  gyre::examples::CommandLine line("Measures what an idle connection costs a server in memory.",
                                   "--connections=2000");
  line.flag("connections", "of which each takes a file of the client, and one of the server",
            &wanted, 1, 1000000);
  if (absl::Status status = line.parse(argc, argv); !status.ok()) {
    return gyre::examples::usage_error(argv[0], status);
  }
  const size_t connections = static_cast<size_t>(wanted);
  if (const size_t limit = gyre::examples::raise_open_file_limit(); limit < connections + 100) {
    std::fprintf(stderr, "%zu connections need %zu fds, and the limit is %zu: ulimit -n\n",
                 connections, connections + 100, limit);
    return 1;
  }
  Clients clients;
  gyre::LoopPoolOptions pool_options;
  pool_options.threads = 1;
  const auto pool = gyre::LoopPool::create(pool_options);
  if (!pool.ok()) return 1;
  gyre::TCPServerOptions options;
  options.accept = gyre::AcceptMode::kReusePort;
  options.stream.idle_timeout = std::chrono::minutes(10);
  static std::atomic<uint64_t> closed{0};
  gyre::TCPServer server(
      **pool,
      [](std::shared_ptr<gyre::IOStream> connection) {
        gyre::IOStream* stream = connection.get();
        stream->set_close_callback([](const absl::Status&) { ++closed; });
        stream->set_read_callback([stream](std::string_view bytes) { stream->write(bytes); })
            .IgnoreError();
      },
      options);
  if (absl::Status status = server.listen(0, "127.0.0.1"); !status.ok()) {
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
    return 1;
  }
  if (!clients.open(server.port(), 10)) return 1;  // buffers, tables, stacks
  const int64_t before = resident_bytes();
  if (!clients.open(server.port(), connections)) return 1;
  const int64_t after = resident_bytes();
  std::printf("%zu idle connections: %.0f bytes each\n", connections,
              static_cast<double>(after - before) / static_cast<double>(connections));
  return 0;
}
