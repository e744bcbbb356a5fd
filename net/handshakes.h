#ifndef GYRE_NET_HANDSHAKES_H_
#define GYRE_NET_HANDSHAKES_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <array>
#include <cstdint>
#include <vector>

#include "gyre/net/socket_address.h"

namespace gyre::internal {

// The TCP handshakes that were under way to an address when this was made: the kernel has answered
// the client's SYN, which may take the connection for established, and accept(2) does not give it
// yet. Such a client is reset if the socket is closed.
//
// Linux, by sock_diag(7): SYN_RECV. Sockets that share the port cannot be told apart. Where the
// kernel does not say (another system, a sandbox, no fd is left) there are none. Asking looks at
// every connection of the network namespace: a millisecond with 100,000 of them.
class Handshakes {
 public:
  explicit Handshakes(const SocketAddress& local);

  // Whether one of them still is.
  bool under_way();

 private:
  // Of the client and of the address that it asked: address and port, as the kernel writes them.
  using Key = std::array<uint32_t, 9>;
  static std::vector<Key> list(const SocketAddress& local);

  const SocketAddress local_;
  std::vector<Key> keys_;  // sorted
};

}  // namespace gyre::internal

#endif  // GYRE_NET_HANDSHAKES_H_
