#include "gyre/benchmarks/peers/echo_program.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <csignal>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "gyre/examples/command_line.h"

namespace gyre::bench {
namespace {

constexpr int kBacklog = 4096;

// -1, with errno: it cannot be listened on. `address` gets the port that the kernel chose.
int listen_on(sockaddr_in& address) {
  const int on = 1;
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  socklen_t size = sizeof(address);
  if (fd < 0 || ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
      ::setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0 ||
      ::bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(fd, kBacklog) != 0 ||
      ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return -1;  // the program ends
  }
  return fd;
}

}  // namespace

int run_echo_program(int argc, char** argv, void (*serve)(int listen_fd)) {
  std::string host = "127.0.0.1";
  int port = 0, threads = 1;
  examples::CommandLine line("Sends back what it receives; to be compared with gyre's echo_server.",
                             "--port=7000 --threads=2");
  line.flag("host", "the IPv4 address to listen on", &host);
  line.flag("port", "0: the kernel chooses", &port, 0, 65535);
  line.flag("threads", "loops", &threads, 1, 1024);
  if (absl::Status status = line.parse(argc, argv); !status.ok()) {
    return examples::usage_error(argv[0], status);
  }
  std::signal(SIGPIPE, SIG_IGN);
  examples::raise_open_file_limit();
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  if (::inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1) {
    std::fprintf(stderr, "%s: --host: %s is no IPv4 address\n", argv[0], host.c_str());
    return 2;
  }
  std::vector<int> sockets;
  for (int i = 0; i < threads; ++i) {
    sockets.push_back(listen_on(address));
    if (sockets.back() < 0) {
      std::perror(argv[0]);
      return 2;
    }
  }
  std::printf("listening on %s:%d\n", host.c_str(), ntohs(address.sin_port));
  std::fflush(stdout);
  std::vector<std::thread> loops;
  for (const int fd : sockets) loops.emplace_back(serve, fd);
  for (std::thread& loop : loops) loop.join();
  return 0;
}

void set_nodelay(int fd) {
  const int on = 1;
  static_cast<void>(::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)));
}

}  // namespace gyre::bench
