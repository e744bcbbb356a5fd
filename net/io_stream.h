#ifndef GYRE_NET_IO_STREAM_H_
#define GYRE_NET_IO_STREAM_H_

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <limits>
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
#include "gyre/loop/task.h"
#include "gyre/loop/unique_fd.h"
#include "gyre/net/byte_buffer.h"
#include "gyre/net/loop_connections.h"
#include "gyre/net/read_request.h"
#include "gyre/net/socket_address.h"

namespace gyre {

struct IOStreamOptions {
  // What a read may collect before it is answered. Beyond it the stream closes: ResourceExhausted.
  size_t max_buffer_size = 100 * 1024 * 1024;
  // What may wait to be sent. A write that would add to it beyond this fails and closes the stream:
  // the peer does not read. (A single write is taken whole while nothing waits.)
  size_t max_write_buffer_size = 64 * 1024 * 1024;
  // After the peer's end, of which the read callback is told with no bytes, the stream stays open
  // for writing; close() it. Otherwise it closes once everything was sent.
  bool allow_half_close = false;
};

namespace internal {
class ReadAwaiter;
class WriteAwaiter;
struct StreamAccess;

// Who is told how a read ended: a coroutine, or a callback.
class ReadWaiter {
 public:
  virtual void read_done(absl::StatusOr<std::string> result) = 0;
  // The stream's loop is gone: nobody is told.
  virtual void read_dropped() = 0;

