#ifndef GYRE_NET_TCP_CLIENT_H_
#define GYRE_NET_TCP_CLIENT_H_

#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "gyre/loop/cancellation.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/task.h"
#include "gyre/net/io_stream.h"
#include "gyre/net/resolver.h"
#include "gyre/net/socket_address.h"

namespace gyre {

struct ConnectOptions {
  // Of everything: resolving the name and all attempts. unset: as long as the kernel tries.
  std::optional<IOLoop::Duration> timeout = std::chrono::seconds(30);
  // Of each attempt; what is over it is given up, and the next address has its turn. unset: none.
  std::optional<IOLoop::Duration> attempt_timeout = std::nullopt;
  // So long has an attempt before the next address is tried beside it (RFC 8305, 8).
  IOLoop::Duration attempt_delay = std::chrono::milliseconds(250);
  // AF_INET or AF_INET6: only addresses of this family.
  int family = AF_UNSPEC;
  // An address of this machine that the socket is bound to; port 0: the kernel's choice. Targets of
  // another family fail. Of no family: the kernel chooses both.
  SocketAddress source = {};
  IOStreamOptions stream = {};
  // Gives up: Cancelled.
  CancellationToken cancellation = {};
};

// Connects by happy eyeballs (RFC 8305): the addresses of a name are tried one after the other, the
// families in turn, each a little after the one before or once that has failed; the first that
// answers is taken, the others are closed. Loop thread only.
//
// The result is a stream, or a Status that names every address that was tried and what became of
// it: the code of the attempts, or Unavailable if they differ; DeadlineExceeded, Cancelled; what
// the resolver says; InvalidArgument for what cannot be meant (no host, port 0). At most
// kMaxAttempts addresses of a name are tried.
class TCPClient {
 public:
  using Callback = IOStream::ConnectCallback;

  static constexpr size_t kMaxAttempts = 32;

  // Shares a resolver with others; without one it has its own. The loop is borrowed.
  explicit TCPClient(IOLoop& loop, std::shared_ptr<Resolver> resolver = nullptr);

  // co_await connect(host, port): absl::StatusOr<std::shared_ptr<IOStream>>. The host is a name or
  // what SocketAddress::parse takes; "unix:..." has no port. Starts when it is awaited, on the
  // client's loop. A task that is destroyed meanwhile closes what it has begun. It does not need
  // the client any more.
  Task<absl::StatusOr<std::shared_ptr<IOStream>>> connect(std::string_view host, uint16_t port,
                                                          ConnectOptions options);
  // No default argument: g++ 12 copies one bit by bit that stands in a co_await expression.
  Task<absl::StatusOr<std::shared_ptr<IOStream>>> connect(std::string_view host, uint16_t port) {
    return connect(host, port, ConnectOptions());
  }

  // The same with a callback, which runs once, in a later iteration; never if the loop is closed
  // before.
  void connect(std::string_view host, uint16_t port, Callback done, ConnectOptions options = {});

  const std::shared_ptr<Resolver>& resolver() const { return resolver_; }

 private:
  IOLoop& loop_;
  const std::shared_ptr<Resolver> resolver_;
};

}  // namespace gyre

#endif  // GYRE_NET_TCP_CLIENT_H_
