// Sends every datagram back to who sent it, until SIGTERM or SIGINT. The answers of a burst go out
// together.
//
//   bazel run //examples:udp_echo -- --port=9000
//   echo hello | nc -u -w1 127.0.0.1 9000

#include <signal.h>

#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include "gyre/examples/command_line.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/signal_handler.h"
#include "gyre/net/udp_socket.h"

int main(int argc, char** argv) {
  std::string host = "127.0.0.1";
  int port = 0;
  gyre::examples::CommandLine line("Sends every datagram back to who sent it.", "--port=9000");
  line.flag("host", "a numeric address of this machine", &host);
  line.flag("port", "0: the kernel picks one", &port, 0, 65535);
  if (absl::Status status = line.parse(argc, argv); !status.ok()) {
    return gyre::examples::usage_error(argv[0], status);
  }
  const absl::StatusOr<gyre::SocketAddress> address =
      gyre::SocketAddress::parse(host, static_cast<uint16_t>(port));
  if (!address.ok()) return gyre::examples::usage_error(argv[0], address.status());

  gyre::IOLoop& loop = gyre::IOLoop::instance();
  absl::StatusOr<std::shared_ptr<gyre::UDPSocket>> socket = gyre::UDPSocket::bind(loop, *address);
  if (!socket.ok()) return gyre::examples::usage_error(argv[0], socket.status());
  (*socket)
      ->set_receive_callback(
          [socket = socket->get()](std::string_view bytes, const gyre::SocketAddress& from) {
            socket->send_to(bytes, from).IgnoreError();  // lost, as a datagram may be
          })
      .IgnoreError();
  const auto stop = [&loop](int) { loop.stop(); };
  const auto on_term = gyre::SignalHandler::create(loop, SIGTERM, stop);
  const auto on_int = gyre::SignalHandler::create(loop, SIGINT, stop);
  if (!on_term.ok()) return gyre::examples::usage_error(argv[0], on_term.status());
  if (!on_int.ok()) return gyre::examples::usage_error(argv[0], on_int.status());
  std::printf("listening on %s\n", (*socket)->local_address()->to_string().c_str());
  std::fflush(stdout);
  loop.start().IgnoreError();  // it is neither running nor closed
  std::printf("%lu datagrams received, %lu sent\n", (*socket)->stats().received,
              (*socket)->stats().sent);
  (*socket)->close();
  return 0;
}
