#include "gyre/net/connect_operation.h"

#include <cerrno>
#include <utility>

#include "absl/strings/str_format.h"
#include "gyre/loop/errno_status.h"
#include "gyre/loop/loop_access.h"
#include "gyre/net/socket_ops.h"

namespace gyre::internal {
namespace {

// A Unix socket whose listener's queue is full says EAGAIN, and nothing tells when there is room.
constexpr std::chrono::milliseconds kUnixRetryDelay(10);

// A port of the kernel's choice may be the very one that is connected to: then TCP connects the
// socket to itself (simultaneous open). The next choice is another one.
constexpr int kMaxSelfConnects = 4;

std::string describe(const ConnectOperation::Target& target) {
  if (target.host.starts_with("unix:")) return "connecting to " + target.host;
  const bool v6 = target.host.find(':') != std::string::npos;
  const std::string host = v6 ? "[" + target.host + "]" : target.host;
  return absl::StrFormat("connecting to %s:%d", host, target.port);
}

// Closes a TCP socket without the time that a port is kept for late packets.
void reset(UniqueFd fd) {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

}  // namespace

class ConnectOperation::Waiter final : public EventHandler {
 public:
  Waiter(std::shared_ptr<ConnectOperation> operation, size_t index)
      : operation_(std::move(operation)), index_(index) {}

 private:
  void handle_events(int, uint32_t) override {
    const std::shared_ptr<ConnectOperation> keep = operation_;
    keep->socket_ready(index_);
  }
  void released() override {
    // Null where the attempt was stopped; this one where the loop closes.
    Attempt& attempt = operation_->attempts_[index_];
    if (attempt.waiter == this) attempt.waiter = nullptr;
    delete this;
  }
  void close_fd(int) override {}  // the operation's
  std::string describe() const override { return operation_->what_; }

