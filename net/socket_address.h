#ifndef GYRE_NET_SOCKET_ADDRESS_H_
#define GYRE_NET_SOCKET_ADDRESS_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace gyre {

// An IPv4 or IPv6 address with a port, or the address of a Unix socket, which has none: a path, or
// a name in Linux's abstract namespace. A value; a default one is of no family.
class SocketAddress {
 public:
  SocketAddress() = default;
  SocketAddress(const sockaddr* address, socklen_t length);

  // A numeric address: "127.0.0.1", "::1"; or "unix:PATH", "unix:@NAME" (abstract), where the port
  // is of no meaning. InvalidArgument names what is neither, and a path that is too long;
  // Unimplemented: an abstract name on a kernel that has none.
  static absl::StatusOr<SocketAddress> parse(std::string_view host, uint16_t port);

  // The addresses of a host name or of what parse() takes, as getaddrinfo(3) orders them; "" is
  // every local address. Blocks: not on a loop's thread. NotFound names the host and says why;
  // Unavailable: the name servers do not answer.
  static absl::StatusOr<std::vector<SocketAddress>> resolve(std::string_view host, uint16_t port);

  // "HOST:PORT" or "[HOST]:PORT", split; "unix:..." is all host, with port 0. InvalidArgument says
  // what is wrong with it.
  static absl::Status split(std::string_view text, std::string* host, uint16_t* port);

  // The address that a socket is bound to, or connected to.
  static absl::StatusOr<SocketAddress> local_of(int fd);
  static absl::StatusOr<SocketAddress> peer_of(int fd);

  int family() const { return storage_.generic.sa_family; }
  uint16_t port() const;
  void set_port(uint16_t port);
  // What parse() takes.
  std::string host() const;
  // "127.0.0.1:80", "[::1]:80", "unix:/run/app.sock", "unix:@app"; "unix:" is a Unix socket without
  // an address, as a client's is. What cannot be printed in an abstract name is escaped.
  std::string to_string() const;

  bool is_unix() const { return family() == AF_UNIX; }
  // The file of a Unix socket; empty for one without a path, and for other families.
  std::string_view unix_path() const;

  const sockaddr* data() const { return &storage_.generic; }
  socklen_t size() const { return length_; }

  bool operator==(const SocketAddress& other) const;

 private:
  absl::StatusOr<SocketAddress> checked() const;

  static absl::StatusOr<SocketAddress> parse_unix(std::string_view text);
  // The bytes of a Unix socket's name as the kernel has them, an abstract one's NUL included.
  std::string_view unix_name() const;

  union {
    sockaddr generic;
    sockaddr_in v4;
    sockaddr_in6 v6;
    sockaddr_un local;
  } storage_ = {};
  socklen_t length_ = 0;
};

}  // namespace gyre

#endif  // GYRE_NET_SOCKET_ADDRESS_H_
