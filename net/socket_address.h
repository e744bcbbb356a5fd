#ifndef GYRE_NET_SOCKET_ADDRESS_H_
#define GYRE_NET_SOCKET_ADDRESS_H_

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace gyre {

// An IPv4 or IPv6 address with a port. A value; a default one is of no family.
class SocketAddress {
 public:
  SocketAddress() = default;
  SocketAddress(const sockaddr* address, socklen_t length);

  // A numeric address: "127.0.0.1", "::1". InvalidArgument for anything else.
  static absl::StatusOr<SocketAddress> parse(std::string_view host, uint16_t port);

  // The addresses of a host name or a numeric address, as getaddrinfo(3) orders them; "" is every
  // local address. Blocks: not on a loop's thread. NotFound names the host and says why.
  static absl::StatusOr<std::vector<SocketAddress>> resolve(std::string_view host, uint16_t port);

  // "HOST:PORT" or "[HOST]:PORT", split; InvalidArgument says what is wrong with it.
  static absl::Status split(std::string_view text, std::string* host, uint16_t* port);

  // The address that a socket is bound to, or connected to.
  static absl::StatusOr<SocketAddress> local_of(int fd);
  static absl::StatusOr<SocketAddress> peer_of(int fd);

  int family() const { return storage_.generic.sa_family; }
  uint16_t port() const;
  void set_port(uint16_t port);
  std::string host() const;
  // "127.0.0.1:80", "[::1]:80".
  std::string to_string() const;

  const sockaddr* data() const { return &storage_.generic; }
  socklen_t size() const { return length_; }

  bool operator==(const SocketAddress& other) const;

 private:
  absl::StatusOr<SocketAddress> checked() const;

  // sockaddr_storage would be 128 bytes in every stream.
  union {
    sockaddr generic;
    sockaddr_in v4;
    sockaddr_in6 v6;
  } storage_ = {};
  socklen_t length_ = 0;
};

}  // namespace gyre

#endif  // GYRE_NET_SOCKET_ADDRESS_H_
