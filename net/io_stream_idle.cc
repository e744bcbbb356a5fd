// How a stream knows that it is idle, and closes then.

#include "gyre/loop/loop_access.h"
#include "gyre/net/io_stream.h"
#include "gyre/net/socket_ops.h"
#include "gyre/net/stream_extra.h"

namespace gyre {

using internal::IoResult;

bool IOStream::idle() const {
  return !answering_ && !delivering_ && !has_input() && !has_output() &&
         (extra_ == nullptr || extra_->busy_holds == 0);
}

void IOStream::close_when_idle() {
  internal::LoopAccess::assert_here(loop(), "IOStream::close_when_idle");
  if (closed()) return;
  closes_when_idle_ = true;
  check_idle_later();
}

IOStream::Busy IOStream::keep_busy() {
  internal::LoopAccess::assert_here(loop(), "IOStream::keep_busy");
  ++extra().busy_holds;
  return Busy(shared_from_this());
}

void IOStream::Busy::release() {
  if (stream_ == nullptr) return;
  const std::shared_ptr<IOStream> stream = std::exchange(stream_, nullptr);
  --stream->extra_->busy_holds;
  stream->check_idle_later();
}

void IOStream::set_answering(bool answering) {
  answering_ = answering;
  if (!answering) check_idle_later();
}

// Later: what made it idle is still on the stack, and may go on to make it busy.
void IOStream::check_idle_later() {
  if (!closes_when_idle_ || closed() || idle_check_scheduled_) return;
  idle_check_scheduled_ = true;
  loop().add_callback([self = shared_from_this()] {
    self->idle_check_scheduled_ = false;
    self->close_if_idle();
  });
}

void IOStream::close_if_idle() {
  if (closed() || flushing_ || !idle()) return;
  // What the kernel has of a request was received; its event is on the way to whoever reads.
  if (wants_input()) {
    const IoResult unread = internal::peek(fd_.get());
    if (unread.ok() && unread.count > 0) return;
  }
  close_when_flushed();
}

namespace internal {

Answering::Answering(std::shared_ptr<IOStream> stream)
    : queue_(LoopAccess::queue(stream->loop())), stream_(std::move(stream)) {}

Answering::~Answering() {
  const bool here = IOLoop::current(/*instance=*/false) == &stream_->loop();
  auto end = [stream = std::move(stream_), finished = finished_] {
    if (!finished) stream->close(absl::InternalError("the connection's handler threw"));
    StreamAccess::answered(*stream);
  };
  if (here) {
    end();
  } else {
    queue_->post(CallSite(), std::move(end));  // a loop that is closed has closed the stream, too
  }
}

}  // namespace internal
}  // namespace gyre
