// Listens on a Unix socket, by a path in the file system and by a name in Linux's abstract
// namespace, and tells everybody who connects who they are: the kernel knows, and cannot be lied
// to.
//
//   bazel run //examples:unix_socket -- --path=/tmp/whoami --name=whoami
//   socat - UNIX-CONNECT:/tmp/whoami
//   socat - ABSTRACT-CONNECT:whoami

#include <signal.h>
#include <sys/types.h>

#include <cstdio>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "gyre/examples/command_line.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/signal_handler.h"
#include "gyre/net/tcp_server.h"
#include "gyre/net/unix_socket.h"

namespace {

void greet(std::shared_ptr<gyre::IOStream> stream) {
  const absl::StatusOr<gyre::PeerCredentials> peer = gyre::peer_credentials(stream->fileno());
  if (!peer.ok()) return stream->close(peer.status());
  stream->write(absl::StrFormat("you are process %d of user %d, group %d\n", peer->pid.value_or(-1),
                                peer->uid, peer->gid));
  stream->close_when_flushed();
}

// "unix:PATH", or "unix:@NAME" for a name in the abstract namespace.
absl::Status listen(gyre::TCPServer& server, const std::string& host) {
  const absl::StatusOr<gyre::SocketAddress> address = gyre::SocketAddress::parse(host, 0);
  if (!address.ok()) return address.status();
  if (absl::Status status = server.listen(*address); !status.ok()) return status;
  std::printf("listening on %s\n", address->to_string().c_str());
  std::fflush(stdout);
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  std::string path = "/tmp/gyre.sock", name;
  gyre::examples::CommandLine line("Tells who connects to a Unix socket who they are.",
                                   "--path=/tmp/whoami --name=whoami");
  line.flag("path", "of the socket in the file system; it is removed at the end", &path);
  line.flag("name", "in the abstract namespace, as well; empty: none", &name);
  if (absl::Status status = line.parse(argc, argv); !status.ok()) {
    return gyre::examples::usage_error(argv[0], status);
  }

  const auto loop = gyre::IOLoop::create({.name = "main"});
  if (!loop.ok()) return gyre::examples::usage_error(argv[0], loop.status());
  const auto pool = gyre::LoopPool::create({.threads = 1});
  if (!pool.ok()) return gyre::examples::usage_error(argv[0], pool.status());
  gyre::TCPServer server(**pool, greet);
  const auto stop = [&loop](int) { (*loop)->stop(); };
  const auto on_term = gyre::SignalHandler::create(**loop, SIGTERM, stop);
  const auto on_int = gyre::SignalHandler::create(**loop, SIGINT, stop);
  if (!on_term.ok()) return gyre::examples::usage_error(argv[0], on_term.status());
  if (!on_int.ok()) return gyre::examples::usage_error(argv[0], on_int.status());

  absl::Status listening = listen(server, "unix:" + path);
  if (listening.ok() && !name.empty()) listening = listen(server, "unix:@" + name);
  if (!listening.ok()) return gyre::examples::usage_error(argv[0], listening);
  return (*loop)->start().ok() ? 0 : 1;
}
