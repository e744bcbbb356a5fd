#ifndef GYRE_NET_TCP_SERVER_H_
#define GYRE_NET_TCP_SERVER_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <chrono>
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
#include "gyre/loop/future.h"
#include "gyre/loop/mutex.h"
#include "gyre/net/accept_metrics.h"
#include "gyre/net/acceptor.h"
#include "gyre/net/admission.h"
#include "gyre/net/connection_dispatcher.h"
#include "gyre/net/connection_opener.h"
#include "gyre/net/drain_report.h"
#include "gyre/net/io_stream.h"
#include "gyre/net/listen_socket.h"
#include "gyre/net/proxy_protocol.h"
#include "gyre/threading/loop_pool.h"

namespace gyre {

namespace internal {
class DrainProgress;
class InTurn;
}  // namespace internal

// Who accepts.
enum class AcceptMode {
  // One thread with a loop of its own, which deals the connections out to the pool as `placement`
  // says: even, and nothing is lost when it stops. Costs a hand-over between threads.
  kThread,
  // Every loop of the pool, from one socket that they share. The kernel wakes one of those that
  // sleep (EPOLLEXCLUSIVE) with epoll, and all of them with the other backends, of which one wins.
  // With epoll the loop that slept last is woken first: a server that has little to do has it on
  // few loops. No hand-over, and nothing is lost when it stops.
  kShared,
  // Every loop of the pool, each with a socket of its own; the kernel deals the connections out by
  // a hash of both addresses, to busy and idle loops alike. No hand-over, and no queue is shared. A
  // process that ends takes the queues of its sockets with it, so stop_listening() first.
  // Unimplemented where the kernel does not balance (ListenOptions::reuse_port).
  kReusePort,
};

// "thread", "shared", "reuseport"; InvalidArgument names what there is.
absl::StatusOr<AcceptMode> parse_accept_mode(std::string_view name);

struct TCPServerOptions {
  AcceptMode accept = AcceptMode::kThread;
  // Of AcceptMode::kThread; else the kernel decides.
  Placement placement = Placement::kRoundRobin;
  // Chooses the loop instead of `placement`. Of AcceptMode::kThread.
  PickLoop pick_loop = nullptr;
  // How many connections may be open, and how fast they may come. None is limited by default.
  ConnectionLimits limits = {};
  // Connections that are accepted in one turn of a loop, before its others have theirs.
  size_t accept_batch = Acceptor::kMaxBatch;
  ListenOptions listen = {};
  IOStreamOptions stream = {};
  // Set: a load balancer stands in front, and tells whose a connection is in a PROXY header
  // (original_peer_address() in proxied_peer.h). unset: the connections are what they are.
  std::optional<ProxyProtocolOptions> proxy_protocol = std::nullopt;
  // Of the server in metrics, and of the acceptor's thread: NAME-accept.
  std::string name = "gyre";
};

// Accepts TCP connections and makes them streams on the loops of a pool. Any thread, several at a
// time; where the pool's own threads are an exception, the method says so.
class TCPServer {
 public:
  // Called for each connection on the loop that it lives on; at the same time on several loops.
  // While the stream is open the server keeps it, so that it may be dropped.
  using Handler = internal::ConnectionOpener::Handler;

  // `pool` is borrowed. `handler` returns void, or a Task, which is run to its end.
  template <class H>
  requires std::is_invocable_v<const H&, std::shared_ptr<IOStream>> TCPServer(
      LoopPool& pool, H handler, TCPServerOptions options = {})
      : TCPServer(pool, as_handler(std::move(handler)), std::move(options), Private()) {}

  // close_now(). Not on the acceptor's thread.
  ~TCPServer();
  TCPServer(const TCPServer&) = delete;
  TCPServer& operator=(const TCPServer&) = delete;

  // Listens on a host's addresses (a name, "127.0.0.1", "::1"; "" is every address of IPv4 and
  // IPv6) and begins to accept. Port 0: the kernel picks one, the same for all of them. A family or
  // an address that the machine does not have is skipped if it has another. Resolving a name
  // blocks. May be called again, for further addresses. Not on the pool's own threads: a checked
  // error. Fails as ListenSocket::bind_all and LoopThread::create do, NotFound for an unknown host,
  // InvalidArgument names an option that makes no sense, FailedPrecondition if a loop does not run;
  // then it listens on none of the addresses.
  absl::Status listen(uint16_t port, std::string_view host = "");
  absl::Status listen(const SocketAddress& address);
  // With a socket that listens already. InvalidArgument with AcceptMode::kReusePort, which needs
  // one for each loop.
  absl::Status listen(ListenSocket socket);

  // Of the first listen() that succeeded, which has to have returned; with several addresses, the
  // first of them. Valid as long as the server.
  const SocketAddress& address() const { return first_address_; }
  uint16_t port() const { return address().port(); }

