#ifndef GYRE_NET_CONNECTION_OPENER_H_
#define GYRE_NET_CONNECTION_OPENER_H_

#include <memory>

#include "absl/functional/any_invocable.h"
#include "gyre/net/accepted_connection.h"
#include "gyre/net/io_stream.h"
#include "gyre/net/loop_connections.h"

namespace gyre::internal {

// The last step of accepting: makes a stream of a connection, enters it into the books, and calls
// the server's handler. On the thread of the connection's loop; at the same time on several.
class ConnectionOpener {
 public:
  using Handler = absl::AnyInvocable<void(std::shared_ptr<IOStream>) const>;

  ConnectionOpener(Handler handler, const IOStreamOptions& options)
      : handler_(std::move(handler)), options_(options) {}

  // The connection was counted with the loop before. `header`: what a load balancer said of it, if
  // it did.
  void open(AcceptedConnection connection, LoopConnections& loop, const ProxyHeader* header) const;

 private:
  void hand_to_handler(std::shared_ptr<IOStream> stream) const;

  const Handler handler_;
  const IOStreamOptions options_;
};

}  // namespace gyre::internal

#endif  // GYRE_NET_CONNECTION_OPENER_H_
