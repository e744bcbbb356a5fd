#include "gyre/net/io_stream.h"

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_format.h"
#include "gyre/loop/errno_status.h"
#include "gyre/loop/loop_access.h"
#include "gyre/net/socket_ops.h"

namespace gyre {
namespace {

using internal::IoResult;
using internal::LoopAccess;

// One stream reads no more than this for one event, so that a fast sender does not own the loop.
constexpr uint64_t kMaxBytesPerEvent = 256 * 1024;

// From here on a write in a read callback is sent as it is: copying would cost more than it saves.
constexpr size_t kMaxCorkedWrite = 16 * 1024;

// How long a stream that has sent everything waits for the peer to end, too.
constexpr std::chrono::seconds kLingerTime(5);

// How long to wait before sending again when the kernel is out of buffers: no event tells.
constexpr std::chrono::milliseconds kNoBufferDelay(10);

}  // namespace

// While a callback of a stream is on the stack. Sends what it wrote when it is done; if it throws, the
// stream closes.
class IOStream::Delivery {
 public:
  explicit Delivery(IOStream& stream) : stream_(stream) { stream_.delivering_ = true; }
  ~Delivery() {
    stream_.delivering_ = false;
    stream_.uncork();
    if (!finished_) stream_.close(absl::InternalError("a callback of the stream threw an exception"));
    if (stream_.flushing_ && stream_.output_.empty()) stream_.finish_flushing();
  }
  void finish() { finished_ = true; }

 private:
  IOStream& stream_;
  bool finished_ = false;
};

absl::StatusOr<std::shared_ptr<IOStream>> IOStream::create(IOLoop& loop, UniqueFd fd,
                                                           IOStreamOptions options) {
  if (loop.closed()) {
    return absl::FailedPreconditionError(absl::StrFormat("a stream on loop \"%s\", which is closed", loop.name()));
  }
  std::shared_ptr<IOStream> stream(new IOStream(loop, std::move(fd), options));
  if (absl::Status status = stream->attach(); !status.ok()) return status;
  return stream;
}

IOStream::IOStream(IOLoop& loop, UniqueFd fd, const IOStreamOptions& options)
    : loop_(loop),
      fd_(std::move(fd)),
      edge_triggered_(LoopAccess::supports_edge(loop)),
      allow_half_close_(options.allow_half_close),
      max_buffer_size_(options.max_buffer_size),
      max_write_buffer_size_(options.max_write_buffer_size) {}

IOStream::~IOStream() {
  // Closed, and the loop was closed before it could say so.
  if (waiter_ != nullptr) waiter_->read_dropped();
}

absl::Status IOStream::attach() {
  // Edge-triggered the interest never changes, so that no request costs an epoll_ctl.
  interest_ = edge_triggered_ ? IOLoop::READ | IOLoop::WRITE : IOLoop::READ;
  absl::Status status = LoopAccess::add(loop_, fd_.get(), *this, interest_, Trigger::kEdge);
  if (status.ok()) self_ = shared_from_this();
  return status;
}

// A socket that is being connected. Deletes itself when the loop has released it.
class IOStream::Connecting final : public internal::EventHandler {
 public:
  Connecting(IOLoop& loop, UniqueFd fd, std::string what, ConnectCallback done, const IOStreamOptions& options)
      : loop_(loop), fd_(std::move(fd)), what_(std::move(what)), done_(std::move(done)), options_(options) {}

  static void start(std::unique_ptr<Connecting> connecting) {
    Connecting& self = *connecting;
    absl::Status status = LoopAccess::add(self.loop_, self.fd_.get(), self, IOLoop::WRITE, Trigger::kLevel);
    if (status.ok()) {
      static_cast<void>(connecting.release());
    } else {
      IOLoop& loop = self.loop_;
      loop.add_callback([connecting = std::move(connecting), status] { connecting->done_(status); });
    }
  }

 private:
  void handle_events(int fd, uint32_t) override {
    LoopAccess::remove(loop_, fd);
    if (const int error = internal::socket_error(fd); error != 0) {
      fd_.reset();
      return done_(internal::errno_status(error, what_));
    }
    done_(create(loop_, std::move(fd_), options_));
  }
  void released() override { delete this; }
  void close_fd(int) override {}  // released() does

