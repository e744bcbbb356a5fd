// How a UDP socket sends: at once if it can, else as the kernel takes it; several datagrams of one
// size to one peer as one message.

#include <array>
#include <cerrno>

#include "absl/strings/str_format.h"
#include "gyre/loop/errno_status.h"
#include "gyre/loop/loop_access.h"
#include "gyre/net/udp_socket.h"

namespace gyre {
namespace {

using internal::IoResult;
using internal::LoopAccess;
using internal::OutgoingMessage;
using internal::UdpSendQueue;

// What is collected under a cork before it goes out all the same.
constexpr size_t kMaxCorked = 256;
// How long to wait before sending again when the kernel is out of buffers: no event tells.
constexpr std::chrono::milliseconds kNoBufferDelay(10);

// The kernel, or the device, cannot cut this message up.
bool is_segmentation_error(int error) {
  return error == EINVAL || error == EMSGSIZE || error == EIO || error == EOPNOTSUPP;
}

}  // namespace

absl::Status UDPSocket::check_sendable(std::string_view bytes) const {
  LoopAccess::assert_here(loop_, "UDPSocket::send");
  if (closed()) return absl::FailedPreconditionError("the UDP socket is closed");
  if (bytes.size() > kMaxDatagramBytes) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a datagram of %d bytes: %d is the most", bytes.size(), kMaxDatagramBytes));
  }
  return absl::OkStatus();
}

absl::Status UDPSocket::send(std::string_view bytes) {
  if (absl::Status status = check_sendable(bytes); !status.ok()) return status;
  if (peer_.size() == 0) {
    return absl::FailedPreconditionError("send() on a UDP socket without a peer: use send_to()");
  }
  return submit(bytes, nullptr);
}

absl::Status UDPSocket::send_to(std::string_view bytes, const SocketAddress& to) {
  if (absl::Status status = check_sendable(bytes); !status.ok()) return status;
  if (peer_.size() != 0) {
    return absl::FailedPreconditionError(
        absl::StrFormat("send_to(%s) on a UDP socket that is connected to %s: use send()",
                        to.to_string(), peer_.to_string()));
  }
  if (to.family() != family_ || to.port() == 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "sending to %s: %s", to.to_string(),
        to.family() != family_ ? "the socket is of another family" : "port 0 is nobody's"));
  }
  return submit(bytes, &to);
}

absl::Status UDPSocket::submit(std::string_view bytes, const SocketAddress* to) {
  // As the kernel does: an error that is pending is told, and the datagram is not sent.
  if (!pending_error_.ok()) return std::exchange(pending_error_, absl::OkStatus());
  if (corks_ > 0 || !queue_.empty()) {
    absl::Status status = enqueue(bytes, to);
    if (queue_.size() >= kMaxCorked || (corks_ == 0 && !retry_)) flush();
    return status;
  }
  const OutgoingMessage message{.bytes = bytes, .segment_bytes = 0, .to = to};
  const IoResult result = internal::send_messages(fileno(), abilities_, {&message, 1});
  ++stats_.send_calls;
  if (result.ok()) {
    ++stats_.sent;
    return absl::OkStatus();
  }
  if (result.would_block() || result.error == ENOBUFS || result.error == ENOMEM) {
    absl::Status status = enqueue(bytes, to);
    if (!queue_.empty()) wait_for_room(result.error);
    return status;
  }
  return internal::errno_status(result.error,
                                "sending to " + (to != nullptr ? *to : peer_).to_string());
}

absl::Status UDPSocket::enqueue(std::string_view bytes, const SocketAddress* to) {
  if (!queue_.has_room(bytes.size()) && !blocked_) {
    const std::shared_ptr<UDPSocket> keep = shared_from_this();
    flush();
    if (closed()) return absl::FailedPreconditionError("the UDP socket was closed meanwhile");
  }
  const bool taken = queue_.push(bytes, to != nullptr ? *to : SocketAddress());
  stats_.dropped = refused_datagrams_ + queue_.dropped();
  if (taken) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrFormat(
      "no room for a datagram of %d bytes: more than max_send_queue_bytes, %d, would wait",
      bytes.size(), max_send_queue_bytes_));
}

void UDPSocket::pop(size_t datagrams) {
  queue_.pop(datagrams);
  refused_ = false;
}

void UDPSocket::flush() {
  if (blocked_ || queue_.empty()) return;
  const std::shared_ptr<UDPSocket> keep = shared_from_this();  // who is told of errors may drop it
  while (!closed() && !blocked_ && !queue_.empty()) {
    if (!send_batch()) break;
  }
  update_interest();
}

bool UDPSocket::send_batch() {
  std::array<UdpSendQueue::Run, internal::kMaxSendBatch> runs;
  std::array<OutgoingMessage, internal::kMaxSendBatch> messages;
  const size_t count = queue_.front(runs, abilities_.gso ? max_segment_bytes_ : 0);
  for (size_t i = 0; i < count; ++i) {
    messages[i] = {.bytes = runs[i].bytes,
                   .segment_bytes = runs[i].segment_bytes,
                   .to = peer_.size() == 0 ? runs[i].to : nullptr};
  }
  const IoResult result =
      internal::send_messages(fileno(), abilities_, std::span(messages).first(count));
  stats_.send_calls += internal::system_calls(abilities_, result, count);
  if (!result.ok()) return handle_send_error(result.error, runs[0].datagrams);
  size_t datagrams = 0;
  for (int64_t i = 0; i < result.count; ++i) datagrams += runs[i].datagrams;
  stats_.sent += datagrams;
  pop(datagrams);
  return true;
}

bool UDPSocket::handle_send_error(int error, size_t datagrams) {
  if (error == EAGAIN || error == EWOULDBLOCK || error == ENOBUFS || error == ENOMEM) {
    wait_for_room(error);
    return false;
  }
  if (datagrams > 1 && is_segmentation_error(error)) {
    // Alone each of them goes out, in fragments if it has to.
    max_segment_bytes_ = error == EIO ? 0 : queue_.front_bytes() - 1;
    return true;
  }
  // An error of an earlier datagram, and this one was not looked at: it is sent after all.
  const bool earlier = error == ECONNREFUSED && !std::exchange(refused_, true);
  absl::Status status = internal::errno_status(
      error, "sending to " + (peer_.size() == 0 ? queue_.front_address() : peer_).to_string());
  if (!earlier) {
    pop(1);
    stats_.dropped = ++refused_datagrams_ + queue_.dropped();
  }
  report(std::move(status));
  return true;
}

void UDPSocket::wait_for_room(int error) {
  if (error != ENOBUFS && error != ENOMEM) {
    blocked_ = true;
    return update_interest();
  }
  if (retry_) return;
  retry_ = loop_.call_later(kNoBufferDelay, [weak = weak_from_this()] {
    const std::shared_ptr<UDPSocket> self = weak.lock();
    if (self == nullptr) return;
    self->retry_ = {};
    self->flush();
  });
}

}  // namespace gyre
