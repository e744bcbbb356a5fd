// How a stream ends.

#include "gyre/loop/errno_status.h"
#include "gyre/loop/loop_access.h"
#include "gyre/net/io_stream.h"
#include "gyre/net/socket_ops.h"
#include "gyre/net/stream_extra.h"

namespace gyre {
namespace {

using internal::LoopAccess;

// How long a stream that has sent everything waits for the peer to end, too.
constexpr std::chrono::seconds kLingerTime(5);

}  // namespace

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

void IOStream::reset(absl::Status reason) {
  if (closed()) return;
  internal::reset_when_closed(fd_.get());
  finish_close(std::move(reason));
}

void IOStream::close_when_flushed() {
  if (closed() || lingering_) return;
  flushing_ = true;
  write_ended_ = true;
  if (delivering_) return;  // the end of the delivery goes on here
  update_interest();
  finish_output();
}

void IOStream::shutdown_write() {
  if (closed() || write_ended_) return;
  write_ended_ = true;
  if (!delivering_) finish_output();
}

// No more is accepted: ends what is to end once everything is in the kernel.
void IOStream::finish_output() {
  if (closed() || delivering_ || has_output()) return;
  if (flushing_) return finish_flushing();
  if (shut_down_) return;
  shut_down_ = true;
  internal::shut_down_sending(fd_.get());
  if (input_ended_) finish_close(absl::OkStatus());
}

// To close now would reset the connection if the peer sent something that was not read, and the
// reset takes along what the peer has not received yet (RFC 1122, 4.2.2.13).
void IOStream::finish_flushing() {
  if (lingering_) return;
  if (input_ended_ || !internal::has_data_in_flight(fd_.get()))
    return finish_close(absl::OkStatus());
  lingering_ = true;
  internal::shut_down_sending(fd_.get());
  context_->wheel().arm(*this, kLingerTime, loop().time());
  input_ready_ = true;
  discard_input();
}

// OK: it was closed without a reason.
absl::Status IOStream::close_reason() const {
  if (receive_error_ != 0) return internal::errno_status(receive_error_, "recv");
  return extra_ == nullptr ? absl::OkStatus() : extra_->close_reason;
}

absl::Status IOStream::closed_status() const {
  absl::Status reason = close_reason();
  return reason.ok() ? absl::CancelledError("the stream is closed") : reason;
}

void IOStream::finish_close(absl::Status reason) {
  const std::shared_ptr<IOStream> keep = shared_from_this();
  // Closed from here on: a loop that does not run releases the stream inside of remove().
  UniqueFd fd = std::move(fd_);
  CloseCallback callback = std::exchange(close_callback_, nullptr);
  bytes_submitted_ = bytes_sent();
  context_->counters.connections.add(-1);
  if (delivering_) context_->corked = {};
  if (armed()) context_->wheel().disarm(*this);
  if (!reason.ok()) extra().close_reason = std::move(reason);
  if (extra_ != nullptr) {
    extra_->output.clear();
    extra_->read_deadline = nullptr;
    extra_->write_deadline = nullptr;
  }
  if (connections_ != nullptr) std::exchange(connections_, nullptr)->remove(*this);
  LoopAccess::remove_closing(loop(), fd.get());
  fd.reset();
  // Later: whoever waits would run inside the call that closes.
  if (has_request() || (extra_ != nullptr && extra_->first_writer != nullptr)) {
    loop().add_callback([keep] { keep->tell_waiters(); });
  }
  if (callback) report_closed_later(std::move(callback));
}

void IOStream::tell_waiters() {
  while (extra_->first_writer != nullptr) extra_->first_writer->wake();
  if (has_request()) fail_request(closed_status());
}

void IOStream::report_closed_later(CloseCallback callback) {
  loop().add_callback([keep = shared_from_this(), callback = std::move(callback)]() mutable {
    callback(keep->close_reason());
  });
}

}  // namespace gyre
