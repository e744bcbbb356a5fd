#include <cerrno>

#include "absl/strings/str_format.h"
#include "gyre/loop/errno_status.h"
#include "gyre/loop/loop_access.h"
#include "gyre/net/io_stream.h"
#include "gyre/net/socket_ops.h"

namespace gyre {

using internal::LoopAccess;

// A socket that is being connected. Deletes itself when the loop has released it.
class IOStream::Connecting final : public internal::EventHandler {
 public:
  Connecting(internal::StreamContextRef context, UniqueFd fd, const SocketAddress& address,
             ConnectCallback done)
      : context_(std::move(context)),
        fd_(std::move(fd)),
        address_(address),
        done_(std::move(done)) {}

  static void start(std::unique_ptr<Connecting> connecting) {
    Connecting& self = *connecting;
    IOLoop& loop = self.context_->loop;
    absl::Status status =
        LoopAccess::add(loop, self.fd_.get(), self, IOLoop::WRITE, Trigger::kLevel);
    if (!status.ok()) {
      loop.add_callback(
          [connecting = std::move(connecting), status] { connecting->done_(status); });
      return;
    }
    const std::chrono::nanoseconds timeout = self.context_->options.connect_timeout;
    if (timeout > timeout.zero()) self.context_->wheel().arm(self, timeout, loop.time());
    static_cast<void>(connecting.release());
  }

 private:
  void handle_events(int fd, uint32_t) override {
    disarm();
    LoopAccess::remove(context_->loop, fd);
    if (const int error = internal::socket_error(fd); error != 0) {
      return fail(internal::errno_status(error, what()));
    }
    // A port that nobody listens on may be the one that this end was given (RFC 793, 3.4).
    if (const auto own = SocketAddress::local_of(fd); own.ok() && *own == address_) {
      return fail(internal::errno_status(ECONNREFUSED, what()));
    }
    done_(create_connected());
  }
  void expired() override {
    LoopAccess::remove(context_->loop, fd_.get());
    fail(absl::DeadlineExceededError(
        absl::StrFormat("%s: connect_timeout: there was no answer within %g s", what(),
                        std::chrono::duration<double>(context_->options.connect_timeout).count())));
  }
  void released() override {
    disarm();
    delete this;
  }
  std::string describe() const override { return what(); }
  void close_fd(int) override {}  // released() does

  void disarm() {
    if (armed()) context_->wheel().disarm(*this);
  }
  void fail(absl::Status status) {
    fd_.reset();
    done_(std::move(status));
  }
  std::string what() const { return "connecting to " + address_.to_string(); }

  absl::StatusOr<std::shared_ptr<IOStream>> create_connected() {
    absl::StatusOr<std::shared_ptr<IOStream>> stream =
        create(context_->loop, std::move(fd_), context_->options);
    // The peer has hardly said anything yet.
    if (stream.ok()) (*stream)->fresh_ = false;
    return stream;
  }

  const internal::StreamContextRef context_;
  UniqueFd fd_;
  const SocketAddress address_;
  ConnectCallback done_;
};

void IOStream::connect(IOLoop& loop, const SocketAddress& address, ConnectCallback done,
                       const IOStreamOptions& options) {
  const auto fail = [&](absl::Status status) {
    loop.add_callback([done = std::move(done), status = std::move(status)]() mutable {
      done(std::move(status));
    });
  };
  if (loop.closed()) return;
  absl::StatusOr<internal::StreamContextRef> context = internal::StreamContext::of(loop, options);
  if (!context.ok()) return fail(context.status());
  absl::StatusOr<UniqueFd> fd = internal::new_stream_socket(address.family());
  if (!fd.ok()) return fail(fd.status());
  const int error = internal::connect(fd->get(), address);
  if (error != 0 && error != EINPROGRESS) {
    return fail(internal::errno_status(error, "connecting to " + address.to_string()));
  }
  internal::set_no_delay(fd->get(), true);
  internal::set_inline_urgent_data(fd->get());
  Connecting::start(
      std::make_unique<Connecting>(*std::move(context), *std::move(fd), address, std::move(done)));
}

}  // namespace gyre
