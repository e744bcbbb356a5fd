#ifndef GYRE_NET_IO_STREAM_H_
#define GYRE_NET_IO_STREAM_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
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
#include "gyre/net/io_result.h"
#include "gyre/net/io_stream_options.h"
#include "gyre/net/loop_connections.h"
#include "gyre/net/read_request.h"
#include "gyre/net/socket_address.h"
#include "gyre/net/stream_context.h"
#include "gyre/net/write_queue.h"

namespace gyre {

namespace internal {
template <class T>
class ReadAwaiter;
class ReadWaiter;
class WriteAwaiter;
struct StreamAccess;

// Those who take an answer, and those who say where it ends.
template <class F, class T>
concept ReadCallbackFor = std::is_invocable_v<F&, absl::StatusOr<T>>;
template <class F>
concept ReadPredicate = std::is_invocable_r_v<std::optional<size_t>, F&, std::string_view>;
}  // namespace internal

// A connected, non-blocking stream socket on a loop: Tornado's IOStream. Loop thread only; it lives
// and dies on its loop. While it is open the loop keeps it alive, so that it may be dropped by all
// others.
//
//     open --close(), reset(), an error, a timeout----------------------------> closed
//       |--the peer ended--> flushing --all sent--------------------------------^
//       +--close_when_flushed()--> flushing --all sent--> lingering --the peer--+
//                                                                     ended, or 5 s passed
//
// Reading is one of two: a read callback, which is handed whatever comes, or one read_* at a time.
// An error or the peer's end closes the stream, once what it sent before was read. An idle stream
// holds no buffer; with its callbacks and its idle timeout it is one block of 192 bytes.
class IOStream final : private internal::EventHandler,
                       public std::enable_shared_from_this<IOStream> {
  struct Private {};

 public:
  using CloseCallback = absl::AnyInvocable<void(const absl::Status& reason)>;

  // Takes the fd of a connected socket over. Fails as IOLoop::add_handler does, InvalidArgument
  // names an option that makes no sense; the fd is closed then.
  static absl::StatusOr<std::shared_ptr<IOStream>> create(IOLoop& loop, UniqueFd fd,
                                                          const IOStreamOptions& options = {});

  // Connects, and calls done(absl::StatusOr<std::shared_ptr<IOStream>>) in a later iteration. The
  // error is the kernel's and names the address; DeadlineExceeded after connect_timeout. Never
  // called if the loop is closed before.
  using ConnectCallback = absl::AnyInvocable<void(absl::StatusOr<std::shared_ptr<IOStream>>)>;
  static void connect(IOLoop& loop, const SocketAddress& address, ConnectCallback done,
                      const IOStreamOptions& options = {});

  IOStream(Private, internal::StreamContextRef context, UniqueFd fd);
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
  // Each is awaited in a coroutine (co_await gives an absl::StatusOr), or given a
  // callback(absl::StatusOr), which runs in a later event. What was received before is the first to
  // answer, also after the stream has closed. Errors of all of them:
  //   InvalidArgument     an operand that nothing can answer; the message names it
  //   FailedPrecondition  another read is pending, or there is a read callback; it goes on
  //   OutOfRange          the peer has ended the stream before the answer was there
  //   ResourceExhausted   the answer has not come within max_bytes or max_buffer_size
  //   DeadlineExceeded    it has not come within read_timeout
  //   else                why the stream was closed: Cancelled for a close() without a reason
  // After ResourceExhausted and DeadlineExceeded the stream is closed.

  // `count` bytes, at most max_buffer_size; `partial`: at least one, at most `count`. Zero bytes
  // are there at once.
  internal::ReadAwaiter<std::string> read_bytes(size_t count, bool partial = false);
  template <internal::ReadCallbackFor<std::string> F>
  void read_bytes(size_t count, F callback, bool partial = false);

  // Fills `buffer`, whatever its size; `partial`: with at least one byte. Gives how many (size_t).
  // What fills a large buffer is received right there. The buffer is the stream's until the answer.
  internal::ReadAwaiter<size_t> read_into(std::span<char> buffer, bool partial = false);
  template <internal::ReadCallbackFor<size_t> F>
  void read_into(std::span<char> buffer, F callback, bool partial = false);

  // Up to and with the delimiter, which has at least one byte.
  internal::ReadAwaiter<std::string> read_until(std::string_view delimiter,
                                                size_t max_bytes = kNoLimit);
  template <internal::ReadCallbackFor<std::string> F>
  void read_until(std::string_view delimiter, F callback, size_t max_bytes = kNoLimit);

  // As much as `predicate` says: it is called with all that is there each time that more came, and
  // gives std::optional<size_t>, the length of the answer, or nothing as long as more is needed. It
  // is called inside of the read, too, and must not use the stream.
  template <internal::ReadPredicate P>
  internal::ReadAwaiter<std::string> read_until(P predicate, size_t max_bytes = kNoLimit);
  template <internal::ReadPredicate P, internal::ReadCallbackFor<std::string> F>
  void read_until(P predicate, F callback, size_t max_bytes = kNoLimit);

  // All that comes until the peer ends, at most max_buffer_size.
  internal::ReadAwaiter<std::string> read_until_close();
  template <internal::ReadCallbackFor<std::string> F>
  void read_until_close(F callback);

  // ---- Writing
  //
  // What is written goes to the kernel at once, if nothing waits; what it does not take waits and
  // is sent as it does. In a read callback of this stream what is written is sent together, after
  // the callback. The order is that of the calls. The result may be awaited, for an absl::Status:
  // OK once these bytes are in the kernel, else
  //   ResourceExhausted   max_write_buffer_size; see WriteOverflow
  //   FailedPrecondition  after shutdown_write() or close_when_flushed()
  //   DeadlineExceeded    the kernel took nothing for write_timeout
  //   else                why the stream was closed
  // or dropped: accepted() says whether the bytes were taken.

  // What has to wait is copied.
  internal::WriteAwaiter write(std::string_view bytes);
  // Several pieces as if they were one, in one system call and without a copy of what it takes.
  internal::WriteAwaiter write(std::span<const std::string_view> pieces);
  // Bytes that go to many streams: what has to wait is shared, not copied. InvalidArgument for
  // nullptr.
  internal::WriteAwaiter write(SharedBytes bytes);
  // `length` bytes of a regular file from `offset` on, which do not pass through the process.
  // InvalidArgument for what is no such file, OutOfRange beyond its end. A file that is cut short
  // meanwhile closes the stream: DataLoss. What is not in the page cache is read on the loop's
  // thread.
  internal::WriteAwaiter sendfile(SharedFile file, uint64_t offset = 0,
                                  uint64_t length = kToTheEnd);
  internal::WriteAwaiter sendfile(UniqueFd file, uint64_t offset = 0, uint64_t length = kToTheEnd);

  // What waits to be sent, but for files.
  size_t write_buffer_size() const;
  // Called each time that everything was sent after some had to wait.
  void set_drain_callback(absl::AnyInvocable<void()> callback);
  // Calls callback(true) in a later iteration once more than `high` bytes wait, and callback(false)
  // once no more than `low` do; by turns. InvalidArgument unless low < high. A null callback: none.
  absl::Status set_watermarks(size_t low, size_t high,
                              absl::AnyInvocable<void(bool above)> callback);

  // ---- Ending

  // Called once, in a later iteration, after the last read; OK where the peer ended, or close() was
  // called without a reason. Not called when the loop is closed.
  void set_close_callback(CloseCallback callback);
  // Closes the fd at once: what the kernel did not take is dropped, a pending read fails with the
  // reason (Cancelled if it is OK). Idempotent.
  void close(absl::Status reason = absl::OkStatus());
  // The same, and the peer gets a reset instead of an end, ahead of what the kernel has still to
  // send (TCP; another socket is just closed).
  void reset(absl::Status reason = absl::OkStatus());
  // Reads no more, and closes once everything was sent and the peer has had the time to receive it.
  void close_when_flushed();
  // Half-close: the peer sees an end once everything was sent; reading goes on. Once the peer has
  // ended, too, the stream closes. Idempotent.
  void shutdown_write();

  // close_when_flushed(), once the stream is idle: no request has come that is not answered. So a
  // server ends its connections without cutting an answer off. Busy is a stream
  //   - whose coroutine got the answer of a read_* and has not asked for the next one yet; the same
  //     for the callback form;
  //   - that has received bytes which nobody took (a part of a request), or which are still to be
  //     read by somebody who waits for them;
  //   - that has bytes to send;
  //   - that somebody keeps busy: a read callback which answers later than it returns has to.
  void close_when_idle();
  bool idle() const;

  // Keeps its stream busy as long as it exists. Move-only. Loop thread only.
  class [[nodiscard]] Busy {
   public:
    Busy(Busy&& other) noexcept = default;
    Busy& operator=(Busy&& other) noexcept {
      release();
      stream_ = std::move(other.stream_);
      return *this;
    }
    ~Busy() { release(); }

   private:
    friend class IOStream;
    explicit Busy(std::shared_ptr<IOStream> stream) : stream_(std::move(stream)) {}
    void release();

    std::shared_ptr<IOStream> stream_;
  };
  Busy keep_busy();

  bool closed() const { return !fd_; }

  // ---- Settings

  // TCP_NODELAY; nothing where the socket has no such option.
  void set_nodelay(bool enabled);
  // As in IOStreamOptions, for this stream; the time counts from now. Zero: none.
  void set_idle_timeout(std::chrono::nanoseconds timeout);
  void set_read_timeout(std::chrono::nanoseconds timeout);
  void set_write_timeout(std::chrono::nanoseconds timeout);

  IOLoop& loop() const { return context_->loop; }
  int fileno() const { return fd_.get(); }
  uint64_t bytes_received() const { return bytes_received_; }
  uint64_t bytes_sent() const;
  // Asked of the kernel at each call.
  absl::StatusOr<SocketAddress> local_address() const;
  absl::StatusOr<SocketAddress> peer_address() const;

  static constexpr size_t kNoLimit = std::numeric_limits<size_t>::max();
  static constexpr uint64_t kToTheEnd = std::numeric_limits<uint64_t>::max();

 private:
  template <class T>
  friend class internal::ReadAwaiter;
  friend class internal::WriteAwaiter;
  friend struct internal::StreamAccess;
  friend class internal::LoopConnections;
  class Connecting;
  class Delivery;
  class Deadline;
  struct Extra;

  using ReadCallback = absl::AnyInvocable<size_t(std::string_view)>;

  absl::Status attach();
  void handle_events(int fd, uint32_t events) override;
  void released() override;
  void close_fd(int fd) override;
  const void* owner() const override { return connections_; }
  std::string describe() const override;
  void expired() override;
  Extra& extra();

  absl::Status start_reading(ReadCallback callback);
  // True: the waiter was given the answer; else it is told later.
  bool request(internal::ReadWaiter& waiter);
  void cancel_request(const internal::ReadWaiter& waiter);
  bool answer_from_input(internal::ReadWaiter& waiter);

  bool has_input() const;
  bool has_request() const;
  bool wants_input() const;
  void read_input();
  bool receive_once();
  std::span<char> receive_space() const;
  void deliver_to_callback(std::string_view bytes);
  void deliver_to_request(std::string_view bytes);
  bool answer_request(std::string_view bytes, bool buffered);
  void check_limits();
  void wake_reader(bool answered);
  void fail_request(absl::Status reason);
  void input_ended();
  void notice_end_while_idle();
  void read_later();
  void go_on_reading();
  void discard_input();

  absl::Status submit(std::string_view bytes);
  absl::Status submit(std::span<const std::string_view> pieces);
  absl::Status submit(SharedBytes bytes);
  absl::Status submit(SharedFile file, uint64_t offset, uint64_t length);
  absl::Status check_writable(size_t added);
  void take(std::string_view bytes);
  absl::Status submit_otherwise(std::string_view bytes);
  bool cork(std::string_view bytes);
  bool cork_in_place(std::string_view bytes);
  bool cork_copy(std::string_view bytes);
  void uncork();
  void send_corked();
  void send_now(std::string_view bytes);
  void send_rest(std::string_view bytes, internal::IoResult result);
  void send_now(std::span<const std::string_view> pieces, const SharedBytes* shared,
                bool full = false);
  internal::IoResult send_pieces(std::span<const std::string_view> pieces);
  void queue_rest(std::span<const std::string_view> pieces, size_t sent, const SharedBytes* shared);
  bool has_output() const;
  void output_waits();
  void pump_output();
  bool send_front(uint64_t limit);
  bool send_failed(int error, const char* call, uint64_t dropped);
  void flush_later();
  void flush_output();
  void output_drained();
  void finish_output();
  void resume_writers();
  void check_high_watermark();
  void check_low_watermark();
  void tell_watermark();

  void start_read_deadline();
  void start_write_deadline();
  void touch() {
    if (armed()) context_->touch(*this);
  }
  void update_interest();
  void change_interest();
  void finish_flushing();
  void set_answering(bool answering);
  void check_idle_later();
  void close_if_idle();
  void receive_failed(int error);
  void finish_close(absl::Status reason);
  void tell_waiters();
  void report_closed_later(CloseCallback callback);
  absl::Status close_reason() const;
  absl::Status closed_status() const;

  // With the base classes 176 bytes, what an event needs first. Whatever an idle connection does
  // not have is in Extra.
  internal::StreamContextRef context_;
  UniqueFd fd_;
  bool input_ready_ : 1 = false;   // there may be more to read, and no event will say so again
  bool fresh_ : 1 = true;          // nobody has tried to read yet
  bool end_reported_ : 1 = false;  // edge: a short read is not the last
  bool input_ended_ : 1 = false;
  bool paused_ : 1 = false;
  bool read_scheduled_ : 1 = false;
  bool delivering_ : 1 = false;     // a reader of this stream is on the stack: writes are corked
  bool write_ended_ : 1 = false;    // no more is accepted
  bool flushing_ : 1 = false;       // closes once the output is empty
  bool shut_down_ : 1 = false;      // the peer was told that no more is sent
  bool lingering_ : 1 = false;      // has sent everything, and waits for the peer's end
  bool output_waited_ : 1 = false;  // since the output was empty last
  bool flush_scheduled_ : 1 = false;
  bool reads_registered_ : 1 = true;
  bool writes_registered_ : 1 = false;
  bool closes_when_idle_ : 1 = false;
  bool idle_check_scheduled_ : 1 = false;
  bool answering_ : 1 = false;  // a request was read, and the next one was not asked for
  uint8_t receive_error_ = 0;   // errno of the receive that ended the stream
  ReadCallback read_callback_;
  std::unique_ptr<Extra> extra_;
  uint64_t bytes_received_ = 0;
  uint64_t bytes_submitted_ = 0;  // sent, corked or queued

  // The server's books, while it is open.
  internal::LoopConnections* connections_ = nullptr;
  CloseCallback close_callback_;
  std::shared_ptr<IOStream> self_;  // while the loop has it registered
};

}  // namespace gyre

#include "gyre/net/stream_awaiters.h"  // IWYU pragma: export

#endif  // GYRE_NET_IO_STREAM_H_
