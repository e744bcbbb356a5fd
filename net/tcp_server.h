#ifndef GYRE_NET_TCP_SERVER_H_
#define GYRE_NET_TCP_SERVER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gyre/net/acceptor.h"
#include "gyre/net/connection_dispatcher.h"
#include "gyre/net/io_stream.h"
#include "gyre/net/listen_socket.h"
#include "gyre/net/proxy_protocol.h"
#include "gyre/threading/loop_pool.h"

namespace gyre {

// Who accepts.
enum class AcceptMode {
  kThread,     // one thread with a loop of its own, which deals the connections out to the pool
  kReusePort,  // every loop of the pool, each with a socket of its own; the kernel deals them out
};

// "thread", "reuseport"; InvalidArgument names what there is.
absl::StatusOr<AcceptMode> parse_accept_mode(std::string_view name);

struct TCPServerOptions {
  AcceptMode accept = AcceptMode::kThread;
  // Of AcceptMode::kThread; with kReusePort the kernel hashes the peer's address.
  Placement placement = Placement::kRoundRobin;
  ListenOptions listen = {};
  IOStreamOptions stream = {};
  // Set: a load balancer stands in front, and tells whose a connection is in a PROXY header
  // (original_peer_address() in proxied_peer.h). unset: the connections are what they are.
  std::optional<ProxyProtocolOptions> proxy_protocol = std::nullopt;
  // Of the acceptor's thread: NAME-accept.
  std::string name = "gyre";
};

// Accepts TCP connections and makes them streams on the loops of a pool. Any thread, one at a time;
// not on the pool's own threads.
class TCPServer {
 public:
  // Called for each connection on the loop that it lives on; at the same time on several loops.
  // While the stream is open the server keeps it, so that it may be dropped.
  using Handler = absl::AnyInvocable<void(std::shared_ptr<IOStream>) const>;

  // `pool` is borrowed. `handler` returns void, or a Task, which is run to its end.
  template <class H>
  requires std::is_invocable_v<const H&, std::shared_ptr<IOStream>> TCPServer(
      LoopPool& pool, H handler, TCPServerOptions options = {})
      : TCPServer(pool, as_handler(std::move(handler)), std::move(options), Private()) {}

  // close_now().
  ~TCPServer();
  TCPServer(const TCPServer&) = delete;
  TCPServer& operator=(const TCPServer&) = delete;

  // Listens on a host's address (a name, "127.0.0.1", "::1"; "" is every IPv4 address) and begins
  // to accept. Port 0: the kernel picks one. Resolving a name blocks. Fails as ListenSocket::bind
  // does, NotFound for an unknown host. May be called again, for further addresses.
  absl::Status listen(uint16_t port, std::string_view host = "");

  // Of the first listen().
  const SocketAddress& address() const { return addresses_.front(); }
  uint16_t port() const { return address().port(); }

  // Closes the listening sockets; open connections go on. Idempotent.
  void stop_listening();
  // stop_listening(), then closes each connection once what it wrote was sent; after `deadline` the
  // rest is closed. Blocks until then. Gives how many were cut off.
  uint64_t drain(IOLoop::Duration deadline);
  // stop_listening(), and closes every connection at once.
  void close_now() { drain(IOLoop::Duration::zero()); }

  // What one loop of the pool has of this server. Any thread.
  struct LoopStats {
    uint64_t accepted = 0;
    uint64_t open = 0;
    uint64_t bytes_received = 0;  // of the connections that are closed
    uint64_t bytes_sent = 0;
  };
  LoopStats stats(size_t loop) const;
  uint64_t open_connections() const;

 private:
  struct Private {};

  TCPServer(LoopPool& pool, Handler handler, TCPServerOptions options, Private);

  template <class H>
  static Handler as_handler(H handler) {
    using Result = std::invoke_result_t<const H&, std::shared_ptr<IOStream>>;
    if constexpr (internal::IsTask<Result>::value) {
      auto shared = std::make_shared<const H>(std::move(handler));
      return [shared](std::shared_ptr<IOStream> stream) {
        IOLoop& loop = stream->loop();
        // Begins in the next iteration; the function lives as long as its Task.
        loop.spawn_callback(
            [shared](std::shared_ptr<IOStream> s) { return handle_stream(shared, std::move(s)); },
            std::move(stream));
      };
    } else {
      return [handler = std::move(handler)](std::shared_ptr<IOStream> stream) {
        handler(std::move(stream));
      };
    }
  }

  // A handler that throws leaves no connection behind.
  template <class H>
  static Task<void> handle_stream(std::shared_ptr<const H> handler,
                                  std::shared_ptr<IOStream> stream) {
    struct Closer {
      std::shared_ptr<IOStream> stream;
      ~Closer() {
        if (stream != nullptr) stream->close(absl::InternalError("the connection's handler threw"));
      }
    } closer{stream};
    co_await (*handler)(std::move(stream));
    closer.stream = nullptr;
  }

  absl::Status accept_in_thread(ListenSocket socket);
  absl::Status accept_in_loops(ListenSocket first);
  void stop_listening_from(size_t first);
  bool wait_until_closed(std::chrono::steady_clock::time_point deadline) const;

  LoopPool& pool_;
  const TCPServerOptions options_;
  std::vector<std::shared_ptr<internal::LoopConnections>> loops_;
  std::shared_ptr<const ConnectionDispatcher::Adopt> adopt_;
  std::vector<SocketAddress> addresses_;
  // An acceptor is made, used and destroyed on its loop.
  struct Listening {
    IOLoop* loop;
    std::shared_ptr<std::unique_ptr<Acceptor>> acceptor;
  };
  std::vector<Listening> listening_;
  std::shared_ptr<ConnectionDispatcher> dispatcher_;
  std::unique_ptr<LoopThread> accept_thread_;
};

}  // namespace gyre

#endif  // GYRE_NET_TCP_SERVER_H_
