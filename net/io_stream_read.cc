// How a stream reads: what the kernel has goes to the read callback, or answers the pending read.

#include <algorithm>

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

// One stream reads no more than this for one event, so that a fast sender does not own the loop.
constexpr uint64_t kMaxBytesPerEvent = 256 * 1024;

}  // namespace

bool IOStream::wants_input() const {
  return !input_ended_ && !paused_ && !flushing_ && (read_callback_ || request_.has_value());
}

void IOStream::read_input() {
  if (lingering_) return discard_input();
  if (!wants_input()) return notice_end_while_idle();
  const uint64_t start = bytes_received_;
  while (!closed() && input_ready_ && wants_input()) {
    if (bytes_received_ - start >= kMaxBytesPerEvent) return read_later();
    if (!receive_once()) break;
  }
  if (closed()) return;
  // The event told of the end, too; it does not come again.
  if (input_ready_ && end_reported_ && !wants_input()) return notice_end_while_idle();
  update_interest();
}

// False: there is nothing more to read now.
bool IOStream::receive_once() {
  const std::span<char> buffer = LoopAccess::receive_buffer(loop_);
  const IoResult result = internal::receive(fd_.get(), buffer.data(), buffer.size());
  if (result.ok() && result.count > 0) [[likely]] {
    bytes_received_ += result.count;
    // A short read took everything: the next byte, or the end, is a new event.
    if (static_cast<size_t>(result.count) < buffer.size() && !end_reported_) input_ready_ = false;
    deliver({buffer.data(), static_cast<size_t>(result.count)});
    return true;
  }
  input_ready_ = false;
  if (result.ok()) {
    input_ended();
  } else if (!result.would_block()) {
    finish_close(internal::errno_status(result.error, "recv"));
  }
  return false;
}

void IOStream::deliver(std::string_view bytes) {
  if (read_callback_) [[likely]]
    return deliver_to_callback(bytes);
  input_.append(bytes);
  answer_request();
}

void IOStream::deliver_to_callback(std::string_view bytes) {
  const bool buffered = !input_.empty();
  if (buffered) {
    input_.append(bytes);
    bytes = input_.view();
  }
  size_t taken;
  {
    Delivery delivery(*this);
    taken = std::min(read_callback_(bytes), bytes.size());
    delivery.finish();
  }
  if (next_read_callback_) read_callback_ = std::exchange(next_read_callback_, nullptr);
  if (closed()) return;
  if (buffered) {
    input_.consume(taken);
  } else {
    input_.append(bytes.substr(taken));
  }
  if (input_.size() > max_buffer_size_) {
    finish_close(absl::ResourceExhaustedError(
        absl::StrFormat("the read callback left more than %d bytes", max_buffer_size_)));
  }
}

absl::Status IOStream::start_reading(ReadCallback callback) {
  LoopAccess::assert_here(loop_, "IOStream::set_read_callback");
  if (closed()) return closed_status();
  if (request_.has_value())
    return absl::FailedPreconditionError("a read is pending on this stream");
  // The one that runs may replace itself.
  (delivering_ && read_callback_ ? next_read_callback_ : read_callback_) = std::move(callback);
  if (input_ready_ || !input_.empty()) read_later();
  update_interest();
  return absl::OkStatus();
}

void IOStream::pause_reading() {
  paused_ = true;
  update_interest();
}

void IOStream::resume_reading() {
  if (!std::exchange(paused_, false) || closed()) return;
  if (input_ready_ || input_ended_ || !input_.empty()) read_later();
  update_interest();
}

void IOStream::read_later() {
  if (std::exchange(read_scheduled_, true)) return;
  loop_.add_callback([self = shared_from_this()] {
    self->read_scheduled_ = false;
    self->go_on_reading();
  });
}

void IOStream::go_on_reading() {
  if (closed()) return;
  if (read_callback_ && !paused_ && !flushing_ && !input_.empty()) deliver_to_callback({});
  if (closed() || paused_) return;
  if (input_ended_ && !allow_half_close_) return close_when_flushed();
  if (input_ready_) read_input();
}

