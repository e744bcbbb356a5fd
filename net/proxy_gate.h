#ifndef GYRE_NET_PROXY_GATE_H_
#define GYRE_NET_PROXY_GATE_H_

#include <memory>
#include <optional>

#include "absl/functional/any_invocable.h"
#include "gyre/net/accepted_connection.h"
#include "gyre/net/loop_connections.h"
#include "gyre/net/proxy_protocol.h"

namespace gyre::internal {

// Makes a stream of an accepted connection that is counted with `loop`; on the loop's thread. The
// header is nullptr where there was none.
using AdoptConnection = absl::AnyInvocable<void(
    AcceptedConnection connection, LoopConnections& loop, const ProxyHeader* header) const>;

// What a server does with the connections that it accepts: `adopt` at once where there are no
// options; otherwise once the header of a PROXY protocol was read, exactly its bytes and no more. A
// connection that is refused, or ends before, is closed and given back to the loop's books.
absl::AnyInvocable<void(AcceptedConnection connection, LoopConnections& loop) const> behind_proxy(
    std::optional<ProxyProtocolOptions> options, AdoptConnection adopt);

}  // namespace gyre::internal

#endif  // GYRE_NET_PROXY_GATE_H_
