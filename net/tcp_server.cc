#include "gyre/net/tcp_server.h"

#include <algorithm>
#include <future>
#include <thread>

#include "absl/strings/str_format.h"
#include "gyre/loop/log.h"
#include "gyre/net/proxy_gate.h"

namespace gyre {
namespace {

// Runs f on the loop, which another thread runs, and waits for its result.
template <class F>
absl::Status call_on(IOLoop& loop, F f) {
  GYRE_CHECK(!loop.in_loop_thread(),
             "a server is used on a thread of its own loop \"%s\": it would wait for itself",
             loop.name());
  auto result = std::make_shared<std::promise<absl::Status>>();
  std::future<absl::Status> done = result->get_future();
  // Dropped by a loop that closes: the promise dies, and get() must not be asked.
  if (!loop.add_callback([f = std::move(f), result]() mutable { result->set_value(f()); })) {
    return absl::FailedPreconditionError(absl::StrFormat("loop \"%s\" is closed", loop.name()));
  }
  result.reset();
  // A loop that was stopped never comes to it.
  while (done.wait_for(std::chrono::milliseconds(10)) != std::future_status::ready) {
    if (!loop.running())
      return absl::FailedPreconditionError(
          absl::StrFormat("loop \"%s\" does not run", loop.name()));
  }
  return done.get();
}

void warn_of_lost_connection(const absl::Status& status) {
  static constinit LogRateLimiter limiter;
  uint64_t suppressed;
  if (!limiter.allow(&suppressed)) return;
  logf(LogLevel::kWarning,
       "a connection was closed at once: %s (and %d more since the last message)",
       status.ToString(), suppressed);
}

}  // namespace

absl::StatusOr<AcceptMode> parse_accept_mode(std::string_view name) {
  if (name == "thread") return AcceptMode::kThread;
  if (name == "reuseport") return AcceptMode::kReusePort;
  return absl::InvalidArgumentError(
      absl::StrFormat("unknown accept mode \"%s\": thread and reuseport are known", name));
}

TCPServer::TCPServer(LoopPool& pool, Handler handler, TCPServerOptions options, Private)
    : pool_(pool), options_(std::move(options)) {
  for (size_t i = 0; i < pool.size(); ++i) {
    loops_.push_back(std::make_shared<internal::LoopConnections>(pool.loop(i)));
  }
  adopt_ = std::make_shared<const ConnectionDispatcher::Adopt>(internal::behind_proxy(
      options_.proxy_protocol,
      [handler = std::move(handler), options = options_.stream](
          UniqueFd connection, internal::LoopConnections& loop, const ProxyHeader* header) {
        absl::StatusOr<std::shared_ptr<IOStream>> stream =
            IOStream::create(loop.loop(), std::move(connection), options);
        if (!stream.ok()) {
          loop.count_lost();
          return warn_of_lost_connection(stream.status());
        }
        loop.add(**stream);
        if (header != nullptr) loop.set_proxy_header(**stream, *header);
        std::shared_ptr<IOStream> unhandled = *stream;
        internal::LoopAccess::call(loop.loop(), [&] {
          handler(*std::move(stream));
          unhandled = nullptr;
        });
        // A handler that throws leaves no connection behind, and takes none along.
        if (unhandled != nullptr)
          unhandled->close(absl::InternalError("the connection's handler threw"));
      }));
}

TCPServer::~TCPServer() { close_now(); }

absl::Status TCPServer::listen(uint16_t port, std::string_view host) {
  absl::StatusOr<std::vector<SocketAddress>> addresses =
      SocketAddress::resolve(host.empty() ? "0.0.0.0" : host, port);
  if (!addresses.ok()) return addresses.status();
  ListenOptions options = options_.listen;
  options.reuse_port = options_.accept == AcceptMode::kReusePort;
  absl::StatusOr<ListenSocket> socket = ListenSocket::bind(addresses->front(), options);
  if (!socket.ok()) return socket.status();
  const SocketAddress address = socket->address();
  const size_t listening_before = listening_.size();
  absl::Status status = options_.accept == AcceptMode::kThread
                            ? accept_in_thread(*std::move(socket))
                            : accept_in_loops(*std::move(socket));
  if (status.ok()) {
    addresses_.push_back(address);
  } else {
    stop_listening_from(listening_before);  // all of an address's sockets, or none
  }
  return status;
}

absl::Status TCPServer::accept_in_thread(ListenSocket socket) {
  if (accept_thread_ == nullptr) {
    LoopThreadOptions options;
    options.name = options_.name + "-accept";
    options.backend = pool_.loop(0).backend();
    absl::StatusOr<std::unique_ptr<LoopThread>> thread = LoopThread::create(std::move(options));
    if (!thread.ok()) return thread.status();
    accept_thread_ = *std::move(thread);
    dispatcher_ = std::make_shared<ConnectionDispatcher>(loops_, options_.placement, adopt_);
  }
  IOLoop& loop = accept_thread_->loop();
  auto holder = std::make_shared<std::unique_ptr<Acceptor>>();
  listening_.push_back({&loop, holder});
  return call_on(loop,
                 [&loop, holder, socket = std::move(socket), dispatcher = dispatcher_]() mutable {
                   absl::StatusOr<std::unique_ptr<Acceptor>> acceptor = Acceptor::create(
                       loop, std::move(socket), [dispatcher](std::vector<UniqueFd>& connections) {
                         dispatcher->dispatch(connections);
                       });
                   if (acceptor.ok()) *holder = *std::move(acceptor);
                   return acceptor.status();
                 });
}

absl::Status TCPServer::accept_in_loops(ListenSocket first) {
  const SocketAddress address = first.address();
  for (size_t i = 0; i < loops_.size(); ++i) {
    ListenOptions options = options_.listen;
    options.reuse_port = true;
    absl::StatusOr<ListenSocket> socket =
        i == 0 ? std::move(first) : ListenSocket::bind(address, options);
    if (!socket.ok()) return socket.status();
    IOLoop& loop = pool_.loop(i);
    auto holder = std::make_shared<std::unique_ptr<Acceptor>>();
    listening_.push_back({&loop, holder});
    absl::Status status = call_on(loop, [&loop, holder, socket = *std::move(socket),
                                         connections = loops_[i], adopt = adopt_]() mutable {
      absl::StatusOr<std::unique_ptr<Acceptor>> acceptor = Acceptor::create(
          loop, std::move(socket), [connections, adopt](std::vector<UniqueFd>& batch) {
            for (UniqueFd& connection : batch) {
              connections->count_assigned();
              (*adopt)(std::move(connection), *connections);
            }
          });
      if (acceptor.ok()) *holder = *std::move(acceptor);
      return acceptor.status();
    });
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

void TCPServer::stop_listening() {
  stop_listening_from(0);
  accept_thread_.reset();
}

void TCPServer::stop_listening_from(size_t first) {
  for (; listening_.size() > first; listening_.pop_back()) {
    const Listening& listening = listening_.back();
    absl::Status status = call_on(*listening.loop, [acceptor = listening.acceptor] {
      acceptor->reset();
      return absl::OkStatus();
    });
    // Its loop does not run: it may be used from here.
    if (!status.ok()) listening.acceptor->reset();
  }
}

uint64_t TCPServer::drain(IOLoop::Duration deadline) {
  const auto end = internal::saturating_add(std::chrono::steady_clock::now(), deadline);
  stop_listening();
  if (deadline > IOLoop::Duration::zero()) {
    for (const std::shared_ptr<internal::LoopConnections>& loop : loops_) {
      loop->loop().add_callback([loop] {
        loop->drop_pending();
        loop->for_each([](IOStream& stream) { stream.close_when_flushed(); });
      });
    }
    if (wait_until_closed(end)) return 0;
  }
  const uint64_t cut_off = open_connections();
  for (const std::shared_ptr<internal::LoopConnections>& loop : loops_) {
    const auto close_all = [loop] {
      loop->drop_pending();
      loop->for_each(
          [](IOStream& stream) { stream.close(absl::CancelledError("the server was closed")); });
      return absl::OkStatus();
    };
    // A loop that does not run any more closes its streams when it is closed itself.
    call_on(loop->loop(), close_all).IgnoreError();
  }
  return cut_off;
}

bool TCPServer::wait_until_closed(std::chrono::steady_clock::time_point deadline) const {
  constexpr std::chrono::milliseconds kInterval(1);
  while (open_connections() > 0) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(kInterval);
  }
  return true;
}

TCPServer::LoopStats TCPServer::stats(size_t loop) const {
  const internal::LoopConnections& connections = *loops_[loop];
  return {connections.accepted(), connections.open(), connections.bytes_received(),
          connections.bytes_sent()};
}

uint64_t TCPServer::open_connections() const {
  uint64_t open = 0;
  for (const std::shared_ptr<internal::LoopConnections>& loop : loops_) open += loop->open();
  return open;
}

}  // namespace gyre
