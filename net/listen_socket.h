#ifndef GYRE_NET_LISTEN_SOCKET_H_
#define GYRE_NET_LISTEN_SOCKET_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <sys/types.h>

#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gyre/loop/unique_fd.h"
#include "gyre/net/socket_address.h"
#include "gyre/net/unix_socket_file.h"

namespace gyre {

struct ListenOptions {
  // Connections that the kernel keeps until they are accepted; it caps it at net.core.somaxconn.
  int backlog = 4096;
  // Several sockets on one port, among which the kernel spreads the connections: SO_REUSEPORT on
  // Linux, SO_REUSEPORT_LB on FreeBSD 12 and later. Elsewhere the option exists and gives all of
  // them to one socket, so that it is Unimplemented.
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
  // machine's; the message names the address, and what to do. The file of a Unix socket is replaced
  // if it is a socket that nobody listens on, and removed at close if it is still ours; any other
  // file: AlreadyExists. (Of two processes that find the same stale file at once, one may lose its
  // own to the other.)
  static absl::StatusOr<ListenSocket> bind(const SocketAddress& address,
                                           const ListenOptions& options = {});

  // One for each address, and with port 0 the same port for all of them. Addresses that the machine
  // does not have (no IPv6, no ::1) are skipped if it has another: fails as bind() does where it
  // has none, or one of them fails for another reason. InvalidArgument without addresses.
  static absl::StatusOr<std::vector<ListenSocket>> bind_all(
      std::span<const SocketAddress> addresses, const ListenOptions& options = {});

  // Takes over a socket that listens already: one that the process inherited, or was passed. It
  // becomes non-blocking (so does every copy of it) and closed on exec; its other options stay as
  // they are. InvalidArgument for an fd that is closed, no stream socket, or does not listen, and
  // what to do; the fd is closed then.
  static absl::StatusOr<ListenSocket> adopt(UniqueFd fd);

  const SocketAddress& address() const { return address_; }
  // adopt() made it: others may have a copy.
  bool adopted() const { return adopted_; }
  int fileno() const { return fd_.get(); }
  void close() {
    file_.remove();
    fd_.reset();
  }

  // From now on nobody is added to the queue of those who wait to be accepted: who asks, asks again
  // a second later, and finds the socket closed, or another one in its place. Handshakes that have
  // begun go on. So the queue can be emptied, and the close resets nobody. Linux, by a filter.
  // False, and nothing has changed: on another system, in a sandbox that forbids it, or on an
  // adopted socket, whose copies would refuse them, too.
  bool refuse_new();

 private:
  ListenSocket(UniqueFd fd, const SocketAddress& address, internal::UnixSocketFile file,
               bool adopted = false)
      : fd_(std::move(fd)), address_(address), file_(std::move(file)), adopted_(adopted) {}
  static absl::Status bind_unix(int fd, const SocketAddress& address, const ListenOptions& options,
                                internal::UnixSocketFile& file);

  UniqueFd fd_;
  SocketAddress address_;
  internal::UnixSocketFile file_;  // goes before the fd
  bool adopted_ = false;
};

}  // namespace gyre

#endif  // GYRE_NET_LISTEN_SOCKET_H_