  const std::shared_ptr<ConnectOperation> operation_;
  const size_t index_;
};

ConnectOperation::ConnectOperation(IOLoop& loop, Target target, ConnectOptions options,
                                   TCPClient::Callback done)
    : loop_(loop),
      target_(std::move(target)),
      options_(std::move(options)),
      what_(describe(target_)),
      began_(loop.time()),
      done_(std::move(done)) {}

ConnectOperation::~ConnectOperation() { options_.cancellation.forget(listener_); }

void ConnectOperation::start(std::shared_ptr<Resolver> resolver) {
  LoopAccess::assert_here(loop_, "TCPClient::connect");
  loop_.add_callback([self = shared_from_this(), resolver = std::move(resolver)] {
    if (!self->over_) self->begin(resolver);
  });
}

absl::Status ConnectOperation::check_arguments() const {
  const auto invalid = [this](const std::string& why) {
    return absl::InvalidArgumentError(what_ + ": " + why);
  };
  if (target_.port == 0 && !target_.host.starts_with("unix:")) {
    return invalid("port 0 cannot be connected to");
  }
  if (options_.attempt_delay < IOLoop::Duration::zero()) return invalid("a negative attempt_delay");
  if (options_.family != AF_UNSPEC && options_.family != AF_INET && options_.family != AF_INET6) {
    return invalid(absl::StrFormat("family %d is neither AF_INET nor AF_INET6", options_.family));
  }
  return absl::OkStatus();
}

void ConnectOperation::begin(const std::shared_ptr<Resolver>& resolver) {
  if (options_.cancellation.cancelled()) return give_up(absl::CancelledError("cancelled"));
  if (absl::Status status = check_arguments(); !status.ok()) return finish(std::move(status));
  listener_ = options_.cancellation.on_cancel([weak = weak_from_this()] {
    // Later: no callback runs inside of the call that cancels.
    const std::shared_ptr<ConnectOperation> self = weak.lock();
    if (self == nullptr) return;
    self->loop_.add_callback([self] { self->give_up(absl::CancelledError("cancelled")); });
  });
  arm_timer();
  Future<ResolvedAddresses> addresses = resolver->resolve(target_.host, target_.port);
  if (addresses.done()) return resolved(addresses.get());
  loop_.add_future(std::move(addresses),
                   [self = shared_from_this()](Future<ResolvedAddresses> found) {
                     if (!self->over_) self->resolved(found.get());
                   });
}

std::vector<SocketAddress> ConnectOperation::choose(
    const std::vector<SocketAddress>& addresses) const {
  std::vector<SocketAddress> chosen;
  for (const SocketAddress& address : addresses) {
    if (options_.family == AF_UNSPEC || address.family() == options_.family) {
      chosen.push_back(address);
    }
  }
  chosen = interleave_families(chosen);
  if (chosen.size() > TCPClient::kMaxAttempts) chosen.resize(TCPClient::kMaxAttempts);
  return chosen;
}

void ConnectOperation::resolved(ResolvedAddresses addresses) {
  if (!addresses.ok()) {
    return finish(absl::Status(addresses.status().code(),
                               what_ + ": " + std::string(addresses.status().message())));
  }
  std::vector<std::string> targets;
  for (const SocketAddress& address : choose(*addresses)) {
    attempts_.push_back({.address = address});
    targets.push_back(address.to_string());
  }
  race_.emplace(what_, std::move(targets),
                ConnectRaceLimits{.attempt_delay = options_.attempt_delay,
                                  .attempt_timeout = options_.attempt_timeout,
                                  .timeout = options_.timeout},
                began_);
  advance();
}

void ConnectOperation::give_up(absl::Status why) {
  if (over_) return;
  if (!race_.has_value()) {
    return finish(absl::Status(why.code(), what_ + ": " + std::string(why.message())));
  }
  race_->give_up(std::move(why));
  advance();
}

void ConnectOperation::advance() {
  while (const std::optional<ConnectRace::Action> action = race_->next(loop_.time())) {
    switch (action->kind) {
      case ConnectRace::Action::kStart:
        start_attempt(action->attempt);
        break;
      case ConnectRace::Action::kStop:
        stop_attempt(action->attempt);
        break;
      case ConnectRace::Action::kWon:
        return finish(
            IOStream::create(loop_, std::move(attempts_[action->attempt].fd), options_.stream));
      case ConnectRace::Action::kLost:
        return finish(race_->outcome());
    }
  }
  arm_timer();
}

void ConnectOperation::arm_timer() {
  loop_.remove_timeout(std::exchange(timer_, {}));
  if (race_.has_value()) {
    const std::optional<SteadyTime> deadline = race_->deadline();
    if (deadline.has_value()) {
      timer_ = loop_.call_at(*deadline, [self = shared_from_this()] { self->advance(); });
    }
  } else if (options_.timeout.has_value()) {
    timer_ = loop_.call_at(saturating_add(began_, *options_.timeout), [self = shared_from_this()] {
      self->give_up(absl::DeadlineExceededError("the name was not resolved in time"));
    });
  }
}

// ---- Attempts

absl::Status ConnectOperation::bind_source(const Attempt& attempt) const {
  const SocketAddress& source = options_.source;
  if (source.size() == 0) return absl::OkStatus();
  if (source.family() != attempt.address.family()) {
    return absl::InvalidArgumentError("the source " + source.to_string() + " is of another family");
  }
  const int on = 1;
  if (source.port() != 0) {
    ::setsockopt(attempt.fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
#if defined(IP_BIND_ADDRESS_NO_PORT)
  } else if (!source.is_unix()) {
    // The port is chosen by connect(2), which knows the target: more of them can be in use at once.
    ::setsockopt(attempt.fd.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
#endif
  }
  if (::bind(attempt.fd.get(), source.data(), source.size()) == 0) return absl::OkStatus();
  return errno_status(errno, "binding to the source " + source.to_string());
}

absl::Status ConnectOperation::open(Attempt& attempt) const {
  absl::StatusOr<UniqueFd> fd = new_stream_socket(attempt.address.family());
  if (!fd.ok()) return fd.status();
  attempt.fd = *std::move(fd);
  set_no_delay(attempt.fd.get(), true);
  set_inline_urgent_data(attempt.fd.get());
  return bind_source(attempt);
}

void ConnectOperation::start_attempt(size_t index) {
  Attempt& attempt = attempts_[index];
  if (absl::Status status = open(attempt); !status.ok()) {
    attempt.fd.reset();
    return race_->failed(index, std::move(status));
  }
  connect_socket(index);
}

void ConnectOperation::connect_socket(size_t index) {
  Attempt& attempt = attempts_[index];
  const int error = connect(attempt.fd.get(), attempt.address);
  if (error == 0) return attempt_connected(index);
  if (error == EAGAIN && attempt.address.is_unix()) {
    attempt.retry = loop_.call_later(kUnixRetryDelay, [self = shared_from_this(), index] {
      self->connect_socket(index);
      self->advance();
    });
    return;
  }
  absl::Status status = errno_status(error, "connect");
  if (error == EINPROGRESS) {
    auto waiter = std::make_unique<Waiter>(shared_from_this(), index);
    status = LoopAccess::add(loop_, attempt.fd.get(), *waiter, IOLoop::WRITE, Trigger::kLevel);
    if (status.ok()) {
      attempt.waiter = waiter.release();
      return;
    }
  }
  attempt.fd.reset();
  race_->failed(index, std::move(status));
}

void ConnectOperation::socket_ready(size_t index) {
  Attempt& attempt = attempts_[index];
  attempt.waiter = nullptr;
  LoopAccess::remove(loop_, attempt.fd.get());
  if (const int error = socket_error(attempt.fd.get()); error != 0) {
    attempt.fd.reset();
    race_->failed(index, errno_status(error, "connect"));
  } else {
    attempt_connected(index);
  }
  advance();
}

bool ConnectOperation::is_self_connected(const Attempt& attempt) const {
  if (attempt.address.is_unix()) return false;
  const absl::StatusOr<SocketAddress> local = SocketAddress::local_of(attempt.fd.get());
  if (!local.ok() || local->port() != attempt.address.port()) return false;
  const absl::StatusOr<SocketAddress> peer = SocketAddress::peer_of(attempt.fd.get());
  return peer.ok() && *peer == *local;
}

void ConnectOperation::attempt_connected(size_t index) {
  Attempt& attempt = attempts_[index];
  if (!is_self_connected(attempt)) return race_->succeeded(index);
  reset(std::move(attempt.fd));
  if (options_.source.port() == 0 && ++attempt.self_connects < kMaxSelfConnects) {
    return start_attempt(index);
  }
  race_->failed(index,
                absl::UnavailableError("the socket was connected to itself: nobody listens"));
}

void ConnectOperation::stop_attempt(size_t index) {
  Attempt& attempt = attempts_[index];
  loop_.remove_timeout(std::exchange(attempt.retry, {}));
  const UniqueFd fd = std::move(attempt.fd);
  if (std::exchange(attempt.waiter, nullptr) != nullptr) LoopAccess::remove(loop_, fd.get());
}

// ---- The end

void ConnectOperation::release_all() {
  over_ = true;
  for (size_t i = 0; i < attempts_.size(); ++i) stop_attempt(i);
  loop_.remove_timeout(std::exchange(timer_, {}));
  options_.cancellation.forget(std::exchange(listener_, 0));
}

void ConnectOperation::finish(Result result) {
  const std::shared_ptr<ConnectOperation> keep = shared_from_this();
  release_all();
  TCPClient::Callback done = std::exchange(done_, nullptr);
  done(std::move(result));
}

void ConnectOperation::abandon() {
  if (over_) return;
  const std::shared_ptr<ConnectOperation> keep = shared_from_this();
  release_all();
  done_ = nullptr;
}

}  // namespace gyre::internal
