// The timeouts of a stream, on the loop's idle wheel.

#include "absl/strings/str_format.h"
#include "gyre/loop/loop_access.h"
#include "gyre/net/io_stream.h"
#include "gyre/net/stream_extra.h"

namespace gyre {

void IOStream::set_idle_timeout(std::chrono::nanoseconds timeout) {
  internal::LoopAccess::assert_here(loop(), "IOStream::set_idle_timeout");
  // What lingers counts the time until it gives up.
  if (closed() || lingering_ || loop().closed()) return;
  if (timeout > timeout.zero()) {
    context_->wheel().arm(*this, timeout, loop().time());
  } else if (armed()) {
    context_->wheel().disarm(*this);
  }
}

void IOStream::expired() {
  if (lingering_) return close();
  finish_close(
      absl::DeadlineExceededError("idle_timeout: nothing was received or sent for so long"));
}

void IOStream::set_read_timeout(std::chrono::nanoseconds timeout) {
  internal::LoopAccess::assert_here(loop(), "IOStream::set_read_timeout");
  if (closed() || loop().closed()) return;
  extra().read_timeout = timeout;
  extra_->read_deadline = nullptr;
  if (has_request()) start_read_deadline();
}

void IOStream::start_read_deadline() {
  if (extra_->read_timeout <= std::chrono::nanoseconds::zero()) return;
  if (extra_->read_deadline == nullptr) {
    extra_->read_deadline =
        std::make_unique<Deadline>(*this, "read_timeout: a read was not answered for so long");
  }
  extra_->read_deadline->start(extra_->read_timeout);
}

void IOStream::set_write_timeout(std::chrono::nanoseconds timeout) {
  internal::LoopAccess::assert_here(loop(), "IOStream::set_write_timeout");
  if (closed() || loop().closed()) return;
  extra().write_timeout = timeout;
  extra_->write_deadline = nullptr;
  if (has_output()) start_write_deadline();
}

void IOStream::start_write_deadline() {
  if (extra_->write_timeout <= std::chrono::nanoseconds::zero()) return;
  if (extra_->write_deadline == nullptr) {
    extra_->write_deadline = std::make_unique<Deadline>(
        *this, "write_timeout: nothing of what waits to be sent was taken for so long");
  }
  extra_->write_deadline->start(extra_->write_timeout);
}

void IOStream::Deadline::start(std::chrono::nanoseconds timeout) {
  stream_.context_->wheel().arm(*this, timeout, stream_.loop().time());
}

void IOStream::Deadline::expired() {
  stream_.finish_close(absl::DeadlineExceededError(name_));  // may destroy this
}

}  // namespace gyre