 protected:
  ~ReadWaiter() = default;
};
}  // namespace internal

// A connected, non-blocking stream socket on a loop: Tornado's IOStream. Loop thread only; it lives
// and dies on its loop. While it is open the loop keeps it alive, so that it may be dropped by all
// others.
//
//     open --close(), an error-----------------------------------------------> closed
//       |--the peer ended--> flushing --all sent--------------------------------^
//       +--close_when_flushed()--> flushing --all sent--> lingering --the peer--+
//                                                                     ended, or 5 s passed
//
// Reading is one of two: a read callback, which is handed whatever comes, or one read_* at a time.
// An error or the peer's end closes the stream, once what it sent before was read.
class IOStream final : public std::enable_shared_from_this<IOStream>,
                       private internal::EventHandler {
 public:
  using CloseCallback = absl::AnyInvocable<void(const absl::Status& reason)>;

  // Takes the fd of a connected socket over. Fails as IOLoop::add_handler does; the fd is closed
  // then.
  static absl::StatusOr<std::shared_ptr<IOStream>> create(IOLoop& loop, UniqueFd fd,
                                                          IOStreamOptions options = {});

  // Connects, and calls done(absl::StatusOr<std::shared_ptr<IOStream>>) in a later iteration.
  using ConnectCallback = absl::AnyInvocable<void(absl::StatusOr<std::shared_ptr<IOStream>>)>;
  static void connect(IOLoop& loop, const SocketAddress& address, ConnectCallback done,
                      IOStreamOptions options = {});

  ~IOStream();
  IOStream(const IOStream&) = delete;
  IOStream& operator=(const IOStream&) = delete;

  // ---- Reading, as it comes

  // Calls callback(std::string_view bytes) for what the peer sends, with no copy and no allocation:
  // the bytes lie in the loop's receive buffer, and are valid during the call. It may return how
  // many of them it took (size_t): the rest comes again, in front of what follows. void: all of
  // them. Replaces the callback; FailedPrecondition while a read_* is pending, or after close.
  template <class F>
  requires std::is_invocable_v<F&, std::string_view> absl::Status set_read_callback(F callback) {
    using Result = std::invoke_result_t<F&, std::string_view>;
    if constexpr (std::is_void_v<Result>) {
      return start_reading([f = std::move(callback)](std::string_view bytes) mutable {
        f(bytes);
        return bytes.size();
      });
    } else {
      static_assert(std::is_convertible_v<Result, size_t>,
                    "a read callback returns void or size_t");
      return start_reading(std::move(callback));
    }
  }
  // Nothing is read until resume_reading(): the peer is slowed down by TCP. Idempotent.
  void pause_reading();
  void resume_reading();

  // ---- Reading, one request at a time
  //
  // Each is awaited in a coroutine, or given a callback(absl::StatusOr<std::string>), which runs in
  // a later event. The peer's end, or an error: the reason. A second read while one is pending:
  // FailedPrecondition, the first goes on.

  // `count` bytes; `partial`: at least one, at most `count`.
  internal::ReadAwaiter read_bytes(size_t count, bool partial = false);
  template <class F>
  requires std::is_invocable_v<F&, absl::StatusOr<std::string>>
  void read_bytes(size_t count, F callback, bool partial = false);
  // Up to and with the delimiter. If it does not come within max_bytes the stream closes:
  // ResourceExhausted.
  internal::ReadAwaiter read_until(std::string_view delimiter, size_t max_bytes = kNoLimit);
  template <class F>
  requires std::is_invocable_v<F&, absl::StatusOr<std::string>>
  void read_until(std::string_view delimiter, F callback, size_t max_bytes = kNoLimit);
  // All that comes until the peer ends.
  internal::ReadAwaiter read_until_close();
  template <class F>
  requires std::is_invocable_v<F&, absl::StatusOr<std::string>>
  void read_until_close(F callback);

  // ---- Writing

  // Sends `bytes`, what the kernel does not take at once is copied and sent as it takes it. In a
  // read callback of this stream what is written is sent together, after the callback. The order is
  // that of the calls. The result may be awaited: OK once these bytes are in the kernel, else why
  // not.
  internal::WriteAwaiter write(std::string_view bytes);
  // What waits to be sent.
  size_t write_buffer_size() const { return output_.size(); }
  // Called each time that everything was sent after some had to wait.
  void set_drain_callback(absl::AnyInvocable<void()> callback) {
    drain_callback_ = std::move(callback);
  }

  // ---- Ending

  // Called once, in a later iteration, after the last read; OK where the peer ended, or close() was
  // called without a reason. Not called when the loop is closed.
  void set_close_callback(CloseCallback callback);
  // Closes the fd at once: what the kernel did not take is dropped, a pending read fails with the
  // reason (Cancelled if it is OK). Idempotent.
  void close(absl::Status reason = absl::OkStatus());
  // Reads no more, and closes once everything was sent and the peer has had the time to receive it.
  void close_when_flushed();
  bool closed() const { return !fd_; }

  // TCP_NODELAY; nothing where the socket has no such option.
  void set_nodelay(bool enabled);

  IOLoop& loop() const { return loop_; }
  int fileno() const { return fd_.get(); }
  uint64_t bytes_received() const { return bytes_received_; }
  uint64_t bytes_sent() const { return bytes_sent_; }
  // Asked of the kernel at each call.
  absl::StatusOr<SocketAddress> local_address() const;
  absl::StatusOr<SocketAddress> peer_address() const;

  static constexpr size_t kNoLimit = std::numeric_limits<size_t>::max();

 private:
  friend class internal::ReadAwaiter;
  friend class internal::WriteAwaiter;
  friend struct internal::StreamAccess;
  friend class internal::LoopConnections;
  class Connecting;

  using ReadCallback = absl::AnyInvocable<size_t(std::string_view)>;

  IOStream(IOLoop& loop, UniqueFd fd, const IOStreamOptions& options);
  absl::Status attach();

  void handle_events(int fd, uint32_t events) override;
  void released() override;
  void close_fd(int fd) override;

  class Delivery;

  absl::Status start_reading(ReadCallback callback);
  // The answer, if there is one already; else the waiter is told later.
  std::optional<absl::StatusOr<std::string>> request(internal::ReadRequest request,
                                                     internal::ReadWaiter& waiter);
  void cancel_request(const internal::ReadWaiter& waiter);

  bool wants_input() const;
  void read_input();
  bool receive_once();
  void deliver(std::string_view bytes);
  void deliver_to_callback(std::string_view bytes);
  void answer_request();
  void finish_request(absl::StatusOr<std::string> result);
  void input_ended();
  void notice_end_while_idle();
  void read_later();
  void go_on_reading();
  void discard_input();

  bool submit(std::string_view bytes);
  void send_or_queue(std::string_view bytes);
  void flush_output();
  void uncork();
  void output_drained();
  void finish_flushing();
  void resume_writers();

  void update_interest();
  void finish_close(absl::Status reason);
  void report_closed_later(CloseCallback callback);
  absl::Status closed_status() const;

  IOLoop& loop_;
  UniqueFd fd_;
  const bool edge_triggered_;
  const bool allow_half_close_;
  bool input_ready_ = false;   // there may be more to read, and no event will say so again
  bool end_reported_ = false;  // edge: a short read is not the last
  bool input_ended_ = false;
  bool paused_ = false;
  bool flushing_ = false;    // closes once the output is empty
  bool lingering_ = false;   // has sent everything, and waits for the peer's end
  bool delivering_ = false;  // a reader of this stream is on the stack: writes are corked
  bool read_scheduled_ = false;
  bool output_waited_ = false;  // since the output was empty last
  uint32_t interest_ = 0;       // level: what is registered
  const size_t max_buffer_size_;
  const size_t max_write_buffer_size_;
  uint64_t bytes_received_ = 0;
  uint64_t bytes_sent_ = 0;
  uint64_t bytes_submitted_ = 0;

  internal::ByteBuffer input_;   // received and not taken
  internal::ByteBuffer output_;  // submitted and not sent
  size_t corked_ = 0;            // bytes in the loop's send buffer

  ReadCallback read_callback_;
  ReadCallback next_read_callback_;  // set while the other one runs
  std::optional<internal::ReadRequest> request_;
  internal::ReadWaiter* waiter_ = nullptr;
  internal::WriteAwaiter* writers_ = nullptr;  // in order of submission
  CloseCallback close_callback_;
  absl::AnyInvocable<void()> drain_callback_;
  absl::Status close_reason_;

  std::shared_ptr<IOStream> self_;  // while the loop has it registered
  // The server's books, while it is open.
  std::shared_ptr<internal::LoopConnections> connections_;
  IOStream* previous_ = nullptr;
  IOStream* next_ = nullptr;
};

}  // namespace gyre

#include "gyre/net/stream_awaiters.h"  // IWYU pragma: export

#endif  // GYRE_NET_IO_STREAM_H_
