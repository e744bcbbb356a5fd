#ifndef GYRE_NET_LISTEN_SOCKET_H_
#define GYRE_NET_LISTEN_SOCKET_H_

#include <sys/types.h>

#include <utility>

#include "absl/status/statusor.h"
#include "gyre/loop/unique_fd.h"
#include "gyre/net/socket_address.h"
#include "gyre/net/unix_socket_file.h"

namespace gyre {

struct ListenOptions {
  // Connections that the kernel keeps until they are accepted; it caps it at net.core.somaxconn.
  int backlog = 4096;
  // Several sockets on one port, among which the kernel spreads the connections (SO_REUSEPORT).
  bool reuse_port = false;
  // TCP_NODELAY, which the connections inherit (Linux): small answers are not held back.
  bool no_delay = true;
  // Of the file of a Unix socket: who may connect.
  mode_t unix_mode = 0600;
};

// A socket that listens. Owns its fd, which is non-blocking. Move-only.
class ListenSocket {
 public:
  // SO_REUSEADDR is set; an IPv6 socket takes IPv6 only. Port 0: the kernel picks one.
  // AlreadyExists for a port in use, PermissionDenied, Unavailable for an address that is not this
  // machine's; the message names the address. The file of a Unix socket is replaced if it is a
  // socket that nobody listens on, and removed at close if it is still ours; any other file:
  // AlreadyExists. (Of two processes that find the same stale file at once, one may lose its own to
  // the other.)
  static absl::StatusOr<ListenSocket> bind(const SocketAddress& address,
                                           const ListenOptions& options = {});

  const SocketAddress& address() const { return address_; }
  int fileno() const { return fd_.get(); }
  void close() {
    file_.remove();
    fd_.reset();
  }

 private:
  ListenSocket(UniqueFd fd, const SocketAddress& address, internal::UnixSocketFile file)
      : fd_(std::move(fd)), address_(address), file_(std::move(file)) {}
  static absl::Status bind_unix(int fd, const SocketAddress& address, const ListenOptions& options,
                                internal::UnixSocketFile& file);

  UniqueFd fd_;
  SocketAddress address_;
  internal::UnixSocketFile file_;  // goes before the fd
};

}  // namespace gyre

#endif  // GYRE_NET_LISTEN_SOCKET_H_
