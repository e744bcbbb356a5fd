// What a stream has still to send: it goes as the kernel takes it, and who writes is told how much
// waits.

#include <algorithm>
#include <array>
#include <cerrno>

#include "absl/strings/str_format.h"
#include "gyre/loop/errno_status.h"
#include "gyre/loop/loop_access.h"
#include "gyre/net/io_stream.h"
#include "gyre/net/socket_ops.h"
#include "gyre/net/stream_delivery.h"
#include "gyre/net/stream_extra.h"

namespace gyre {
namespace {

using internal::IoResult;
using internal::LoopAccess;

// One stream sends no more than this in one go, so that a fast reader does not own the loop.
constexpr uint64_t kMaxBytesPerFlush = 1024 * 1024;

// How long to wait before sending again when the kernel is out of buffers: no event tells.
constexpr std::chrono::milliseconds kNoBufferDelay(10);

}  // namespace

void IOStream::output_waits() {
  if (!output_waited_) start_write_deadline();
  output_waited_ = true;
  update_interest();
  if (!closed() && extra_->watermarks != nullptr) check_high_watermark();
}

// True: the kernel takes no more for now. False: the stream is closed, and `dropped` bytes that
// were submitted and are in no queue are lost.
bool IOStream::send_failed(int error, const char* call, uint64_t dropped) {
  if (error == EAGAIN || error == EWOULDBLOCK) return true;
  if (error == ENOBUFS || error == ENOMEM) {
    loop().call_later(kNoBufferDelay, [self = shared_from_this()] {
      if (!self->closed()) self->flush_output();
    });
    return true;
  }
  bytes_submitted_ -= dropped;
  finish_close(internal::errno_status(error, call));
  return false;
}

// Sends what waits, as far as the kernel takes it. Calls nobody.
void IOStream::pump_output() {
  uint64_t left = kMaxBytesPerFlush;
  while (has_output()) {
    const uint64_t before = extra_->output.total();
    if (left == 0) {
      flush_later();
      break;
    }
    const bool goes_on = send_front(left);
    if (closed()) return;
    left -= std::min(left, before - extra_->output.total());
    if (!goes_on) break;
  }
  if (has_output()) output_waits();
}

// False: the kernel takes no more for now.
bool IOStream::send_front(uint64_t limit) {
  internal::WriteQueue& output = extra_->output;
  const internal::WriteQueue::File* file = output.front_file();
  IoResult result;
  size_t tried = 0;
  if (file != nullptr) {
    tried = std::min(file->length, limit);
    result = internal::send_file(fd_.get(), file->file->get(), file->offset, tried);
    if (result.ok() && result.count == 0) {
      finish_close(absl::DataLossError("sendfile: the file was cut short while it was sent"));
      return false;
    }
  } else {
    std::array<iovec, internal::kMaxGather> places;
    const size_t count = output.gather(places);
    for (size_t i = 0; i < count; ++i) tried += places[i].iov_len;
    result = count == 1 ? internal::send(fd_.get(), {static_cast<const char*>(places[0].iov_base),
                                                     std::min(tried, internal::kMaxIoBytes)})
                        : internal::send_gather(fd_.get(), std::span(places).first(count));
  }
  if (!result.ok()) {
    send_failed(result.error, file != nullptr ? "sendfile" : "send", 0);
    return false;
  }
  output.consume(result.count);
  context_->counters.bytes_sent.add(result.count);
  touch();
  if (extra_->write_deadline != nullptr) extra_->write_deadline->touch();
  // Less of the bytes: the socket's buffer is full, and an event follows. Less of a file may have
  // other reasons.
  return file != nullptr ||
         static_cast<size_t>(result.count) == std::min(tried, internal::kMaxIoBytes);
}

void IOStream::flush_later() {
  if (flush_scheduled_) return;
  flush_scheduled_ = true;
  loop().add_callback([self = shared_from_this()] {
    self->flush_scheduled_ = false;
    if (!self->closed() && self->has_output()) self->flush_output();
  });
}

void IOStream::flush_output() {
  pump_output();
  if (closed()) return;
  resume_writers();
  if (!closed() && extra_->watermarks != nullptr) check_low_watermark();
  if (!closed() && !has_output()) output_drained();
}

void IOStream::output_drained() {
  if (extra_->write_deadline != nullptr) extra_->write_deadline->stop();
  update_interest();
  const bool waited = output_waited_;
  output_waited_ = false;
  if (waited && extra_->drain_callback) {
    // Moved out while it runs: it may set another.
    absl::AnyInvocable<void()> callback = std::exchange(extra_->drain_callback, nullptr);
    Delivery delivery(*this);
    callback();
    delivery.finish();
    if (!extra_->drain_callback && !closed()) extra_->drain_callback = std::move(callback);
  }
  if (write_ended_) finish_output();
  check_idle_later();
}

void IOStream::resume_writers() {
  while (extra_->first_writer != nullptr && extra_->first_writer->sent()) {
    extra_->first_writer->wake();
  }
}

// ---- Back-pressure

void IOStream::set_drain_callback(absl::AnyInvocable<void()> callback) {
  if (closed() || (extra_ == nullptr && !callback)) return;
  extra().drain_callback = std::move(callback);
}

absl::Status IOStream::set_watermarks(size_t low, size_t high,
                                      absl::AnyInvocable<void(bool above)> callback) {
  LoopAccess::assert_here(loop(), "IOStream::set_watermarks");
  if (low >= high) {
    return absl::InvalidArgumentError(
        absl::StrFormat("set_watermarks: low is %d, and not less than high, %d", low, high));
  }
  if (closed()) return closed_status();
  extra().watermarks = nullptr;
  if (!callback) return absl::OkStatus();
  extra_->watermarks = std::make_shared<Extra::Watermarks>(
      Extra::Watermarks{.low = low, .high = high, .callback = std::move(callback)});
  check_high_watermark();
  return absl::OkStatus();
}

void IOStream::check_high_watermark() {
  Extra::Watermarks& marks = *extra_->watermarks;
  if (marks.above || extra_->output.memory() <= marks.high) return;
  marks.above = true;
  // Later: the writer is in the middle of something. By then it may be over.
  loop().add_callback([self = shared_from_this()] {
    if (!self->closed() && self->extra_->watermarks != nullptr) self->tell_watermark();
  });
}

void IOStream::check_low_watermark() {
  Extra::Watermarks& marks = *extra_->watermarks;
  if (!marks.above || extra_->output.memory() > marks.low) return;
  marks.above = false;
  tell_watermark();
}

void IOStream::tell_watermark() {
  const std::shared_ptr<Extra::Watermarks> marks = extra_->watermarks;
  if (marks->told == marks->above) return;
  marks->told = marks->above;
  Delivery delivery(*this);
  marks->callback(marks->above);
  delivery.finish();
}

namespace internal {

bool WriteAwaiter::await_ready() {
  if (!refused_.ok()) return true;
  // Who waits for these bytes does not wait for those that may follow.
  stream_->uncork();
  return stream_->closed() || sent();
}

absl::Status WriteAwaiter::await_resume() {
  if (!refused_.ok()) return std::move(refused_);
  return sent() ? absl::OkStatus() : stream_->closed_status();
}

void WriteAwaiter::link() {
  IOStream::Extra& extra = stream_->extra();
  previous_ = extra.last_writer;
  (previous_ != nullptr ? previous_->next_ : extra.first_writer) = this;
  extra.last_writer = this;
}

void WriteAwaiter::unlink() {
  IOStream::Extra& extra = *stream_->extra_;
  (previous_ != nullptr ? previous_->next_ : extra.first_writer) = next_;
  (next_ != nullptr ? next_->previous_ : extra.last_writer) = previous_;
  previous_ = next_ = nullptr;
}

}  // namespace internal
}  // namespace gyre
