#include "gyre/net/udp_socket.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "absl/strings/str_format.h"
#include "gyre/loop/errno_status.h"
#include "gyre/loop/loop_access.h"
#include "gyre/net/socket_ops.h"

namespace gyre {
namespace {

using internal::IoResult;
using internal::LoopAccess;
using internal::UdpReceiveBuffer;

// One event receives at most so many batches, so that a flood does not own the loop.
constexpr int kMaxBatchesPerEvent = 4;

bool set_option(int fd, int level, int option, int value) {
  return ::setsockopt(fd, level, option, &value, sizeof(value)) == 0;
}

}  // namespace

absl::StatusOr<UniqueFd> UDPSocket::open(const SocketAddress& address, const UDPOptions& options,
                                         const std::string& what) {
  if (address.family() != AF_INET && address.family() != AF_INET6) {
    return absl::InvalidArgumentError(what + ": that is no IPv4 or IPv6 address");
  }
  if (options.receive_buffer_bytes < 0 || options.send_buffer_bytes < 0) {
    return absl::InvalidArgumentError(what + ": a negative buffer size");
  }
  absl::StatusOr<UniqueFd> fd = internal::new_datagram_socket(address.family());
  if (!fd.ok())
    return absl::Status(fd.status().code(), what + ": " + std::string(fd.status().message()));
  const std::array<std::array<int, 3>, 4> settings{{
      {SOL_SOCKET, SO_REUSEADDR, options.reuse_address},
      {SOL_SOCKET, SO_REUSEPORT, options.reuse_port},
      {SOL_SOCKET, SO_RCVBUF, options.receive_buffer_bytes},
      {SOL_SOCKET, SO_SNDBUF, options.send_buffer_bytes},
  }};
  for (const auto& [level, option, value] : settings) {
    if (value != 0 && !set_option(fd->get(), level, option, value)) {
      return internal::errno_status(errno, what);
    }
  }
  if (address.family() == AF_INET6 && !set_option(fd->get(), IPPROTO_IPV6, IPV6_V6ONLY, 1)) {
    return internal::errno_status(errno, what);
  }
  return fd;
}

absl::StatusOr<std::shared_ptr<UDPSocket>> UDPSocket::bind(IOLoop& loop, const SocketAddress& local,
                                                           const UDPOptions& options) {
  const std::string what = "binding UDP to " + local.to_string();
  absl::StatusOr<UniqueFd> fd = open(local, options, what);
  if (!fd.ok()) return fd.status();
  if (::bind(fd->get(), local.data(), local.size()) != 0) {
    return internal::bind_error(errno, "binding UDP to ", local);
  }
  return attach(
      std::shared_ptr<UDPSocket>(new UDPSocket(loop, *std::move(fd), SocketAddress(), options)));
}

absl::StatusOr<std::shared_ptr<UDPSocket>> UDPSocket::connect(IOLoop& loop,
                                                              const SocketAddress& peer,
                                                              const UDPOptions& options) {
  const std::string what = "connecting UDP to " + peer.to_string();
  absl::StatusOr<UniqueFd> fd = open(peer, options, what);
  if (!fd.ok()) return fd.status();
  if (peer.port() == 0) return absl::InvalidArgumentError(what + ": port 0 is nobody's");
  if (::connect(fd->get(), peer.data(), peer.size()) != 0) {
    return internal::errno_status(errno, what);
  }
  return attach(std::shared_ptr<UDPSocket>(new UDPSocket(loop, *std::move(fd), peer, options)));
}

UDPSocket::UDPSocket(IOLoop& loop, UniqueFd fd, const SocketAddress& peer,
                     const UDPOptions& options)
    : loop_(loop),
      loop_queue_(LoopAccess::queue(loop)),
      fd_(std::make_shared<Fd>(Fd{std::move(fd)})),
      peer_(peer),
      family_(SocketAddress::local_of(fd_->fileno()).value_or(SocketAddress()).family()),
      max_send_queue_bytes_(options.max_send_queue_bytes),
      abilities_(internal::find_udp_abilities(
          fd_->fileno(),
          {.batches = options.batches, .gso = options.segmentation, .gro = options.segmentation})),
      queue_(options.max_send_queue_bytes, options.when_full == UDPOptions::WhenFull::kDropOldest) {
}

UDPSocket::~UDPSocket() { close(); }

// The loop does not keep the socket: who made it does.
absl::StatusOr<std::shared_ptr<UDPSocket>> UDPSocket::attach(std::shared_ptr<UDPSocket> socket) {
  const absl::Status status = socket->loop_.add_handler(
      socket->fd_,
      [weak = socket->weak_from_this()](const std::shared_ptr<Fd>&, uint32_t events) {
        if (const std::shared_ptr<UDPSocket> self = weak.lock()) self->handle_events(events);
      },
      IOLoop::NONE);
  if (!status.ok()) return status;
  return socket;
}

void UDPSocket::close() {
  if (closed()) return;
  ReceiveAwaiter* waiter = std::exchange(waiter_, nullptr);
  if (!loop_queue_->closed()) {
    loop_.remove_timeout(retry_);
    loop_.remove_handler(fd_)
        .IgnoreError();  // it may have been closed together with the loop's fds
    if (waiter != nullptr) waiter->finish_later(absl::CancelledError("the socket was closed"));
  } else if (waiter != nullptr) {
    waiter->socket_ = nullptr;  // its coroutine is about to be destroyed
  }
  fd_->close();
  queue_.clear();
  inbox_.clear();
}

absl::StatusOr<SocketAddress> UDPSocket::local_address() const {
  if (closed()) return absl::FailedPreconditionError("the UDP socket is closed");
  return SocketAddress::local_of(fileno());
}

// ---- Events

void UDPSocket::handle_events(uint32_t events) {
  if ((events & IOLoop::ERROR) != 0) {
    const int error = internal::socket_error(fileno());
    if (error != 0) report(internal::errno_status(error, "UDP with " + peer_.to_string()));
  }
  if ((events & IOLoop::WRITE) != 0 && !closed()) {
    blocked_ = false;
    flush();
  }
  if ((events & IOLoop::READ) != 0 && !closed() && wants_input()) receive_batches();
  update_interest();
}

// READ stays where nobody waits, until an event shows that it is in the way: a coroutine that asks
// for one datagram after the other costs no system call for that.
void UDPSocket::update_interest() {
  if (closed() || loop_queue_->closed()) return;
  const uint32_t interest =
      (wants_input() ? IOLoop::READ : IOLoop::NONE) | (blocked_ ? IOLoop::WRITE : IOLoop::NONE);
  if (interest == interest_) return;
  if (loop_.update_handler(fileno(), interest).ok()) interest_ = interest;
}

// ---- Receiving

absl::Status UDPSocket::set_receive_callback(ReceiveCallback callback) {
  LoopAccess::assert_here(loop_, "UDPSocket::set_receive_callback");
  if (closed()) return absl::FailedPreconditionError("the UDP socket is closed");
  if (waiter_ != nullptr) return absl::FailedPreconditionError("a receive() waits on this socket");
  receive_callback_ = callback ? std::make_shared<ReceiveCallback>(std::move(callback)) : nullptr;
  update_interest();
  schedule_inbox();
  return absl::OkStatus();
}

void UDPSocket::schedule_inbox() {
  if (receive_callback_ == nullptr || inbox_.empty() || inbox_scheduled_) return;
  inbox_scheduled_ = loop_.add_callback([weak = weak_from_this()] {
    if (const std::shared_ptr<UDPSocket> self = weak.lock()) self->deliver_inbox();
  });
}

void UDPSocket::deliver_inbox() {
  inbox_scheduled_ = false;
  const Cork cork(*this);
  while (receive_callback_ != nullptr && !inbox_.empty()) {
    const UDPDatagram datagram = std::move(inbox_.front());
    inbox_.pop_front();
    const std::shared_ptr<ReceiveCallback> callback = receive_callback_;
    (*callback)(datagram.bytes, datagram.from);
  }
}

void UDPSocket::receive_batches() {
  const Cork cork(*this);
  UdpReceiveBuffer& buffer = UdpReceiveBuffer::of_this_thread();
  std::array<internal::ReceivedMessage, UdpReceiveBuffer::kMessages> messages;
  for (int i = 0; i < kMaxBatchesPerEvent && !closed() && wants_input(); ++i) {
    const IoResult result =
        internal::receive_messages(fileno(), abilities_, buffer, std::span(messages));
    stats_.receive_calls += internal::system_calls(abilities_, result, messages.size());
    if (result.would_block()) return;
    if (!result.ok()) {
      return report(internal::errno_status(result.error, "UDP with " + peer_.to_string()));
    }
    const auto count = static_cast<size_t>(result.count);
    for (size_t m = 0; m < count && !closed(); ++m) deliver(messages[m]);
    if (count < messages.size()) return;
  }
}

void UDPSocket::deliver(const internal::ReceivedMessage& message) {
  std::string_view rest = message.bytes;
  const size_t segment = message.segment_bytes > 0 ? message.segment_bytes : rest.size();
  do {  // a datagram may be empty
    deliver_datagram(rest.substr(0, segment), message.from);
    rest.remove_prefix(std::min(segment, rest.size()));
  } while (!rest.empty() && !closed());
}

void UDPSocket::deliver_datagram(std::string_view bytes, const SocketAddress& from) {
  ++stats_.received;
  // In the order of arrival: behind what waits already.
  if (receive_callback_ != nullptr && inbox_.empty()) {
    const std::shared_ptr<ReceiveCallback> callback = receive_callback_;
    (*callback)(bytes, from);
  } else if (waiter_ != nullptr) {
    std::exchange(waiter_, nullptr)->finish(UDPDatagram{std::string(bytes), from});
  } else {
    inbox_.push_back({std::string(bytes), from});
    schedule_inbox();
  }
}

void UDPSocket::report(absl::Status error) {
  if (waiter_ != nullptr) {
    std::exchange(waiter_, nullptr)->finish(std::move(error));
  } else if (error_callback_) {
    // Moved out while it runs: it may set another.
    auto callback = std::exchange(error_callback_, nullptr);
    // What it throws ends there: it may have been called where a cork ends.
    LoopAccess::call(loop_, [&] { callback(error); });
    if (!error_callback_) error_callback_ = std::move(callback);
  } else {
    pending_error_ = std::move(error);
  }
}

bool UDPSocket::ReceiveAwaiter::await_ready() {
  LoopAccess::assert_here(socket_->loop_, "UDPSocket::receive");
  if (socket_->closed()) {
    result_ = absl::FailedPreconditionError("the UDP socket is closed");
  } else if (socket_->receive_callback_ != nullptr) {
    result_ = absl::FailedPreconditionError("this socket has a receive callback");
  } else if (socket_->waiter_ != nullptr) {
    result_ = absl::FailedPreconditionError("another receive() waits on this socket");
  } else if (!socket_->inbox_.empty()) {
    result_ = std::move(socket_->inbox_.front());
    socket_->inbox_.pop_front();
  } else if (!socket_->pending_error_.ok()) {
    result_ = std::exchange(socket_->pending_error_, absl::OkStatus());
  } else {
    return false;
  }
  return true;
}

// Not inside of the call that closes the socket.
void UDPSocket::ReceiveAwaiter::finish_later(absl::Status why) {
  result_ = std::move(why);
  socket_ = nullptr;
  IOLoop& loop = root_->loop();
  loop.add_callback([root = std::exchange(root_, nullptr)->shared_from_this(), epoch = epoch_] {
    root->resume(epoch);
  });
}

}  // namespace gyre
