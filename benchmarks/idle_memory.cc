// What an idle connection costs a server in memory: the resident set before and after, divided.
// The clients are sockets of this process, which have none; so the process may have twice as many
// fds as connections.

#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <thread>
#include <vector>

#include "gyre/loop/unique_fd.h"
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

bool open_connections(const gyre::SocketAddress& address, size_t count,
                      std::vector<gyre::UniqueFd>& clients) {
  for (size_t i = 0; i < count; ++i) {
    gyre::UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(fd.get(), address.data(), address.size()) != 0) {
      std::perror("connect");
      return false;
    }
    // One echo, so that whatever a connection keeps of it is counted.
    char byte = 'x';
    if (::send(fd.get(), &byte, 1, 0) != 1 || ::recv(fd.get(), &byte, 1, 0) != 1) return false;
    clients.push_back(std::move(fd));
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const size_t connections = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 10000;
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  if (files.rlim_max < 2 * connections + 100) {
    std::fprintf(stderr, "%zu connections need %zu fds, and the limit is %zu: ulimit -n\n",
                 connections, 2 * connections + 100, static_cast<size_t>(files.rlim_max));
    return 1;
  }
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
  std::vector<gyre::UniqueFd> clients;
  clients.reserve(connections + 10);
  if (!open_connections(server.address(), 10, clients)) return 1;  // buffers, tables, stacks
  const int64_t before = resident_bytes();
  if (!open_connections(server.address(), connections, clients)) return 1;
  const int64_t after = resident_bytes();
  std::printf("%zu idle connections: %.0f bytes each\n", connections,
              static_cast<double>(after - before) / static_cast<double>(connections));
  return 0;
}
