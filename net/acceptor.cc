#include "gyre/net/acceptor.h"

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "gyre/loop/log.h"
#include "gyre/net/socket_ops.h"

namespace gyre {
namespace {

// While no fd is left the socket stays readable: it is looked at again after these delays.
constexpr std::chrono::milliseconds kFirstDelay(10);
constexpr std::chrono::milliseconds kLongestDelay(1000);

}  // namespace

absl::StatusOr<std::unique_ptr<Acceptor>> Acceptor::create(IOLoop& loop, ListenSocket socket,
                                                           Sink sink) {
  std::unique_ptr<Acceptor> acceptor(new Acceptor(loop, std::move(socket), std::move(sink)));
  const absl::Status status = loop.add_handler(
      acceptor->socket_,
      [acceptor = acceptor.get()](const std::shared_ptr<ListenSocket>&, uint32_t) {
        acceptor->accept_batch();
      },
      IOLoop::READ);
  if (!status.ok()) return status;
  return acceptor;
}

Acceptor::Acceptor(IOLoop& loop, ListenSocket socket, Sink sink)
    : loop_(loop),
      socket_(std::make_shared<ListenSocket>(std::move(socket))),
      sink_(std::move(sink)),
      delay_(kFirstDelay) {
  batch_.reserve(kMaxBatch);
}

Acceptor::~Acceptor() {
  loop_.remove_timeout(retry_);
  if (socket_->fileno() >= 0)
    loop_.remove_handler(socket_).IgnoreError();  // it may be closed already
  socket_->close();
}

void Acceptor::accept_batch() {
  while (batch_.size() < kMaxBatch) {
    const internal::IoResult result = internal::accept(socket_->fileno());
    if (result.ok()) {
      batch_.emplace_back(static_cast<int>(result.count));
      delay_ = kFirstDelay;
    } else if (result.would_block() || !skip_or_back_off(result.error)) {
      break;
    }
  }
  struct Clearer {  // also when the sink throws
    std::vector<UniqueFd>& batch;
    ~Clearer() { batch.clear(); }
  } clearer{batch_};
  if (!batch_.empty()) sink_(batch_);
}

// True: that connection failed, the next one may not have.
bool Acceptor::skip_or_back_off(int error) {
  switch (error) {
    // accept(2): errors that are pending on the new connection.
    case ECONNABORTED:
    case EPERM:
    case EPROTO:
    case ENETDOWN:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENOPROTOOPT:
    case EOPNOTSUPP:
    case ETIMEDOUT:
      return true;
    default:
      break;
  }
  uint64_t suppressed;
  if (warnings_.allow(&suppressed)) {
    logf(LogLevel::kWarning, "accepting on %s: %s; the next try is in %d ms",
         socket_->address().to_string(), std::generic_category().message(error),
         delay_ / std::chrono::milliseconds(1));
  }
  back_off();
  return false;
}

void Acceptor::back_off() {
  const int fd = socket_->fileno();
  if (!loop_.update_handler(fd, IOLoop::NONE).ok()) return;
  retry_ = loop_.call_later(delay_, [this, fd] {
    retry_ = {};
    loop_.update_handler(fd, IOLoop::READ).IgnoreError();
  });
  delay_ = std::min<IOLoop::Duration>(delay_ * 2, kLongestDelay);
}

}  // namespace gyre
