#include "gyre/net/io_stream.h"

#include "absl/strings/str_format.h"
#include "gyre/loop/errno_status.h"
#include "gyre/loop/loop_access.h"
#include "gyre/net/socket_ops.h"

namespace gyre {
namespace {

using internal::LoopAccess;

// How long a stream that has sent everything waits for the peer to end, too.
constexpr std::chrono::seconds kLingerTime(5);

}  // namespace

absl::StatusOr<std::shared_ptr<IOStream>> IOStream::create(IOLoop& loop, UniqueFd fd,
                                                           IOStreamOptions options) {
  if (loop.closed()) {
    return absl::FailedPreconditionError(
        absl::StrFormat("a stream on loop \"%s\", which is closed", loop.name()));
  }
  std::shared_ptr<IOStream> stream(new IOStream(loop, std::move(fd), options));
  if (absl::Status status = stream->attach(); !status.ok()) return status;
  return stream;
}

IOStream::IOStream(IOLoop& loop, UniqueFd fd, const IOStreamOptions& options)
    : loop_(loop),
      fd_(std::move(fd)),
      edge_triggered_(LoopAccess::supports_edge(loop)),
      allow_half_close_(options.allow_half_close),
      max_buffer_size_(options.max_buffer_size),
      max_write_buffer_size_(options.max_write_buffer_size) {}

IOStream::~IOStream() {
  // Closed, and the loop was closed before it could say so.
  if (waiter_ != nullptr) waiter_->read_dropped();
}

absl::Status IOStream::attach() {
  // Edge-triggered the interest never changes, so that no request costs an epoll_ctl.
  interest_ = edge_triggered_ ? IOLoop::READ | IOLoop::WRITE : IOLoop::READ;
  absl::Status status = LoopAccess::add(loop_, fd_.get(), *this, interest_, Trigger::kEdge);
  if (status.ok()) self_ = shared_from_this();
  return status;
}

// ---- Events

void IOStream::handle_events(int, uint32_t events) {
  if (events & (IOLoop::ERROR | PollEvents::kPeerEnded)) end_reported_ = true;
  if (!output_.empty() && (events & (IOLoop::WRITE | IOLoop::ERROR))) flush_output();
  if (!closed() && (events & (IOLoop::READ | IOLoop::ERROR))) {
    input_ready_ = true;
    read_input();
  }
}

void IOStream::released() {
  if (fd_) {  // the loop closes: nobody is told any more
    fd_.reset();
    if (connections_ != nullptr) connections_->remove(*this);
    if (waiter_ != nullptr) std::exchange(waiter_, nullptr)->read_dropped();
  }
  read_callback_ = nullptr;
  next_read_callback_ = nullptr;
  close_callback_ = nullptr;
  drain_callback_ = nullptr;
  self_.reset();  // may be the last use of this object
}

void IOStream::close_fd(int) {}  // released() does

void IOStream::update_interest() {
  if (edge_triggered_ || closed() || loop_.closed()) return;
  // Without a reader READ still tells of the peer's end, until there is data that nobody wants yet.
  const bool reads = !input_ended_ && (wants_input() || lingering_ || !input_ready_);
  const uint32_t interest = (reads ? IOLoop::READ : 0) | (output_.empty() ? 0 : IOLoop::WRITE);
  if (interest == interest_) return;
  interest_ = interest;
  if (absl::Status status = LoopAccess::update(loop_, fd_.get(), interest); !status.ok())
    finish_close(status);
}

// ---- Ending

void IOStream::set_close_callback(CloseCallback callback) {
  if (!closed()) {
    close_callback_ = std::move(callback);
  } else if (callback) {
    report_closed_later(std::move(callback));
  }
}

void IOStream::close(absl::Status reason) {
  if (closed()) return;
  // Written in the callback that closes now: as if it had been sent by the call.
  if (reason.ok()) uncork();
  if (!closed()) finish_close(std::move(reason));
}

void IOStream::close_when_flushed() {
  if (closed() || lingering_) return;
  flushing_ = true;
  if (delivering_) return;  // the end of the delivery goes on here
  uncork();
  if (closed()) return;
  update_interest();
  if (output_.empty()) finish_flushing();
}

// Everything is in the kernel. To close now would reset the connection if the peer sent something
// that was not read, and the reset takes along what the peer has not received yet (RFC
// 1122, 4.2.2.13).
void IOStream::finish_flushing() {
  if (closed() || lingering_ || delivering_) return;
  if (input_ended_ || !internal::has_data_in_flight(fd_.get()))
    return finish_close(absl::OkStatus());
  lingering_ = true;
  internal::shut_down_sending(fd_.get());
  loop_.call_later(kLingerTime, [stream = weak_from_this()] {
    if (const std::shared_ptr<IOStream> self = stream.lock()) self->close();
  });
  input_ready_ = true;
  discard_input();
}

absl::Status IOStream::closed_status() const {
  return close_reason_.ok() ? absl::CancelledError("the stream is closed") : close_reason_;
}

void IOStream::finish_close(absl::Status reason) {
  const std::shared_ptr<IOStream> keep = shared_from_this();
  // Closed from here on: a loop that does not run releases the stream inside of remove().
  UniqueFd fd = std::move(fd_);
  CloseCallback callback = std::exchange(close_callback_, nullptr);
  close_reason_ = std::move(reason);
  output_.clear();
  corked_ = 0;
  if (connections_ != nullptr) connections_->remove(*this);
  LoopAccess::remove(loop_, fd.get());
  fd.reset();
  // Later: whoever waits would run inside the call that closes.
  if (waiter_ != nullptr || writers_ != nullptr) {
    loop_.add_callback([keep] {
      while (keep->writers_ != nullptr) keep->writers_->resume();
      if (keep->request_.has_value()) keep->finish_request(keep->closed_status());
    });
  }
  if (callback) report_closed_later(std::move(callback));
}

void IOStream::report_closed_later(CloseCallback callback) {
  loop_.add_callback([self = shared_from_this(), callback = std::move(callback)]() mutable {
    callback(self->close_reason_);
  });
}

// ---- The rest

void IOStream::set_nodelay(bool enabled) {
  if (!closed()) internal::set_no_delay(fd_.get(), enabled);
}

absl::StatusOr<SocketAddress> IOStream::local_address() const {
  if (closed()) return closed_status();
  return SocketAddress::local_of(fd_.get());
}

absl::StatusOr<SocketAddress> IOStream::peer_address() const {
  if (closed()) return closed_status();
  return SocketAddress::peer_of(fd_.get());
}

}  // namespace gyre
