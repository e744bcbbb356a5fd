#include "gyre/net/acceptor.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "gyre/loop/loop_access.h"
#include "gyre/net/socket_ops.h"

namespace gyre {
namespace {

using internal::AcceptedConnection;
using internal::IoResult;
using internal::LoopAccess;
using internal::Verdict;

// While no fd is left the socket stays readable: it is looked at again after these delays.
constexpr std::chrono::milliseconds kFirstDelay(10);
constexpr std::chrono::milliseconds kLongestDelay(1000);

// What a last call accepts at most: no backlog is longer, and a client that connects in a circle
// must not keep the socket open.
constexpr size_t kMaxLastCall = 65536;

// accept(2): errors that are pending on the new connection. The next one may be well.
bool is_of_connection(int error) {
  switch (error) {
    case ECONNABORTED:
    case EPERM:
    case EPROTO:
    case ENETDOWN:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENOPROTOOPT:
    case EOPNOTSUPP:
    case ETIMEDOUT:
#if defined(ENONET)
    case ENONET:
#endif
      return true;
    default:
      return false;
  }
}

bool is_shortage(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

UniqueFd open_spare() { return UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }

}  // namespace

// What the loop holds of an acceptor: it may outlive it, until the end of a batch of events.
class Acceptor::Watch final : public internal::EventHandler {
 public:
  explicit Watch(Acceptor& acceptor) : acceptor_(&acceptor) {}

  void forget() { acceptor_ = nullptr; }

  void handle_events(int, uint32_t) override {
    if (acceptor_ != nullptr) acceptor_->socket_ready();
  }
  void released() override {
    if (acceptor_ != nullptr) acceptor_->watch_ = nullptr;
    delete this;
  }
  void close_fd(int) override {
    if (acceptor_ != nullptr) acceptor_->socket_.reset();
  }
  std::string describe() const override { return "an acceptor"; }

