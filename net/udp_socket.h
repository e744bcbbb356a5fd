#ifndef GYRE_NET_UDP_SOCKET_H_
#define GYRE_NET_UDP_SOCKET_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/task_root.h"
#include "gyre/loop/unique_fd.h"
#include "gyre/net/socket_address.h"
#include "gyre/net/udp_ops.h"
#include "gyre/net/udp_send_queue.h"

namespace gyre {

struct UDPOptions {
  // SO_REUSEADDR: several sockets on one port, for multicast. SO_REUSEPORT: the kernel spreads the
  // datagrams over them.
  bool reuse_address = false;
  bool reuse_port = false;
  // SO_RCVBUF and SO_SNDBUF, bytes; 0: the kernel's default. A burst that does not fit is lost.
  int receive_buffer_bytes = 0;
  int send_buffer_bytes = 0;
  // What may wait because the kernel takes no more; beyond it: kRefuse fails the send, kDropOldest
  // makes room, for what is worthless when it is late.
  size_t max_send_queue_bytes = 1024 * 1024;
  enum class WhenFull { kRefuse, kDropOldest } when_full = WhenFull::kRefuse;
  // What is used of what the kernel has: several datagrams in one system call (recvmmsg, sendmmsg),
  // and in one pass through its network stack (UDP_SEGMENT, UDP_GRO). It shows only in the cost.
  bool batches = true;
  bool segmentation = true;
};

struct UDPDatagram {
  std::string bytes;
  SocketAddress from;
};

// A UDP socket on a loop. Loop thread only, its destruction too, which closes it; after the loop
// was destroyed it may only be destroyed. It may be destroyed in its own callbacks.
//
// An error that the network tells later (nobody listens on the peer's port: Unavailable) comes to
// who waits in receive(), else to the error callback, else as the result of the next send or
// receive(). The socket goes on.
class UDPSocket final : public std::enable_shared_from_this<UDPSocket> {
 public:
  // What UDP over IPv4 can carry.
  static constexpr size_t kMaxDatagramBytes = internal::UdpSendQueue::kMaxMessageBytes;

  // Receives from everybody, on a local address of this machine; port 0: the kernel picks one.
  // InvalidArgument for an address that is no IPv4 or IPv6 one; otherwise as ListenSocket::bind.
  static absl::StatusOr<std::shared_ptr<UDPSocket>> bind(IOLoop& loop, const SocketAddress& local,
                                                         const UDPOptions& options = {});
  // Exchanges datagrams with one peer alone.
  static absl::StatusOr<std::shared_ptr<UDPSocket>> connect(IOLoop& loop, const SocketAddress& peer,
                                                            const UDPOptions& options = {});
  ~UDPSocket();
  UDPSocket(const UDPSocket&) = delete;
  UDPSocket& operator=(const UDPSocket&) = delete;

  // ---- Receiving

  // callback(std::string_view bytes, const SocketAddress& from) for each datagram, with no copy and
  // no allocation: both are valid during the call. What it sends on this socket goes out together,
  // after a batch. If it throws, the rest of the batch is lost. Replaces the callback, nullptr:
  // stops receiving. FailedPrecondition while a receive() waits, or after close.
  using ReceiveCallback =
      absl::AnyInvocable<void(std::string_view bytes, const SocketAddress& from)>;
  absl::Status set_receive_callback(ReceiveCallback callback);

  // co_await receive(): absl::StatusOr<UDPDatagram>. FailedPrecondition while there is a receive
  // callback, or another receive() waits; Cancelled if the socket is closed meanwhile.
  class ReceiveAwaiter;
  ReceiveAwaiter receive();

  void set_error_callback(absl::AnyInvocable<void(const absl::Status&)> callback) {
    error_callback_ = std::move(callback);
  }

  // ---- Sending

  // OK: sent, or waits to be. To the peer of a connected socket; to anybody from another one.
  // FailedPrecondition for the wrong one of the two, or after close; InvalidArgument for a datagram
  // that is too large, a port 0, an address of another family; ResourceExhausted if the queue is
  // full; else what the kernel says.
  [[nodiscard]] absl::Status send(std::string_view bytes);
  [[nodiscard]] absl::Status send_to(std::string_view bytes, const SocketAddress& to);

  // While one lives, what is sent is collected, and goes out together when the last one ends.
  class Cork {
   public:
    explicit Cork(UDPSocket& socket) : socket_(socket.shared_from_this()) { ++socket.corks_; }
    ~Cork() {
      if (--socket_->corks_ == 0) socket_->flush();
    }
    Cork(const Cork&) = delete;
    Cork& operator=(const Cork&) = delete;

   private:
    const std::shared_ptr<UDPSocket> socket_;
  };

  // ---- The rest

