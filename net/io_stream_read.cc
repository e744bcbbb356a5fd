// How a stream reads: what the kernel has goes to the read callback, or answers the pending read.

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_format.h"
#include "gyre/loop/loop_access.h"
#include "gyre/net/io_stream.h"
#include "gyre/net/socket_ops.h"
#include "gyre/net/stream_delivery.h"
#include "gyre/net/stream_extra.h"

namespace gyre {
namespace {

using internal::IoResult;
using internal::LoopAccess;

// One stream reads no more than this for one event, so that a fast sender does not own the loop.
constexpr uint64_t kMaxBytesPerEvent = 256 * 1024;

// From here on read_into receives into the reader's buffer: below, one call into the loop's buffer
// may answer several reads.
constexpr size_t kMinDirectRead = 16 * 1024;

}  // namespace

// ---- Events

inline void IOStream::deliver_to_callback(std::string_view bytes) {
  const bool buffered = has_input();
  if (buffered) [[unlikely]] {
    extra_->input.append(bytes);
    bytes = extra_->input.view();
  }
  size_t taken;
  {
    Delivery delivery(*this);
    taken = read_callback_(bytes);
    delivery.finish();
  }
  if (taken >= bytes.size() && extra_ == nullptr) [[likely]]
    return;
  if (extra_ != nullptr && extra_->next_read_callback) {
    read_callback_ = std::exchange(extra_->next_read_callback, nullptr);
  }
  if (closed()) return;
  taken = std::min(taken, bytes.size());
  if (buffered) {
    extra_->input.consume(taken);
  } else if (taken < bytes.size()) {
    extra().input.append(bytes.substr(taken));
  }
  if (has_input() && extra_->input.size() > context_->options.max_buffer_size) {
    finish_close(absl::ResourceExhaustedError(absl::StrFormat(
        "the read callback left more than %d bytes", context_->options.max_buffer_size)));
  }
}

// A request gets no more than max_buffer_size: what nobody has asked for stays with the kernel.
inline std::span<char> IOStream::receive_space() const {
  const std::span<char> buffer = context_->receive_buffer;
  if (read_callback_) [[likely]]
    return buffer;
  if (const auto* into = std::get_if<internal::ReadInto>(&extra_->waiter->request)) {
    const size_t wanted = into->size - into->filled;
    if (wanted >= kMinDirectRead) {
      return {into->data + into->filled, std::min(wanted, internal::kMaxIoBytes)};
    }
  }
  // One more shows that there are too many.
  const size_t room = context_->options.max_buffer_size - extra_->input.size();
  return room < buffer.size() ? buffer.first(room + 1) : buffer;
}

// False: there is nothing more to read now.
inline bool IOStream::receive_once() {
  const std::span<char> buffer = receive_space();
  const IoResult result = internal::receive(fd_.get(), buffer.data(), buffer.size());
  fresh_ = false;
  if (result.ok() && result.count > 0) [[likely]] {
    touch();
    bytes_received_ += result.count;
    context_->counters.bytes_received.add(result.count);
    // A short read took everything: the next byte, or the end, is a new event.
    if (static_cast<size_t>(result.count) < buffer.size() && !end_reported_) input_ready_ = false;
    const std::string_view bytes(buffer.data(), result.count);
    if (read_callback_) [[likely]] {
      deliver_to_callback(bytes);
    } else {
      deliver_to_request(bytes);
    }
    return true;
  }
  input_ready_ = false;
  if (result.ok()) {
    input_ended();
  } else if (!result.would_block()) {
    receive_failed(result.error);
  }
  return false;
}

inline void IOStream::read_input() {
  if (lingering_) return discard_input();
  if (!wants_input()) return notice_end_while_idle();
  const uint64_t limit = bytes_received_ + kMaxBytesPerEvent;
  do {
    if (!receive_once()) break;
    if (closed()) return;
    if (!input_ready_) [[likely]]
      return update_interest();
    if (bytes_received_ >= limit && wants_input()) return read_later();
  } while (wants_input());
  if (closed()) return;
  // The event told of the end, too; it does not come again.
  if (input_ready_ && end_reported_ && !wants_input()) return notice_end_while_idle();
  update_interest();
}

void IOStream::handle_events(int, uint32_t events) {
  if (events & (IOLoop::ERROR | PollEvents::kPeerEnded)) end_reported_ = true;
  if (has_output() && (events & (IOLoop::WRITE | IOLoop::ERROR))) {
    flush_output();
    if (closed()) return;
  }
  if (events & (IOLoop::READ | IOLoop::ERROR)) {
    input_ready_ = true;
    read_input();
  }
  if (closes_when_idle_) [[unlikely]]
    check_idle_later();
}

// ---- The read callback

absl::Status IOStream::start_reading(ReadCallback callback) {
  LoopAccess::assert_here(loop(), "IOStream::set_read_callback");
  if (closed()) return closed_status();
  if (has_request()) return absl::FailedPreconditionError("a read is pending on this stream");
  // The one that runs may replace itself.
  (delivering_ && read_callback_ ? extra().next_read_callback : read_callback_) =
      std::move(callback);
  if (input_ready_ || fresh_ || has_input()) read_later();
  update_interest();
  set_answering(false);
  return absl::OkStatus();
}

void IOStream::pause_reading() {
  paused_ = true;
  update_interest();
}

void IOStream::resume_reading() {
  if (!paused_ || closed()) return;
  paused_ = false;
  if (input_ready_ || input_ended_ || has_input()) read_later();
  update_interest();
}

void IOStream::read_later() {
  if (read_scheduled_) return;
  read_scheduled_ = true;
  loop().add_callback([self = shared_from_this()] {
    self->read_scheduled_ = false;
    self->go_on_reading();
    self->check_idle_later();
  });
}

void IOStream::go_on_reading() {
  if (closed()) return;
  if (lingering_) return read_input();
  if (read_callback_ && !paused_ && !flushing_ && has_input()) deliver_to_callback({});
  if (closed() || paused_) return;
  if (input_ended_ && !context_->options.allow_half_close) return close_when_flushed();
  // The first bytes of a new connection are often there, before any event says so.
  if (input_ready_ || (fresh_ && wants_input())) read_input();
}

// ---- Requests

bool IOStream::request(internal::ReadWaiter& waiter) {
  LoopAccess::assert_here(loop(), "a read of IOStream");
  const auto refuse = [&](absl::Status status) {
    waiter.answer(std::move(status), {});
    return true;
  };
  if (has_request() || read_callback_) {
    return refuse(absl::FailedPreconditionError(has_request()
                                                    ? "another read is pending on this stream"
                                                    : "this stream has a read callback"));
  }
  if (absl::Status status = internal::check(waiter.request, context_->options.max_buffer_size);
      !status.ok()) {
    return refuse(std::move(status));
  }
  if (answer_from_input(waiter)) {
    answering_ = true;
    return true;
  }
  if (closed())
    return refuse(input_ended_ ? absl::OutOfRangeError("the peer has ended the stream")
                               : closed_status());
  if (input_ended_) return refuse(absl::OutOfRangeError("the peer has ended the stream"));
  extra().waiter = &waiter;
  set_answering(false);
  start_read_deadline();
  if (has_input()) {
    check_limits();
    if (closed()) return false;
  }
  if (input_ready_ || fresh_) read_later();
  update_interest();
  return false;
}

// What was received before the request.
bool IOStream::answer_from_input(internal::ReadWaiter& waiter) {
  internal::ReadRequest& request = waiter.request;
  if (!has_input() && !closed() && !input_ended_ && !internal::wants_nothing(request)) [[likely]]
    return false;
  const std::string_view input = extra_ != nullptr ? extra_->input.view() : std::string_view();
  if (auto* into = std::get_if<internal::ReadInto>(&request)) {
    if (const size_t count = internal::fill(*into, input); count > 0) extra_->input.consume(count);
    if (!into->answered()) {
      // Its reader gets an error: the bytes are for the next one.
      if (closed() || input_ended_) extra().input.append({into->data, into->filled});
      return false;
    }
    waiter.answer(absl::OkStatus(), {into->data, into->filled});
    return true;
  }
  internal::ReadMatch found = internal::match(request, input);
  if ((closed() || input_ended_) && std::holds_alternative<internal::ReadUntilClose>(request)) {
    found.bytes = input.size();
  }
  if (!found.bytes.has_value()) return false;
  waiter.answer(absl::OkStatus(), input.substr(0, *found.bytes));
  if (*found.bytes > 0) extra_->input.consume(*found.bytes);
  return true;
}

void IOStream::deliver_to_request(std::string_view bytes) {
  internal::ByteBuffer& input = extra_->input;
  const bool buffered = !input.empty();
  if (buffered) {
    input.append(bytes);
    bytes = input.view();
  }
  bool answered;
  if (std::holds_alternative<internal::ReadUntilMatch>(extra_->waiter->request)) {
    Delivery delivery(*this);  // the predicate is the user's: if it throws the stream closes
    answered = answer_request(bytes, buffered);
    delivery.finish();
  } else {
    answered = answer_request(bytes, buffered);
  }
  if (answered) {
    wake_reader(/*answered=*/true);
  } else if (!closed()) {
    check_limits();
  }
}

// Takes the answer off `bytes`, and keeps the rest of them in the input, where they are already if
// they are `buffered`.
bool IOStream::answer_request(std::string_view bytes, bool buffered) {
  internal::ByteBuffer& input = extra_->input;
  size_t taken = 0;
  bool answered = false;
  if (auto* into = std::get_if<internal::ReadInto>(&extra_->waiter->request)) {
    taken = internal::fill(*into, bytes);
    answered = into->answered();
    if (answered) extra_->waiter->answer(absl::OkStatus(), {into->data, into->filled});
  } else {
    const internal::ReadMatch found = internal::match(extra_->waiter->request, bytes);
    answered = found.bytes.has_value();
    taken = found.bytes.value_or(0);
    if (answered) extra_->waiter->answer(absl::OkStatus(), bytes.substr(0, taken));
  }
  if (buffered) {
    input.consume(taken);
  } else {
    input.append(bytes.substr(taken));
  }
  return answered;
}

// Closes the stream if the pending request can have no answer any more; its waiter is told why.
void IOStream::check_limits() {
  const std::string_view input = extra_->input.view();
  const size_t max_buffer_size = context_->options.max_buffer_size;
  if (internal::is_exhausted(extra_->waiter->request, input.size())) {
    finish_close(absl::ResourceExhaustedError("the end of the read did not come within max_bytes"));
  } else if (input.size() > max_buffer_size) {
    finish_close(absl::ResourceExhaustedError(
        absl::StrFormat("a read collected more than max_buffer_size, %d bytes", max_buffer_size)));
  }
}

void IOStream::cancel_request(const internal::ReadWaiter& waiter) {
  if (extra_ == nullptr || extra_->waiter != &waiter) return;
  extra_->waiter = nullptr;
  if (const auto* into = std::get_if<internal::ReadInto>(&waiter.request)) {
    extra_->input.append({into->data, into->filled});  // for the next reader
  }
  if (extra_->read_deadline != nullptr) extra_->read_deadline->stop();
  update_interest();
}

// Its waiter has the answer, or the reason why there is none.
void IOStream::wake_reader(bool answered) {
  answering_ = answered;
  if (extra_->read_deadline != nullptr) extra_->read_deadline->stop();
  Delivery delivery(*this);
  std::exchange(extra_->waiter, nullptr)->wake();
  delivery.finish();
}

void IOStream::fail_request(absl::Status reason) {
  if (auto* into = std::get_if<internal::ReadInto>(&extra_->waiter->request)) {
    extra_->input.append({into->data, into->filled});
  }
  extra_->waiter->answer(std::move(reason), {});
  wake_reader(/*answered=*/false);
}

// ---- The peer's end

void IOStream::input_ended() {
  input_ended_ = true;
  if (has_request()) {
    if (std::holds_alternative<internal::ReadUntilClose>(extra_->waiter->request)) {
      extra_->waiter->answer(absl::OkStatus(), extra_->input.view());
      extra_->input.clear();
      wake_reader(/*answered=*/true);
    } else {
      fail_request(absl::OutOfRangeError("the peer has ended the stream"));
    }
  }
  if (closed()) return;
  // Paused: resume_reading() hands over what is left, and comes back here.
  if (paused_ && read_callback_ && has_input()) return update_interest();
  if (!context_->options.allow_half_close || shut_down_) return close_when_flushed();
  if (read_callback_) deliver_to_callback({});
  if (!closed()) update_interest();
}

// The reason is put into words when somebody asks for it: most connections that a peer resets have
// nobody who does.
void IOStream::receive_failed(int error) {
  receive_error_ = static_cast<uint8_t>(std::clamp(error, 0, UINT8_MAX));
  finish_close(absl::OkStatus());
}

// Nobody reads: leaves the data where it is, but an end or an error closes the stream all the same.
void IOStream::notice_end_while_idle() {
  const IoResult result = internal::peek(fd_.get());
  if (result.ok() && result.count == 0) {
    input_ready_ = false;
    if (!input_ended_) input_ended();
  } else if (!result.ok()) {
    input_ready_ = false;
    if (!result.would_block()) receive_failed(result.error);
  }
  if (!closed()) update_interest();
}

// After everything was sent: what the peer still sends is of no interest, but its end is.
void IOStream::discard_input() {
  const std::span<char> buffer = context_->receive_buffer;
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