 private:
  Acceptor* acceptor_;
};

absl::StatusOr<std::unique_ptr<Acceptor>> Acceptor::create(IOLoop& loop, ListenSocket socket,
                                                           Sink sink) {
  return create(loop, std::make_shared<ListenSocket>(std::move(socket)), std::move(sink), {});
}

absl::StatusOr<std::unique_ptr<Acceptor>> Acceptor::create(IOLoop& loop,
                                                           std::shared_ptr<ListenSocket> socket,
                                                           Sink sink, Options options) {
  std::unique_ptr<Acceptor> acceptor(
      new Acceptor(loop, std::move(socket), std::move(sink), std::move(options)));
  if (absl::Status status = acceptor->watch(); !status.ok()) return status;
  return acceptor;
}

Acceptor::Acceptor(IOLoop& loop, std::shared_ptr<ListenSocket> socket, Sink sink, Options options)
    : loop_(loop),
      socket_(std::move(socket)),
      sink_(std::move(sink)),
      options_(std::move(options)),
      spare_(open_spare()),
      delay_(kFirstDelay),
      alive_(std::make_shared<Acceptor*>(this)) {
  if (options_.counters == nullptr) {
    options_.counters = std::make_shared<internal::AcceptCounters>();
  }
  batch_.reserve(std::min(options_.max_batch, kMaxBatch));
}

Acceptor::~Acceptor() {
  loop_.remove_timeout(retry_);
  unwatch();
}

absl::Status Acceptor::watch() {
  auto watch = std::make_unique<Watch>(*this);
  const Trigger trigger = options_.exclusive ? Trigger::kExclusive : Trigger::kLevel;
  absl::Status status = LoopAccess::add(loop_, socket_->fileno(), *watch, IOLoop::READ, trigger);
  if (status.ok()) watch_ = watch.release();
  return status;
}

void Acceptor::unwatch() {
  if (watch_ == nullptr) return;
  std::exchange(watch_, nullptr)->forget();
  if (socket_ != nullptr) LoopAccess::remove(loop_, socket_->fileno());
}

void Acceptor::socket_ready() { accept_batch(/*last_call=*/false); }

bool Acceptor::last_call() {
  if (socket_ == nullptr) return true;
  loop_.remove_timeout(std::exchange(retry_, {}));
  paused_ = false;
  unwatch();
  // Without a filter others come in anyway.
  if (!handshakes_.has_value() && socket_->refuse_new()) handshakes_.emplace(socket_->address());
  // Asked before the queue is emptied: those that end in between are in there.
  const bool complete = !handshakes_.has_value() || !handshakes_->under_way();
  for (size_t taken = 0; taken < kMaxLastCall && accept_batch(/*last_call=*/true);) {
    taken += options_.max_batch;
  }
  return complete;
}

void Acceptor::stop() {
  last_call();
  socket_.reset();
}

// False: nothing is left in the queue, or nothing can be accepted at the moment.
bool Acceptor::accept_batch(bool last_call) {
  Step step = Step::kGoOn;
  while (step == Step::kGoOn && batch_.size() < options_.max_batch) {
    step = accept_next(last_call);
  }
  deliver();
  return step == Step::kGoOn;
}

Acceptor::Step Acceptor::accept_next(bool last_call) {
  if (held_.has_value()) {
    AcceptedConnection held = *std::move(held_);
    held_.reset();
    return enter(std::move(held), last_call);
  }
  AcceptedConnection connection;
  if (!last_call && options_.full && options_.full()) {
    return wait_for_place(std::move(connection), {Verdict::kWait, LimitKind::kLoop});
  }
  const IoResult result = accept_one(connection);
  if (!result.ok()) return handle_error(result.error, last_call);
  connection.fd.reset(static_cast<int>(result.count));
  delay_ = kFirstDelay;
  return enter(std::move(connection), last_call);
}

IoResult Acceptor::accept_one(AcceptedConnection& connection) {
  if (!options_.wants_peer) return internal::accept(socket_->fileno());
  SocketAddress peer;
  const IoResult result = internal::accept(socket_->fileno(), peer);
  if (result.ok()) connection.peer = std::make_unique<SocketAddress>(peer);
  return result;
}

Acceptor::Step Acceptor::enter(AcceptedConnection connection, bool last_call) {
  const Verdict verdict = options_.gate ? options_.gate(connection, last_call) : Verdict();
  switch (verdict.kind) {
    case Verdict::kAdmit:
      batch_.push_back(std::move(connection));
      return Step::kGoOn;
    case Verdict::kWait:
      if (!last_call) return wait_for_place(std::move(connection), verdict);
      [[fallthrough]];
    case Verdict::kReject:
      break;
  }
  options_.counters->rejected[static_cast<int>(verdict.limit)].add(1);
  return Step::kGoOn;
}

void Acceptor::deliver() {
  if (batch_.empty()) return;
  internal::AcceptCounters& counters = *options_.counters;
  counters.accepted.add(batch_.size());
  counters.batches.add(1);
  counters.largest_batch.set(std::max<uint64_t>(counters.largest_batch.get(), batch_.size()));
  struct Clearer {  // also when the sink throws
    std::vector<AcceptedConnection>& batch;
    ~Clearer() { batch.clear(); }
  } clearer{batch_};
  sink_(batch_);
}

Acceptor::Step Acceptor::handle_error(int error, bool last_call) {
  if (error == EAGAIN || error == EWOULDBLOCK) return Step::kStop;
  if (is_of_connection(error)) {
    options_.counters->transient.add(1);
    return Step::kGoOn;
  }
  if (is_shortage(error)) shed();
  if (!last_call) back_off(error);
  return Step::kStop;
}

// ---- Nothing is left to accept with

// A batch of those who wait is told so: an fd that is kept for it is enough to close them one by
// one.
void Acceptor::shed() {
  if (!spare_) spare_ = open_spare();
  if (!spare_) return;
  spare_.reset();
  for (size_t i = 0; i < options_.max_batch; ++i) {
    const IoResult result = internal::accept(socket_->fileno());
    if (result.ok()) {
      UniqueFd(static_cast<int>(result.count)).reset();
      options_.counters->shed.add(1);
    } else if (!is_of_connection(result.error)) {
      // Another thread has opened something meanwhile.
      if (is_shortage(result.error)) options_.counters->spares_lost.add(1);
      break;
    }
  }
  spare_ = open_spare();
}

void Acceptor::back_off(int error) {
  options_.counters->back_offs.add(1);
  uint64_t suppressed;
  if (warnings_.allow(&suppressed)) {
    logf(LogLevel::kWarning,
         "accepting on %s: %s; %d of those who wait were closed so far, the next try is in %d ms "
         "(and %d more such pauses since the last message)",
         socket_->address().to_string(), std::generic_category().message(error),
         options_.counters->shed.get(), delay_ / std::chrono::milliseconds(1), suppressed);
  }
  pause(delay_);
  delay_ = std::min<IOLoop::Duration>(delay_ * 2, kLongestDelay);
  // At most one at a time: each is kept until a connection ends.
  if (options_.freed == nullptr || std::exchange(end_awaited_, true)) return;
  retry_when(*options_.freed, end_awaited_);
}

// ---- Pauses

// Held, it is the first to be asked again. Without an fd nobody was taken out of the queue.
Acceptor::Step Acceptor::wait_for_place(AcceptedConnection connection, const Verdict& verdict) {
  if (connection.fd) held_ = std::move(connection);
  if (!verdict.retry_in.has_value() && options_.admission != nullptr && !place_awaited_) {
    place_awaited_ = true;
    retry_when(options_.admission->places(), place_awaited_);
    return Step::kGoOn;  // a place may have been given back before anybody knew who waits
  }
  options_.counters->waits.add(1);
  pause(verdict.retry_in);
  return Step::kStop;
}

void Acceptor::pause(std::optional<IOLoop::Duration> retry_in) {
  paused_ = true;
  unwatch();
  loop_.remove_timeout(std::exchange(retry_, {}));
  if (retry_in.has_value()) retry_ = loop_.call_later(*retry_in, [this] { resume(); });
}

void Acceptor::retry_when(internal::PlaceSignal& signal, bool& awaited) {
  signal.wait(LoopAccess::queue(loop_), [&awaited, alive = std::weak_ptr<Acceptor*>(alive_)] {
    const std::shared_ptr<Acceptor*> acceptor = alive.lock();
    if (acceptor == nullptr) return;
    awaited = false;
    (*acceptor)->resume();
  });
}

// At the end of a pause; a signal may also come when there is none any more.
void Acceptor::resume() {
  if (socket_ == nullptr || !std::exchange(paused_, false)) return;
  loop_.remove_timeout(std::exchange(retry_, {}));
  // Whoever is held makes no event.
  if (held_.has_value()) accept_batch(/*last_call=*/false);
  if (paused_ || watch_ != nullptr) return;
  if (absl::Status status = watch(); !status.ok()) {
    logf(LogLevel::kError, "accepting on %s: %s; the next try is in %d ms",
         socket_->address().to_string(), status.ToString(), delay_ / std::chrono::milliseconds(1));
    pause(delay_);
    delay_ = std::min<IOLoop::Duration>(delay_ * 2, kLongestDelay);
  }
}

}  // namespace gyre