  IOLoop& loop_;
  UniqueFd fd_;
  const std::string what_;
  ConnectCallback done_;
  const IOStreamOptions options_;
};

void IOStream::connect(IOLoop& loop, const SocketAddress& address, ConnectCallback done,
                       IOStreamOptions options) {
  const auto fail = [&](absl::Status status) {
    loop.add_callback([done = std::move(done), status = std::move(status)]() mutable { done(std::move(status)); });
  };
  absl::StatusOr<UniqueFd> fd = internal::new_stream_socket(address.family());
  if (!fd.ok()) return fail(fd.status());
  std::string what = "connecting to " + address.to_string();
  const int error = internal::connect(fd->get(), address);
  if (error != 0 && error != EINPROGRESS) return fail(internal::errno_status(error, what));
  internal::set_no_delay(fd->get(), true);
  internal::set_inline_urgent_data(fd->get());
  Connecting::start(std::make_unique<Connecting>(loop, *std::move(fd), std::move(what), std::move(done), options));
}

// ---- Events

void IOStream::handle_events(int, uint32_t events) {
  if (events & (IOLoop::ERROR | PollEvents::kPeerEnded)) end_reported_ = true;
  if (!output_.empty() && (events & (IOLoop::WRITE | IOLoop::ERROR))) flush_output();
  if (!closed() && (events & (IOLoop::READ | IOLoop::ERROR))) {
    input_ready_ = true;
    read_input();
  }
}

void IOStream::released() {
  if (fd_) {  // the loop closes: nobody is told any more
    fd_.reset();
    if (connections_ != nullptr) connections_->remove(*this);
    if (waiter_ != nullptr) std::exchange(waiter_, nullptr)->read_dropped();
  }
  read_callback_ = nullptr;
  next_read_callback_ = nullptr;
  close_callback_ = nullptr;
  drain_callback_ = nullptr;
  self_.reset();  // may be the last use of this object
}

void IOStream::close_fd(int) {}  // released() does

void IOStream::update_interest() {
  if (edge_triggered_ || closed() || loop_.closed()) return;
  // Without a reader READ still tells of the peer's end, until there is data that nobody wants yet.
  const bool reads = !input_ended_ && (wants_input() || lingering_ || !input_ready_);
  const uint32_t interest = (reads ? IOLoop::READ : 0) | (output_.empty() ? 0 : IOLoop::WRITE);
  if (interest == interest_) return;
  interest_ = interest;
  if (absl::Status status = LoopAccess::update(loop_, fd_.get(), interest); !status.ok()) finish_close(status);
}

// ---- Reading

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
  if (read_callback_) [[likely]] return deliver_to_callback(bytes);
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
  if (request_.has_value()) return absl::FailedPreconditionError("a read is pending on this stream");
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
    return absl::InvalidArgumentError(absl::StrFormat("read_bytes(%d): max_buffer_size is %d", bytes->count,
                                                      max_buffer_size_));
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
    if (!rest) return input_ended_ ? absl::OutOfRangeError("the peer has ended the stream") : closed_status();
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

// ---- Writing

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

// ---- Ending

void IOStream::set_close_callback(CloseCallback callback) {
  if (!closed()) {
    close_callback_ = std::move(callback);
  } else if (callback) {
    report_closed_later(std::move(callback));
  }
}

void IOStream::close(absl::Status reason) {
  if (closed()) return;
  // Written in the callback that closes now: as if it had been sent by the call.
  if (reason.ok()) uncork();
  if (!closed()) finish_close(std::move(reason));
}

void IOStream::close_when_flushed() {
  if (closed() || lingering_) return;
  flushing_ = true;
  if (delivering_) return;  // the end of the delivery goes on here
  uncork();
  if (closed()) return;
  update_interest();
  if (output_.empty()) finish_flushing();
}

// Everything is in the kernel. To close now would reset the connection if the peer sent something that
// was not read, and the reset takes along what the peer has not received yet (RFC 1122, 4.2.2.13).
void IOStream::finish_flushing() {
  if (closed() || lingering_ || delivering_) return;
  if (input_ended_ || !internal::has_data_in_flight(fd_.get())) return finish_close(absl::OkStatus());
  lingering_ = true;
  internal::shut_down_sending(fd_.get());
  loop_.call_later(kLingerTime, [stream = weak_from_this()] {
    if (const std::shared_ptr<IOStream> self = stream.lock()) self->close();
  });
  input_ready_ = true;
  discard_input();
}

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

absl::Status IOStream::closed_status() const {
  return close_reason_.ok() ? absl::CancelledError("the stream is closed") : close_reason_;
}

void IOStream::finish_close(absl::Status reason) {
  const std::shared_ptr<IOStream> keep = shared_from_this();
  // Closed from here on: a loop that does not run releases the stream inside of remove().
  UniqueFd fd = std::move(fd_);
  CloseCallback callback = std::exchange(close_callback_, nullptr);
  close_reason_ = std::move(reason);
  output_.clear();
  corked_ = 0;
  if (connections_ != nullptr) connections_->remove(*this);
  LoopAccess::remove(loop_, fd.get());
  fd.reset();
  // Later: whoever waits would run inside the call that closes.
  if (waiter_ != nullptr || writers_ != nullptr) {
    loop_.add_callback([keep] {
      while (keep->writers_ != nullptr) keep->writers_->resume();
      if (keep->request_.has_value()) keep->finish_request(keep->closed_status());
    });
  }
  if (callback) report_closed_later(std::move(callback));
}

void IOStream::report_closed_later(CloseCallback callback) {
  loop_.add_callback([self = shared_from_this(), callback = std::move(callback)]() mutable {
    callback(self->close_reason_);
  });
}

// ---- The rest

void IOStream::set_nodelay(bool enabled) {
  if (!closed()) internal::set_no_delay(fd_.get(), enabled);
}

absl::StatusOr<SocketAddress> IOStream::local_address() const {
  if (closed()) return closed_status();
  return SocketAddress::local_of(fd_.get());
}

absl::StatusOr<SocketAddress> IOStream::peer_address() const {
  if (closed()) return closed_status();
  return SocketAddress::peer_of(fd_.get());
}

namespace internal {

void StreamAccess::deliver(IOStream& stream, absl::FunctionRef<void()> callback) {
  IOStream::Delivery delivery(stream);
  callback();
  delivery.finish();
}

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