  // ---- The end
  //
  // Each may be called more than once, at the same time, and while another is going on. On a thread
  // of the pool they do not wait, which would be for themselves: what they begin goes on by itself,
  // and the report has `finished` false. drain_async() is for there.

  // Accepts who is in the kernel's queues, and closes the sockets; open connections go on. Where
  // the kernel can be told to add nobody meanwhile (Linux) no connection is reset by it: handshakes
  // that had begun are waited for, which is a round trip, and 250 ms at most for clients that have
  // gone silent.
  void stop_listening();

  // stop_listening(), then closes each connection as soon as it is idle (IOStream::idle): at once,
  // or when its answer was sent. What is open at the deadline is closed.
  DrainReport drain(IOLoop::Duration deadline);
  // stop_listening(), and closes every connection at once: drain(0).
  DrainReport close_now();

  // The same, never waiting. The future may be awaited on any loop. The server may be destroyed
  // meanwhile, which closes what is open.
  Future<DrainReport> drain_async(IOLoop::Duration deadline);

  // ---- What it has done. Any thread.

  // What one loop of the pool has of this server; `loop` is its number in the pool.
  struct LoopStats {
    uint64_t accepted = 0;
    uint64_t open = 0;
    uint64_t bytes_received = 0;  // of the connections that are closed
    uint64_t bytes_sent = 0;
  };
  LoopStats stats(size_t loop) const;
  uint64_t open_connections() const;
  AcceptMetrics accept_metrics() const;
  // The same for each loop that accepts, under the loop's name: the acceptor's own, or those of the
  // pool.
  struct AcceptorStats {
    std::string loop;
    AcceptMetrics metrics;
  };
  std::vector<AcceptorStats> acceptors() const;

  // What it listens on, what it has accepted, and what is on the acceptor's loop, for a person.
  // Its connections are handlers of the pool's loops: LoopPool::dump() has them. Waits `limit` at
  // most for the acceptor's loop.
  std::string dump(std::chrono::nanoseconds limit = kDumpLimit) const;

  const std::string& name() const { return options_.name; }
  const LoopPool& pool() const { return pool_; }

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
        // It may have an answer to give before it reads.
        internal::StreamAccess::answers_first(*stream);
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
    internal::Answering answering(stream);
    co_await (*handler)(std::move(stream));
    answering.finish();
  }

  // An acceptor is made, used and destroyed on its loop.
  struct Listening {
    IOLoop* loop;
    std::shared_ptr<std::unique_ptr<Acceptor>> acceptor;
  };

  absl::Status accept_on(std::vector<ListenSocket> sockets);
  absl::Status accept_in_thread(ListenSocket socket, std::vector<Listening>& listening);
  absl::Status accept_in_loops(ListenSocket socket, std::vector<Listening>& listening);
  absl::Status add_acceptor(IOLoop& loop, std::shared_ptr<ListenSocket> socket, Acceptor::Sink sink,
                            Acceptor::Options options, std::vector<Listening>& listening);
  absl::StatusOr<IOLoop*> accept_loop();
  Acceptor::Options acceptor_options(size_t counters) const;

  std::string accept_thread_name() const { return options_.name + "-accept"; }
  bool on_own_thread() const;
  void stop_acceptors(const std::vector<Listening>& listening, IOLoop::TimePoint deadline,
                      Callback then) const;
  void stop_listening_then(IOLoop::TimePoint deadline, Callback then);
  bool some_loop_runs() const;
  // What the deadlines go by: the clock of the pool's loops.
  IOLoop::TimePoint time() const { return pool_.loop(0).time(); }
  std::shared_ptr<internal::DrainProgress> begin_drain(IOLoop::TimePoint deadline,
                                                       absl::AnyInvocable<void(DrainReport)> done);
  void wait_for(const internal::DrainProgress& progress, IOLoop::TimePoint deadline) const;

  LoopPool& pool_;
  const TCPServerOptions options_;
  const std::shared_ptr<internal::PlaceSignal> freed_;
  const std::shared_ptr<internal::InTurn> stops_;
  const std::shared_ptr<internal::Admission> admission_;  // nullptr: nothing is limited
  std::vector<std::shared_ptr<internal::LoopConnections>> loops_;
  // One for each loop, and one for the acceptor's thread.
  std::vector<std::shared_ptr<internal::AcceptCounters>> counters_;
  std::shared_ptr<const ConnectionDispatcher::Adopt> adopt_;

  mutable internal::Mutex mutex_;
  // Written once, by the first listen() that succeeds: read without the lock after it.
  SocketAddress first_address_;
  std::vector<SocketAddress> addresses_ ABSL_GUARDED_BY(mutex_);
  std::vector<Listening> listening_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<ConnectionDispatcher> dispatcher_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<LoopThread> accept_thread_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace gyre

#endif  // GYRE_NET_TCP_SERVER_H_
