#include "gyre/net/io_stream.h"

#include <cerrno>

#include "gyre/loop/errno_status.h"
#include "gyre/loop/loop_access.h"
#include "gyre/net/socket_ops.h"

namespace gyre {

using internal::LoopAccess;

// A socket that is being connected. Deletes itself when the loop has released it.
class IOStream::Connecting final : public internal::EventHandler {
 public:
  Connecting(IOLoop& loop, UniqueFd fd, std::string what, ConnectCallback done,
             const IOStreamOptions& options)
      : loop_(loop),
        fd_(std::move(fd)),
        what_(std::move(what)),
        done_(std::move(done)),
        options_(options) {}

  static void start(std::unique_ptr<Connecting> connecting) {
    Connecting& self = *connecting;
    absl::Status status =
        LoopAccess::add(self.loop_, self.fd_.get(), self, IOLoop::WRITE, Trigger::kLevel);
    if (status.ok()) {
      static_cast<void>(connecting.release());
    } else {
      IOLoop& loop = self.loop_;
      loop.add_callback(
          [connecting = std::move(connecting), status] { connecting->done_(status); });
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
    loop.add_callback([done = std::move(done), status = std::move(status)]() mutable {
      done(std::move(status));
    });
  };
  absl::StatusOr<UniqueFd> fd = internal::new_stream_socket(address.family());
  if (!fd.ok()) return fail(fd.status());
  std::string what = "connecting to " + address.to_string();
  const int error = internal::connect(fd->get(), address);
  if (error != 0 && error != EINPROGRESS) return fail(internal::errno_status(error, what));
  internal::set_no_delay(fd->get(), true);
  internal::set_inline_urgent_data(fd->get());
  Connecting::start(std::make_unique<Connecting>(loop, *std::move(fd), std::move(what),
                                                 std::move(done), options));
}

}  // namespace gyre
