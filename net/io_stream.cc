#include "gyre/net/io_stream.h"

#include "absl/strings/str_format.h"
#include "gyre/loop/errno_status.h"
#include "gyre/loop/loop_access.h"
#include "gyre/net/socket_ops.h"
#include "gyre/net/stream_extra.h"

namespace gyre {

using internal::LoopAccess;

absl::StatusOr<std::shared_ptr<IOStream>> IOStream::create(IOLoop& loop, UniqueFd fd,
                                                           const IOStreamOptions& options) {
  if (loop.closed()) {
    return absl::FailedPreconditionError(
        absl::StrFormat("a stream on loop \"%s\", which is closed", loop.name()));
  }
  LoopAccess::assert_here(loop, "IOStream::create");
  absl::StatusOr<internal::StreamContextRef> context = internal::StreamContext::of(loop, options);
  if (!context.ok()) return context.status();
  auto stream = std::make_shared<IOStream>(Private(), *std::move(context), std::move(fd));
  if (absl::Status status = stream->attach(); !status.ok()) return status;
  return stream;
}

IOStream::IOStream(Private, internal::StreamContextRef context, UniqueFd fd)
    : context_(std::move(context)), fd_(std::move(fd)) {}

IOStream::~IOStream() {
  if (extra_ == nullptr) return;
  // Closed, and the loop was closed before it could say so.
  if (extra_->waiter != nullptr) extra_->waiter->dropped();
  while (extra_->first_writer != nullptr) extra_->first_writer->drop();
}

absl::Status IOStream::attach() {
  // Edge-triggered the interest changes at most once, so that no request costs an epoll_ctl. WRITE
  // is for those that had to wait: it would report each new socket once for nothing.
  if (absl::Status status = LoopAccess::add(loop(), fd_.get(), *this, IOLoop::READ, Trigger::kEdge);
      !status.ok()) {
    return status;
  }
  self_ = shared_from_this();
  context_->counters.connections.add(1);
  if (context_->options.idle_timeout > std::chrono::nanoseconds::zero()) {
    set_idle_timeout(context_->options.idle_timeout);
  }
  return absl::OkStatus();
}

IOStream::Extra& IOStream::extra() {
  if (extra_ == nullptr) {
    extra_ = std::make_unique<Extra>();
    extra_->read_timeout = context_->options.read_timeout;
    extra_->write_timeout = context_->options.write_timeout;
  }
  return *extra_;
}

void IOStream::released() {
  if (fd_) {  // the loop closes: nobody is told any more
    fd_.reset();
    context_->counters.connections.add(-1);
    if (armed()) context_->wheel().disarm(*this);
    if (connections_ != nullptr) std::exchange(connections_, nullptr)->remove(*this);
  }
  read_callback_ = nullptr;
  close_callback_ = nullptr;
  if (extra_ != nullptr && loop().closed()) {
    if (extra_->waiter != nullptr) std::exchange(extra_->waiter, nullptr)->dropped();
    while (extra_->first_writer != nullptr) extra_->first_writer->drop();
  }
  if (extra_ != nullptr) {
    extra_->next_read_callback = nullptr;
    extra_->drain_callback = nullptr;
    extra_->watermarks = nullptr;
    extra_->read_deadline = nullptr;
    extra_->write_deadline = nullptr;
  }
  self_.reset();  // may be the last use of this object
}

void IOStream::close_fd(int) {}  // released() does

void IOStream::change_interest() {
  if (closed()) return;
  const bool writes = has_output();
  bool reads = true;
  if (context_->edge_triggered) {
    if (!writes || writes_registered_) return;
  } else {
    // Without a reader READ still tells of the peer's end, until there is data that nobody wants
    // yet.
    reads = !input_ended_ && (wants_input() || lingering_ || !input_ready_);
    if (reads == reads_registered_ && writes == writes_registered_) return;
  }
  if (loop().closed()) return;
  reads_registered_ = reads;
  writes_registered_ = writes;
  const uint32_t interest = (reads ? IOLoop::READ : 0) | (writes ? IOLoop::WRITE : 0);
  if (absl::Status status = LoopAccess::update(loop(), fd_.get(), interest); !status.ok())
    finish_close(status);
}

// ---- Settings

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
