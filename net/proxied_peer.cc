#include "gyre/net/proxied_peer.h"

#include "gyre/net/loop_connections.h"

namespace gyre {

const ProxyHeader* proxy_header(const IOStream& stream) {
  return internal::LoopConnections::proxy_header(stream);
}

absl::StatusOr<SocketAddress> original_peer_address(const IOStream& stream) {
  const ProxyHeader* header = proxy_header(stream);
  if (header != nullptr && header->source.size() > 0) return header->source;
  return stream.peer_address();
}

}  // namespace gyre