  // What waits to be sent is dropped. Idempotent.
  void close();
  bool closed() const { return !fd_ || fd_->fileno() < 0; }
  int fileno() const { return fd_->fileno(); }
  IOLoop& loop() const { return loop_; }
  absl::StatusOr<SocketAddress> local_address() const;
  size_t send_queue_bytes() const { return queue_.bytes(); }

  struct Stats {
    uint64_t received = 0;       // datagrams
    uint64_t receive_calls = 0;  // system calls
    uint64_t sent = 0;
    uint64_t send_calls = 0;
    uint64_t dropped = 0;  // out of the queue: too old, or the kernel refused them
  };
  const Stats& stats() const { return stats_; }

 private:
  // Shared with the loop, which closes it when it is closed together with its fds.
  struct Fd {
    UniqueFd fd;
    int fileno() const { return fd.get(); }
    void close() { fd.reset(); }
  };
  UDPSocket(IOLoop& loop, UniqueFd fd, const SocketAddress& peer, const UDPOptions& options);
  static absl::StatusOr<UniqueFd> open(const SocketAddress& address, const UDPOptions& options,
                                       const std::string& what);
  static absl::StatusOr<std::shared_ptr<UDPSocket>> attach(std::shared_ptr<UDPSocket> socket);

  void handle_events(uint32_t events);
  void update_interest();
  bool wants_input() const { return receive_callback_ != nullptr || waiter_ != nullptr; }
  void receive_batches();
  void deliver(const internal::ReceivedMessage& message);
  void deliver_datagram(std::string_view bytes, const SocketAddress& from);
  void schedule_inbox();
  void deliver_inbox();
  void report(absl::Status error);

  absl::Status check_sendable(std::string_view bytes) const;
  absl::Status submit(std::string_view bytes, const SocketAddress* to);
  absl::Status enqueue(std::string_view bytes, const SocketAddress* to);
  void flush();
  bool send_batch();
  // False: nothing can be sent at the moment.
  bool handle_send_error(int error, size_t datagrams);
  void wait_for_room(int error);
  void pop(size_t datagrams);

  IOLoop& loop_;
  const std::shared_ptr<internal::CallbackQueue> loop_queue_;  // says whether the loop is closed
  std::shared_ptr<Fd> fd_;
  const SocketAddress peer_;  // of no family: not connected
  const int family_;
  const size_t max_send_queue_bytes_;
  internal::UdpAbilities abilities_;
  size_t max_segment_bytes_ = kMaxDatagramBytes;  // larger ones do not fit the path as segments
  uint32_t interest_ = 0;

  std::shared_ptr<ReceiveCallback> receive_callback_;  // shared with the call that is going on
  ReceiveAwaiter* waiter_ = nullptr;
  std::deque<UDPDatagram> inbox_;  // of a batch whose receiver took a part
  bool inbox_scheduled_ = false;
  absl::AnyInvocable<void(const absl::Status&)> error_callback_;
  absl::Status pending_error_;

  internal::UdpSendQueue queue_;
  uint64_t refused_datagrams_ = 0;  // by the kernel
  int corks_ = 0;
  bool blocked_ = false;  // until an event, or a timeout, says that there is room again
  bool refused_ = false;  // the first of the queue, once
  IOLoop::Timeout retry_;
  Stats stats_;
};

class [[nodiscard]] UDPSocket::ReceiveAwaiter {
 public:
  explicit ReceiveAwaiter(UDPSocket& socket) : socket_(&socket) {}
  ReceiveAwaiter(const ReceiveAwaiter&) = delete;
  ReceiveAwaiter& operator=(const ReceiveAwaiter&) = delete;
  ~ReceiveAwaiter() {
    if (root_ != nullptr && socket_ != nullptr) socket_->waiter_ = nullptr;
  }

  bool await_ready();
  template <internal::TaskPromise P>
  void await_suspend(std::coroutine_handle<P> coroutine) {
    root_ = coroutine.promise().root;
    epoch_ = root_->suspend(coroutine);
    socket_->waiter_ = this;
    socket_->update_interest();
  }
  absl::StatusOr<UDPDatagram> await_resume() { return std::move(result_); }

 private:
  friend class UDPSocket;

  // The socket does not know it any more.
  void finish(absl::StatusOr<UDPDatagram> result) {
    result_ = std::move(result);
    // Kept over the resumption: it may destroy the coroutine, and this with it.
    const std::shared_ptr<internal::TaskRoot> root =
        std::exchange(root_, nullptr)->shared_from_this();
    root->resume(epoch_);
  }
  void finish_later(absl::Status why);

  UDPSocket* socket_;                   // nullptr once it was closed
  internal::TaskRoot* root_ = nullptr;  // while it waits
  uint64_t epoch_ = 0;
  absl::StatusOr<UDPDatagram> result_ = absl::UnknownError("not received");
};

inline UDPSocket::ReceiveAwaiter UDPSocket::receive() { return ReceiveAwaiter(*this); }

}  // namespace gyre

#endif  // GYRE_NET_UDP_SOCKET_H_
