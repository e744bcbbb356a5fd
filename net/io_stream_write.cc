// How a stream writes: at once if it can. What waits for the kernel is in io_stream_output.cc.

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_format.h"
#include "gyre/loop/errno_status.h"
#include "gyre/loop/loop_access.h"
#include "gyre/net/io_stream.h"
#include "gyre/net/socket_ops.h"
#include "gyre/net/stream_extra.h"

namespace gyre {
namespace {

using internal::IoResult;
using internal::LoopAccess;

// From here on a write in a read callback is sent as it is: copying would cost more than it saves.
constexpr size_t kMaxCorkedWrite = 16 * 1024;

size_t total_size(std::span<const std::string_view> pieces) {
  size_t total = 0;
  for (const std::string_view piece : pieces) total += piece.size();
  return total;
}

bool is_inside(std::string_view bytes, std::span<const char> buffer) {
  return bytes.data() >= buffer.data() && bytes.data() < buffer.data() + buffer.size();
}

}  // namespace

size_t IOStream::write_buffer_size() const {
  return extra_ != nullptr ? extra_->output.memory() : 0;
}

uint64_t IOStream::bytes_sent() const {
  const uint64_t queued = extra_ != nullptr ? extra_->output.total() : 0;
  const uint64_t corked = delivering_ ? context_->corked.size() : 0;
  return bytes_submitted_ - queued - corked;
}

// ---- Taking

// What is sent back as it came need not be copied, unless more follows: nothing is received before
// the callback returns.
inline bool IOStream::cork_in_place(std::string_view bytes) {
  internal::StreamContext& context = *context_;
  if (!context.corked.empty() || !is_inside(bytes, context.receive_buffer)) return false;
  context.corked = bytes;
  bytes_submitted_ += bytes.size();
  return true;
}

// False: to be sent by itself, after what is corked.
inline bool IOStream::cork(std::string_view bytes) {
  if (has_output() || closed()) return false;
  return cork_in_place(bytes) || cork_copy(bytes);
}

// What was checked before.
inline void IOStream::take(std::string_view bytes) {
  if (delivering_) [[likely]] {
    if (cork(bytes)) return;
    uncork();
    if (closed()) return;
  }
  bytes_submitted_ += bytes.size();
  send_now(bytes);
}

absl::Status IOStream::submit(std::string_view bytes) {
  LoopAccess::assert_here(loop(), "IOStream::write");
  if (delivering_ && !write_ended_ && !closed() && !has_output() && cork_in_place(bytes)) [[likely]]
    return absl::OkStatus();
  return submit_otherwise(bytes);
}

// Apart, so that an answer that is sent back as it came costs no register more than it needs.
[[gnu::noinline]] absl::Status IOStream::submit_otherwise(std::string_view bytes) {
  if (absl::Status status = check_writable(bytes.size()); !status.ok()) return status;
  take(bytes);
  return closed() ? closed_status() : absl::OkStatus();
}

absl::Status IOStream::submit(std::span<const std::string_view> pieces) {
  LoopAccess::assert_here(loop(), "IOStream::write");
  const size_t size = total_size(pieces);
  if (absl::Status status = check_writable(size); !status.ok()) return status;
  if (delivering_ && size < kMaxCorkedWrite) {
    for (const std::string_view piece : pieces) take(piece);
  } else {
    uncork();
    if (closed()) return closed_status();
    bytes_submitted_ += size;
    send_now(pieces, nullptr);
  }
  return closed() ? closed_status() : absl::OkStatus();
}

absl::Status IOStream::submit(SharedBytes bytes) {
  LoopAccess::assert_here(loop(), "IOStream::write");
  if (bytes == nullptr) return absl::InvalidArgumentError("write: the shared bytes are null");
  if (absl::Status status = check_writable(bytes->size()); !status.ok()) return status;
  if (delivering_ && cork(*bytes)) return absl::OkStatus();
  uncork();
  if (closed()) return closed_status();
  bytes_submitted_ += bytes->size();
  const std::string_view view = *bytes;
  send_now({&view, 1}, &bytes);
  return closed() ? closed_status() : absl::OkStatus();
}

absl::Status IOStream::submit(SharedFile file, uint64_t offset, uint64_t length) {
  LoopAccess::assert_here(loop(), "IOStream::sendfile");
  if (file == nullptr) return absl::InvalidArgumentError("sendfile: the file is null");
  struct stat status;
  if (::fstat(file->get(), &status) != 0) {
    return internal::errno_status(errno, absl::StrFormat("sendfile of fd %d", file->get()));
  }
  if (!S_ISREG(status.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("sendfile: fd %d is not a regular file", file->get()));
  }
  const auto size = static_cast<uint64_t>(status.st_size);
  if (offset > size || (length != kToTheEnd && length > size - offset)) {
    return absl::OutOfRangeError(
        absl::StrFormat("sendfile: %d bytes from %d on of a file of %d", length, offset, size));
  }
  if (absl::Status writable = check_writable(0); !writable.ok()) return writable;
  uncork();
  if (closed()) return closed_status();
  length = std::min(length, size - offset);
  bytes_submitted_ += length;
  const bool waits = has_output();
  extra().output.append(internal::WriteQueue::File{std::move(file), offset, length});
  if (!waits) pump_output();
  return closed() ? closed_status() : absl::OkStatus();
}

// Why nothing more is taken, or OK.
absl::Status IOStream::check_writable(size_t added) {
  if (closed()) return closed_status();
  if (write_ended_) {
    return absl::FailedPreconditionError("write to a stream that is closing, or shut down");
  }
  const IOStreamOptions& options = context_->options;
  if (!has_output() || extra_->output.memory() + added <= options.max_write_buffer_size) {
    return absl::OkStatus();
  }
  absl::Status status = absl::ResourceExhaustedError(absl::StrFormat(
      "more than max_write_buffer_size, %d bytes, wait to be sent", options.max_write_buffer_size));
  if (options.on_write_overflow == WriteOverflow::kClose) finish_close(status);
  return status;
}

// ---- Corking

bool IOStream::cork_copy(std::string_view bytes) {
  if (bytes.size() >= kMaxCorkedWrite) return false;
  internal::StreamContext& context = *context_;
  char* const cork = context.cork_buffer.data();
  if (context.corked.size() + bytes.size() > context.cork_buffer.size()) {
    send_corked();
    if (has_output() || closed()) return false;
  } else if (!context.corked.empty() && context.corked.data() != cork) {
    std::memcpy(cork, context.corked.data(), context.corked.size());
  }
  if (!bytes.empty()) std::memcpy(cork + context.corked.size(), bytes.data(), bytes.size());
  context.corked = {cork, context.corked.size() + bytes.size()};
  bytes_submitted_ += bytes.size();
  return true;
}

void IOStream::uncork() {
  if (delivering_ && !context_->corked.empty()) send_corked();
}

void IOStream::send_corked() { send_now(std::exchange(context_->corked, {})); }

// ---- Sending

void IOStream::send_now(std::string_view bytes) {
  if (has_output() || closed() || bytes.empty()) [[unlikely]]
    return send_now({&bytes, 1}, nullptr, /*full=*/true);
  const IoResult result = internal::send(fd_.get(), bytes);
  context_->counters.bytes_sent.add(result.count);
  if (static_cast<size_t>(result.count) == bytes.size()) [[likely]]
    return touch();
  send_rest(bytes, result);
}

// What send() left.
[[gnu::noinline]] void IOStream::send_rest(std::string_view bytes, IoResult result) {
  if (!result.ok() && !send_failed(result.error, "send", bytes.size())) return;
  bytes.remove_prefix(result.count);
  send_now({&bytes, 1}, nullptr, /*full=*/true);
}

// Sends pieces that were submitted, or queues them. If there is just one it may be shared.
void IOStream::send_now(std::span<const std::string_view> pieces, const SharedBytes* shared,
                        bool full) {
  if (closed()) return;
  size_t sent = 0;
  if (!full && !has_output()) {
    const IoResult result = send_pieces(pieces);
    if (!result.ok() && !send_failed(result.error, "send", total_size(pieces))) return;
    sent = result.count;
    context_->counters.bytes_sent.add(sent);
    if (sent > 0) touch();
  }
  queue_rest(pieces, sent, shared);
}

IoResult IOStream::send_pieces(std::span<const std::string_view> pieces) {
  if (pieces.size() == 1) [[likely]] {
    if (pieces[0].empty()) return {};
    return internal::send(fd_.get(), pieces[0].substr(0, internal::kMaxIoBytes));
  }
  std::array<iovec, internal::kMaxGather> places;
  size_t count = 0;
  for (const std::string_view piece : pieces.first(std::min(pieces.size(), places.size()))) {
    if (!piece.empty()) places[count++] = {const_cast<char*>(piece.data()), piece.size()};
  }
  if (count == 0) return {};
  return internal::send_gather(fd_.get(), std::span(places).first(count));
}

void IOStream::queue_rest(std::span<const std::string_view> pieces, size_t sent,
                          const SharedBytes* shared) {
  for (std::string_view piece : pieces) {
    const size_t part = std::min(sent, piece.size());
    sent -= part;
    if (part == piece.size()) continue;
    if (shared != nullptr) {
      extra().output.append(*shared, part);
    } else {
      extra().output.append(piece.substr(part));
    }
  }
  if (has_output()) output_waits();
}

}  // namespace gyre