std::optional<absl::StatusOr<std::string>> IOStream::request(internal::ReadRequest request,
                                                             internal::ReadWaiter& waiter) {
  LoopAccess::assert_here(loop_, "a read of IOStream");
  if (request_.has_value() || read_callback_) {
    return absl::FailedPreconditionError(request_.has_value()
                                             ? "another read is pending on this stream"
                                             : "this stream has a read callback");
  }
  if (const auto* bytes = std::get_if<internal::ReadBytes>(&request);
      bytes != nullptr && !bytes->partial && bytes->count > max_buffer_size_) {
    return absl::InvalidArgumentError(
        absl::StrFormat("read_bytes(%d): max_buffer_size is %d", bytes->count, max_buffer_size_));
  }
  request_ = std::move(request);
  const internal::ReadMatch found = internal::match(*request_, input_.view());
  if (found.bytes.has_value()) {
    std::string result(input_.view().substr(0, *found.bytes));
    input_.consume(*found.bytes);
    request_.reset();
    return result;
  }
  if (closed() || input_ended_) {
    const bool rest = std::holds_alternative<internal::ReadUntilClose>(*request_);
    request_.reset();
    if (!rest)
      return input_ended_ ? absl::OutOfRangeError("the peer has ended the stream")
                          : closed_status();
    std::string result(input_.view());
    input_.clear();
    return result;
  }
  waiter_ = &waiter;
  if (found.unsatisfiable) {
    answer_request();  // closes the stream; the waiter is told why
  } else if (input_ready_) {
    read_later();
  }
  update_interest();
  return std::nullopt;
}

void IOStream::cancel_request(const internal::ReadWaiter& waiter) {
  if (waiter_ != &waiter) return;
  waiter_ = nullptr;
  request_.reset();
  update_interest();
}

void IOStream::answer_request() {
  const internal::ReadMatch found = internal::match(*request_, input_.view());
  if (found.bytes.has_value()) {
    std::string result(input_.view().substr(0, *found.bytes));
    input_.consume(*found.bytes);
    return finish_request(std::move(result));
  }
  if (found.unsatisfiable) {
    finish_close(absl::ResourceExhaustedError("the delimiter did not come within max_bytes"));
  } else if (input_.size() > max_buffer_size_) {
    finish_close(absl::ResourceExhaustedError(
        absl::StrFormat("a read collected more than max_buffer_size, %d bytes", max_buffer_size_)));
  }
}

void IOStream::finish_request(absl::StatusOr<std::string> result) {
  request_.reset();
  internal::ReadWaiter* waiter = std::exchange(waiter_, nullptr);
  if (waiter == nullptr) return;
  const std::shared_ptr<IOStream> keep = shared_from_this();
  Delivery delivery(*this);
  waiter->read_done(std::move(result));
  delivery.finish();
}

void IOStream::input_ended() {
  input_ended_ = true;
  const std::shared_ptr<IOStream> keep = shared_from_this();
  if (request_.has_value()) {
    if (std::holds_alternative<internal::ReadUntilClose>(*request_)) {
      std::string rest(input_.view());
      input_.clear();
      finish_request(std::move(rest));
    } else {
      finish_request(absl::OutOfRangeError("the peer has ended the stream"));
    }
  }
  if (closed()) return;
  // Paused: resume_reading() hands over what is left, and comes back here.
  if (paused_ && read_callback_ && !input_.empty()) return update_interest();
  if (!allow_half_close_) return close_when_flushed();
  if (read_callback_) deliver_to_callback({});
  if (!closed()) update_interest();
}

// Nobody reads: leaves the data where it is, but an end or an error closes the stream all the same.
void IOStream::notice_end_while_idle() {
  const IoResult result = internal::peek(fd_.get());
  if (result.ok() && result.count == 0) {
    input_ready_ = false;
    if (!input_ended_) input_ended();
  } else if (!result.ok()) {
    input_ready_ = false;
    if (!result.would_block()) finish_close(internal::errno_status(result.error, "recv"));
  }
  if (!closed()) update_interest();
}

// After everything was sent: what the peer still sends is of no interest, but its end is.
void IOStream::discard_input() {
  const std::span<char> buffer = LoopAccess::receive_buffer(loop_);
  for (uint64_t discarded = 0; discarded < kMaxBytesPerEvent;) {
    const IoResult result = internal::receive(fd_.get(), buffer.data(), buffer.size());
    if (result.would_block()) {
      input_ready_ = false;
      return update_interest();
    }
    if (!result.ok() || result.count == 0) return finish_close(absl::OkStatus());
    discarded += result.count;
  }
  read_later();
}

namespace internal {

void StreamAccess::deliver(IOStream& stream, absl::FunctionRef<void()> callback) {
  IOStream::Delivery delivery(stream);
  callback();
  delivery.finish();
}

}  // namespace internal
}  // namespace gyre
