// How a stream writes: at once if it can, else as the kernel takes it.

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_format.h"
#include "gyre/loop/errno_status.h"
#include "gyre/loop/loop_access.h"
#include "gyre/net/io_stream.h"
#include "gyre/net/socket_ops.h"
#include "gyre/net/stream_delivery.h"

namespace gyre {
namespace {

using internal::IoResult;
using internal::LoopAccess;

// From here on a write in a read callback is sent as it is: copying would cost more than it saves.
constexpr size_t kMaxCorkedWrite = 16 * 1024;

// How long to wait before sending again when the kernel is out of buffers: no event tells.
constexpr std::chrono::milliseconds kNoBufferDelay(10);

}  // namespace

bool IOStream::submit(std::string_view bytes) {
  LoopAccess::assert_here(loop_, "IOStream::write");
  if (closed() || flushing_) return false;
  if (output_.size() + bytes.size() > max_write_buffer_size_ && !output_.empty()) {
    finish_close(absl::ResourceExhaustedError(absl::StrFormat(
        "more than max_write_buffer_size, %d bytes, wait to be sent", max_write_buffer_size_)));
    return false;
  }
  bytes_submitted_ += bytes.size();
  if (delivering_ && output_.empty() && bytes.size() < kMaxCorkedWrite) {
    const std::span<char> cork = LoopAccess::send_buffer(loop_);
    if (corked_ + bytes.size() > cork.size()) uncork();
    if (output_.empty()) {
      std::copy(bytes.begin(), bytes.end(), cork.begin() + corked_);
      corked_ += bytes.size();
      return true;
    }
  }
  uncork();
  send_or_queue(bytes);
  return !closed();
}

void IOStream::uncork() {
  if (corked_ == 0 || closed()) return;
  const std::span<char> cork = LoopAccess::send_buffer(loop_);
  send_or_queue({cork.data(), std::exchange(corked_, 0)});
}

void IOStream::send_or_queue(std::string_view bytes) {
  if (closed() || bytes.empty()) return;
  if (output_.empty()) {
    const IoResult result = internal::send(fd_.get(), bytes);
    if (result.ok()) {
      bytes_sent_ += result.count;
      bytes.remove_prefix(result.count);
    } else if (result.error == ENOBUFS || result.error == ENOMEM) {
      loop_.call_later(kNoBufferDelay, [self = shared_from_this()] { self->flush_output(); });
    } else if (!result.would_block()) {
      return finish_close(internal::errno_status(result.error, "send"));
    }
    if (bytes.empty()) return;
  }
  output_.append(bytes);
  output_waited_ = true;
  update_interest();
}

void IOStream::flush_output() {
  while (!closed() && !output_.empty()) {
    const IoResult result = internal::send(fd_.get(), output_.view());
    if (result.ok()) {
      bytes_sent_ += result.count;
      const bool all = static_cast<size_t>(result.count) == output_.size();
      output_.consume(result.count);
      if (!all) break;  // the socket's buffer is full: an event follows
    } else if (result.error == ENOBUFS || result.error == ENOMEM) {
      loop_.call_later(kNoBufferDelay, [self = shared_from_this()] { self->flush_output(); });
      break;
    } else if (result.would_block()) {
      break;
    } else {
      return finish_close(internal::errno_status(result.error, "send"));
    }
  }
  if (closed()) return;
  const std::shared_ptr<IOStream> keep = shared_from_this();
  resume_writers();
  if (!closed() && output_.empty()) output_drained();
}

void IOStream::output_drained() {
  update_interest();
  if (std::exchange(output_waited_, false) && drain_callback_) {
    // Moved out while it runs: it may set another.
    absl::AnyInvocable<void()> callback = std::exchange(drain_callback_, nullptr);
    Delivery delivery(*this);
    callback();
    delivery.finish();
    if (!drain_callback_) drain_callback_ = std::move(callback);
  }
  if (flushing_ && output_.empty()) finish_flushing();
}

void IOStream::resume_writers() {
  while (writers_ != nullptr && writers_->sent()) writers_->resume();
}

namespace internal {

bool WriteAwaiter::await_ready() {
  // Who waits for these bytes does not wait for those that may follow.
  stream_->uncork();
  return !accepted_ || stream_->closed() || sent();
}

absl::Status WriteAwaiter::await_resume() {
  if (accepted_ && sent()) return absl::OkStatus();
  if (stream_->closed()) return stream_->closed_status();
  return absl::FailedPreconditionError("write to a stream that is closing");
}

void WriteAwaiter::link() {
  WriteAwaiter** place = &stream_->writers_;
  while (*place != nullptr) place = &(*place)->next_;
  *place = this;
}

void WriteAwaiter::unlink() {
  WriteAwaiter** place = &stream_->writers_;
  while (*place != nullptr && *place != this) place = &(*place)->next_;
  if (*place == this) *place = next_;
  next_ = nullptr;
}

}  // namespace internal
}  // namespace gyre
