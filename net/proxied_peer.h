#ifndef GYRE_NET_PROXIED_PEER_H_
#define GYRE_NET_PROXIED_PEER_H_

#include "absl/status/statusor.h"
#include "gyre/net/io_stream.h"
#include "gyre/net/proxy_protocol.h"
#include "gyre/net/socket_address.h"

namespace gyre {

// What a load balancer said of a server's connection in its PROXY header (see
// TCPServerOptions::proxy_protocol); nullptr: nothing. Valid until the stream closes. Loop thread
// only.
const ProxyHeader* proxy_header(const IOStream& stream);

// Whose connection it is: the source in the PROXY header, or the socket's own peer where there is
// no header, or one without an address (a health check). As IOStream::peer_address fails once the
// stream is closed. Loop thread only.
absl::StatusOr<SocketAddress> original_peer_address(const IOStream& stream);

}  // namespace gyre

#endif  // GYRE_NET_PROXIED_PEER_H_
