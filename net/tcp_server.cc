#include "gyre/net/tcp_server.h"

#include <algorithm>
#include <random>

#include "absl/strings/str_format.h"
#include "gyre/net/call_on_loop.h"
#include "gyre/net/in_turn.h"
#include "gyre/net/proxy_gate.h"

namespace gyre {
namespace {

using internal::AcceptedConnection;
using internal::Admission;
using internal::LoopConnections;
using internal::Verdict;

uint64_t random_seed() {
  std::random_device device;
  return static_cast<uint64_t>(device()) << 32 | device();
}

// Where one thread accepts for all loops: these are counted when they are dealt out.
Acceptor::Gate gate_of_server(std::shared_ptr<Admission> admission, const IOLoop& loop) {
  if (admission == nullptr) return nullptr;
  return [admission = std::move(admission), &loop](AcceptedConnection& connection, bool last_call) {
    return admission->enter(internal::source_of(connection.peer_address()), loop.time(), last_call,
                            connection.place);
  };
}

// Where a loop accepts for itself.
Acceptor::Gate gate_of_loop(std::shared_ptr<Admission> admission,
                            std::shared_ptr<LoopConnections> loop) {
  return [admission = std::move(admission), loop = std::move(loop)](AcceptedConnection& connection,
                                                                    bool last_call) -> Verdict {
    if (admission != nullptr) {
      const uint64_t most = admission->limits().per_loop;
      if (most > 0 && loop->open() >= most) return admission->loop_is_full(last_call);
      const Verdict verdict = admission->enter(internal::source_of(connection.peer_address()),
                                               loop->loop().time(), last_call, connection.place);
      if (verdict.kind != Verdict::kAdmit) return verdict;
    }
    loop->count_assigned();
    return {};
  };
}

// The options that would fail only at the first connection. The others fail in listen(), where they
// are used.
absl::Status check(const TCPServerOptions& options) {
  absl::Status status = internal::check(options.limits);
  status.Update(internal::check(options.stream));
  if (options.proxy_protocol.has_value() &&
      options.proxy_protocol->header_timeout <= std::chrono::nanoseconds::zero()) {
    status.Update(absl::InvalidArgumentError(
        absl::StrFormat("ProxyProtocolOptions::header_timeout is not positive: %d ns",
                        options.proxy_protocol->header_timeout.count())));
  }
  return status;
}

}  // namespace

absl::StatusOr<AcceptMode> parse_accept_mode(std::string_view name) {
  if (name == "thread") return AcceptMode::kThread;
  if (name == "shared") return AcceptMode::kShared;
  if (name == "reuseport") return AcceptMode::kReusePort;
  return absl::InvalidArgumentError(
      absl::StrFormat("unknown accept mode \"%s\": thread, shared and reuseport are known", name));
}

TCPServer::TCPServer(LoopPool& pool, Handler handler, TCPServerOptions options, Private)
    : pool_(pool),
      options_(std::move(options)),
      freed_(std::make_shared<internal::PlaceSignal>()),
      stops_(std::make_shared<internal::InTurn>()),
      admission_(
          Admission::unlimited(options_.limits)
              ? nullptr
              : std::make_shared<Admission>(
                    options_.limits, options_.accept == AcceptMode::kThread ? pool.size() : 0)) {
  for (size_t i = 0; i < pool.size(); ++i) {
    loops_.push_back(std::make_shared<LoopConnections>(pool.loop(i), freed_));
  }
  for (size_t i = 0; i <= pool.size(); ++i) {
    counters_.push_back(std::make_shared<internal::AcceptCounters>());
  }
  auto opener =
      std::make_shared<const internal::ConnectionOpener>(std::move(handler), options_.stream);
  adopt_ = std::make_shared<const ConnectionDispatcher::Adopt>(internal::behind_proxy(
      options_.proxy_protocol,
      [opener = std::move(opener)](AcceptedConnection connection, LoopConnections& loop,
                                   const ProxyHeader* header) {
        opener->open(std::move(connection), loop, header);
      }));
}

TCPServer::~TCPServer() {
  close_now();
  std::unique_ptr<LoopThread> thread;  // ended without the lock, which it may wait for
  internal::MutexLock lock(mutex_);
  thread.swap(accept_thread_);
}

// ---- Listening

absl::Status TCPServer::listen(uint16_t port, std::string_view host) {
  if (absl::Status status = check(options_); !status.ok()) return status;
  // The wildcard of each family: a name for both of them is not what every resolver gives.
  absl::StatusOr<std::vector<SocketAddress>> addresses =
      SocketAddress::resolve(host.empty() ? "0.0.0.0" : host, port);
  if (!addresses.ok()) return addresses.status();
  if (host.empty()) addresses->push_back(SocketAddress::parse("::", port).value());
  ListenOptions options = options_.listen;
  options.reuse_port = options_.accept == AcceptMode::kReusePort;
  absl::StatusOr<std::vector<ListenSocket>> sockets = ListenSocket::bind_all(*addresses, options);
  if (!sockets.ok()) return sockets.status();
  return accept_on(*std::move(sockets));
}

absl::Status TCPServer::listen(const SocketAddress& address) {
  if (absl::Status status = check(options_); !status.ok()) return status;
  ListenOptions options = options_.listen;
  options.reuse_port = options_.accept == AcceptMode::kReusePort;
  absl::StatusOr<ListenSocket> socket = ListenSocket::bind(address, options);
  if (!socket.ok()) return socket.status();
  std::vector<ListenSocket> sockets;
  sockets.push_back(*std::move(socket));
  return accept_on(std::move(sockets));
}

absl::Status TCPServer::listen(ListenSocket socket) {
  if (absl::Status status = check(options_); !status.ok()) return status;
  if (options_.accept == AcceptMode::kReusePort) {
    return absl::InvalidArgumentError(
        "one socket for all loops and AcceptMode::kReusePort, which needs one for each: use "
        "kThread or kShared");
  }
  std::vector<ListenSocket> sockets;
  sockets.push_back(std::move(socket));
  return accept_on(std::move(sockets));
}

absl::Status TCPServer::accept_on(std::vector<ListenSocket> sockets) {
  std::vector<SocketAddress> addresses;
  std::vector<Listening> listening;
  absl::Status status;
  for (ListenSocket& socket : sockets) {
    addresses.push_back(socket.address());
    status = options_.accept == AcceptMode::kThread ? accept_in_thread(std::move(socket), listening)
                                                    : accept_in_loops(std::move(socket), listening);
    if (!status.ok()) break;
  }
  if (!status.ok()) {
    stop_acceptors(listening, time(), [] {});
    return status;
  }
  internal::MutexLock lock(mutex_);
  if (addresses_.empty()) first_address_ = addresses.front();
  addresses_.insert(addresses_.end(), addresses.begin(), addresses.end());
  listening_.insert(listening_.end(), listening.begin(), listening.end());
  return absl::OkStatus();
}

absl::Status TCPServer::add_acceptor(IOLoop& loop, std::shared_ptr<ListenSocket> socket,
                                     Acceptor::Sink sink, Acceptor::Options options,
                                     std::vector<Listening>& listening) {
  auto holder = std::make_shared<std::unique_ptr<Acceptor>>();
  listening.push_back({&loop, holder});
  return internal::call_on_loop(
      loop, [&loop, holder, socket = std::move(socket), sink = std::move(sink),
             options = std::move(options)]() mutable {
        absl::StatusOr<std::unique_ptr<Acceptor>> acceptor =
            Acceptor::create(loop, std::move(socket), std::move(sink), std::move(options));
        if (acceptor.ok()) *holder = *std::move(acceptor);
        return acceptor.status();
      });
}

Acceptor::Options TCPServer::acceptor_options(size_t counters) const {
  Acceptor::Options options;
  options.max_batch = std::max<size_t>(options_.accept_batch, 1);
  options.wants_peer = options_.limits.per_source > 0;
  options.admission = admission_;
  options.freed = freed_;
  options.counters = counters_[counters];
  return options;
}

absl::StatusOr<IOLoop*> TCPServer::accept_loop() {
  internal::MutexLock lock(mutex_);
  if (accept_thread_ == nullptr) {
    LoopThreadOptions options;
    options.name = accept_thread_name();
    // Were it to take the CPU of a loop for each connection, no batch would be more than one.
    options.batch = true;
    options.backend = pool_.loop(0).backend();
    options.make_loop = pool_.loop_factory();
    absl::StatusOr<std::unique_ptr<LoopThread>> thread = LoopThread::create(std::move(options));
    if (!thread.ok()) return thread.status();
    accept_thread_ = *std::move(thread);
    ConnectionDispatcher::Options dispatch;
    dispatch.placement = options_.placement;
    dispatch.pick = options_.pick_loop;
    dispatch.seed = random_seed();
    dispatch.per_loop = options_.limits.per_loop;
    dispatch.counters = counters_.back();
    dispatcher_ = std::make_shared<ConnectionDispatcher>(loops_, std::move(dispatch), adopt_);
  }
  return &accept_thread_->loop();
}

absl::Status TCPServer::accept_in_thread(ListenSocket socket, std::vector<Listening>& listening) {
  absl::StatusOr<IOLoop*> loop = accept_loop();
  if (!loop.ok()) return loop.status();
  Acceptor::Options options = acceptor_options(loops_.size());
  options.gate = gate_of_server(admission_, **loop);
  options.wants_peer |= options_.pick_loop || options_.placement == Placement::kSourceHash;
  std::shared_ptr<ConnectionDispatcher> dispatcher;
  {
    internal::MutexLock lock(mutex_);
    dispatcher = dispatcher_;
  }
  return add_acceptor(
      **loop, std::make_shared<ListenSocket>(std::move(socket)),
      [dispatcher](std::vector<AcceptedConnection>& batch) { dispatcher->dispatch(batch); },
      std::move(options), listening);
}

absl::Status TCPServer::accept_in_loops(ListenSocket first, std::vector<Listening>& listening) {
  const bool shared = options_.accept == AcceptMode::kShared;
  const SocketAddress address = first.address();
  ListenOptions listen = options_.listen;
  listen.reuse_port = true;
  auto socket = std::make_shared<ListenSocket>(std::move(first));
  for (size_t i = 0; i < loops_.size(); ++i) {
    if (i > 0 && !shared) {
      absl::StatusOr<ListenSocket> next = ListenSocket::bind(address, listen);
      if (!next.ok()) return next.status();
      socket = std::make_shared<ListenSocket>(*std::move(next));
    }
    Acceptor::Options options = acceptor_options(i);
    options.exclusive = shared;
    options.gate = gate_of_loop(admission_, loops_[i]);
    const uint64_t most = options_.limits.per_loop;
    if (most > 0 && options_.limits.at_loop == AtLimit::kWait) {
      options.full = [loop = loops_[i], most] { return loop->open() >= most; };
    }
    absl::Status status = add_acceptor(
        pool_.loop(i), socket,
        [loop = loops_[i], adopt = adopt_](std::vector<AcceptedConnection>& batch) {
          for (AcceptedConnection& connection : batch) (*adopt)(std::move(connection), *loop);
        },
        std::move(options), listening);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// ---- What it has done

TCPServer::LoopStats TCPServer::stats(size_t loop) const {
  const LoopConnections& connections = *loops_[loop];
  return {connections.accepted(), connections.open(), connections.bytes_received(),
          connections.bytes_sent()};
}

uint64_t TCPServer::open_connections() const {
  uint64_t open = 0;
  for (const std::shared_ptr<LoopConnections>& loop : loops_) open += loop->open();
  return open;
}

AcceptMetrics TCPServer::accept_metrics() const {
  AcceptMetrics sum;
  for (const auto& counters : counters_) counters->add_to(sum);
  return sum;
}

std::vector<TCPServer::AcceptorStats> TCPServer::acceptors() const {
  std::vector<AcceptorStats> acceptors;
  if (options_.accept == AcceptMode::kThread) {
    acceptors.push_back({accept_thread_name(), {}});
    counters_.back()->add_to(acceptors.back().metrics);
    return acceptors;
  }
  for (size_t i = 0; i < loops_.size(); ++i) {
    acceptors.push_back({loops_[i]->loop().name(), {}});
    counters_[i]->add_to(acceptors.back().metrics);
  }
  return acceptors;
}

std::string TCPServer::dump(std::chrono::nanoseconds limit) const {
  const AcceptMetrics metrics = accept_metrics();
  std::string text = absl::StrFormat(
      "server \"%s\": %d connections open, %d accepted, %d rejected, %d shed\n", name(),
      open_connections(), metrics.accepted, metrics.rejected(), metrics.shed);
  IOLoop* accept_loop = nullptr;
  {
    internal::MutexLock lock(mutex_);
    for (const SocketAddress& address : addresses_)
      text += absl::StrFormat("  %s %s\n", listening_.empty() ? "listened on" : "listens on",
                              address.to_string());
    // It lives as long as the server.
    if (accept_thread_ != nullptr) accept_loop = &accept_thread_->loop();
  }
  return accept_loop != nullptr ? text + dump_loops({&accept_loop, 1}, limit) : text;
}

}  // namespace gyre
