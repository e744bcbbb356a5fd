// The example of Tornado's IOLoop documentation, in its spirit: a socket of one's own, accepted
// from by a handler. tornado_port.py is the same, function by function. (A server of yours uses
// TCPServer, which is shorter, and serves on all CPUs.)
//
//   bazel run //examples:tornado_port -- --port=8888
//   nc 127.0.0.1 8888

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "gyre/examples/command_line.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/unique_fd.h"

namespace {

std::string address_of(int fd, uint16_t* port = nullptr) {
  sockaddr_in address{};
  socklen_t size = sizeof(address);
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  if (port != nullptr) *port = ntohs(address.sin_port);
  char text[INET_ADDRSTRLEN] = "";
  inet_ntop(AF_INET, &address.sin_addr, text, sizeof(text));
  return text;
}

void handle_connection(gyre::UniqueFd connection) {
  const std::string hello = "hello from " + address_of(connection.get()) + "\n";
  // A new connection's buffer is empty: it takes these few bytes at once.
  if (send(connection.get(), hello.data(), hello.size(), MSG_NOSIGNAL) < 0) perror("send");
}

void connection_ready(int sock) {
  for (;;) {
    gyre::UniqueFd connection(accept4(sock, nullptr, nullptr, SOCK_CLOEXEC));
    if (!connection) {
      if (errno == EAGAIN || errno == EWOULDBLOCK) return;
      if (errno == ECONNABORTED || errno == EINTR) continue;
      perror("accept");
      std::exit(1);
    }
    handle_connection(std::move(connection));
  }
}

}  // namespace

int main(int argc, char** argv) {
  int wanted_port = 0;
  gyre::examples::CommandLine line("Says hello to whoever connects.", "--port=8888");
  line.flag("port", "0: the kernel picks one", &wanted_port, 0, 65535);
  if (absl::Status status = line.parse(argc, argv); !status.ok()) {
    return gyre::examples::usage_error(argv[0], status);
  }

  gyre::UniqueFd sock(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int on = 1;
  setsockopt(sock.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(wanted_port));
  if (bind(sock.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
      listen(sock.get(), 128) != 0) {
    perror("tornado_port: bind");
    return 1;
  }
  uint16_t port = 0;
  address_of(sock.get(), &port);
  std::printf("listening on 127.0.0.1:%d\n", port);
  std::fflush(stdout);

  gyre::IOLoop& io_loop = *gyre::IOLoop::current();
  absl::Status status = io_loop.add_handler(
      sock.get(), [](int fd, uint32_t) { connection_ready(fd); }, gyre::IOLoop::READ);
  if (status.ok()) status = io_loop.start();
  if (!status.ok()) {
    std::fprintf(stderr, "tornado_port: %s\n", status.ToString().c_str());
    return 1;
  }
  return 0;
}
