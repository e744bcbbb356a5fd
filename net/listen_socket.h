#ifndef GYRE_NET_LISTEN_SOCKET_H_
#define GYRE_NET_LISTEN_SOCKET_H_

#include "absl/status/statusor.h"
#include "gyre/loop/unique_fd.h"
#include "gyre/net/socket_address.h"

namespace gyre {

struct ListenOptions {
  // Connections that the kernel keeps until they are accepted; it caps it at net.core.somaxconn.
  int backlog = 4096;
  // Several sockets on one port, among which the kernel spreads the connections (SO_REUSEPORT).
  bool reuse_port = false;
  // TCP_NODELAY, which the connections inherit (Linux): small answers are not held back.
  bool no_delay = true;
};

// A socket that listens. Owns its fd, which is non-blocking. Move-only.
class ListenSocket {
 public:
  // SO_REUSEADDR is set; an IPv6 socket takes IPv6 only. Port 0: the kernel picks one.
  // AlreadyExists for a port in use, PermissionDenied, Unavailable for an address that is not this
  // machine's; the message names the address.
  static absl::StatusOr<ListenSocket> bind(const SocketAddress& address,
                                           const ListenOptions& options = {});

  const SocketAddress& address() const { return address_; }
  int fileno() const { return fd_.get(); }
  void close() { fd_.reset(); }

 private:
  ListenSocket(UniqueFd fd, const SocketAddress& address) : fd_(std::move(fd)), address_(address) {}

  UniqueFd fd_;
  SocketAddress address_;
};

}  // namespace gyre

#endif  // GYRE_NET_LISTEN_SOCKET_H_
