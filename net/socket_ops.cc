#include "gyre/net/socket_ops.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <string>

#if defined(__linux__)
#include <signal.h>
#include <sys/sendfile.h>
#endif

#include "gyre/loop/errno_status.h"

namespace gyre::internal {
namespace {

template <class Call>
IoResult retry_interrupted(Call&& call) {
  for (;;) {
    const auto n = call();
    if (n >= 0) [[likely]]
      return {static_cast<int64_t>(n), 0};
    if (errno != EINTR) return {0, errno};
  }
}

// errno's text says what is wrong, and these what to do.
const char* cure_of_address(int error) {
  switch (error) {
    case EADDRINUSE:
      return "; another socket has the port (ss -ltnp shows whose, ss -lunp for UDP): stop that "
             "program, or choose another port (0: one that is free)";
    case EACCES:
      return "; ports below net.ipv4.ip_unprivileged_port_start (1024) need CAP_NET_BIND_SERVICE: "
             "choose a higher one, or grant it";
    case EADDRNOTAVAIL:
      return "; no interface of this machine has that address (ip addr lists them): 0.0.0.0 and :: "
             "are all of them";
    case EAFNOSUPPORT:
      return "; this machine does not have that family of addresses";
    default:
      return "";
  }
}

const char* cure_of_path(int error) {
  switch (error) {
    case EADDRINUSE:
      return "; another process listens there: stop it, or choose another name";
    case EACCES:
      return "; this user may not write to the folder of the socket: choose another one";
    case ENOENT:
      return "; the folder of the socket has to exist: make it, or choose another one";
    default:
      return "";
  }
}

#if !defined(__linux__)
bool prepare(int fd) {
#if defined(SO_NOSIGPIPE)
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof(on));
#endif
  return ::fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 && ::fcntl(fd, F_SETFL, O_NONBLOCK) == 0;
}
#endif

#if defined(__linux__)
// Keeps the SIGPIPE of a call that has no flag against it (sendfile) from this thread: it is
// blocked meanwhile and, where the call raised it, taken away again.
class SigpipeBlock {
 public:
  SigpipeBlock() {
    ::sigemptyset(&sigpipe_);
    ::sigaddset(&sigpipe_, SIGPIPE);
    sigset_t pending;
    ::sigpending(&pending);
    was_pending_ = ::sigismember(&pending, SIGPIPE) == 1;
    ::pthread_sigmask(SIG_BLOCK, &sigpipe_, &before_);
  }
  ~SigpipeBlock() {
    const int error = errno;
    if (error == EPIPE && !was_pending_) {
      const timespec at_once{};
      while (::sigtimedwait(&sigpipe_, nullptr, &at_once) < 0 && errno == EINTR) {
      }
    }
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    errno = error;
  }

 private:
  sigset_t sigpipe_;
  sigset_t before_;
  bool was_pending_;
};
#endif

}  // namespace

absl::StatusOr<UniqueFd> new_stream_socket(int family) {
#if defined(__linux__)
  UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return errno_status(errno, "socket");
#else
  UniqueFd fd(::socket(family, SOCK_STREAM, 0));
  if (!fd || !prepare(fd.get())) return errno_status(errno, "socket");
#endif
  return fd;
}

IoResult send_gather(int fd, std::span<iovec> pieces) {
  msghdr message{};
  message.msg_iov = pieces.data();
  message.msg_iovlen = pieces.size();
  return retry_interrupted([&] { return ::sendmsg(fd, &message, kSendFlags); });
}

#if defined(__linux__)

IoResult send_file(int fd, int file, uint64_t offset, size_t size) {
  const SigpipeBlock block;
  off_t position = static_cast<off_t>(offset);
  return retry_interrupted([&] { return ::sendfile(fd, file, &position, size); });
}

#else

IoResult send_file(int fd, int file, uint64_t offset, size_t size) {
  char buffer[16 * 1024];
  const IoResult read = retry_interrupted([&] {
    return ::pread(file, buffer, std::min(size, sizeof(buffer)), static_cast<off_t>(offset));
  });
  if (!read.ok() || read.count == 0) return read;
  return send(fd, {buffer, static_cast<size_t>(read.count)});
}

#endif

IoResult peek(int fd) {
  char byte;
  return retry_interrupted([&] { return ::recv(fd, &byte, 1, MSG_PEEK); });
}

IoResult peek(int fd, char* buffer, size_t size) {
  return retry_interrupted([&] { return ::recv(fd, buffer, size, MSG_PEEK); });
}

namespace {

IoResult accept_into(int listener, sockaddr* address, socklen_t* length) {
#if defined(__linux__)
  return retry_interrupted(
      [&] { return ::accept4(listener, address, length, SOCK_NONBLOCK | SOCK_CLOEXEC); });
#else
  IoResult result = retry_interrupted([&] { return ::accept(listener, address, length); });
  if (result.ok() && !prepare(static_cast<int>(result.count))) {
    result.error = errno;
    ::close(static_cast<int>(result.count));
  }
  return result;
#endif
}

}  // namespace

absl::Status bind_error(int error, const std::string& what, const SocketAddress& address) {
  const absl::Status status = errno_status(error, what + address.to_string());
  const char* cure = address.is_unix() ? cure_of_path(error) : cure_of_address(error);
  return absl::Status(status.code(), std::string(status.message()) + cure);
}

IoResult accept(int listener) { return accept_into(listener, nullptr, nullptr); }

IoResult accept(int listener, SocketAddress& peer) {
  sockaddr_storage address;
  socklen_t length = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  const IoResult result = accept_into(listener, generic, &length);
  if (result.ok()) peer = SocketAddress(generic, length);
  return result;
}

int connect(int fd, const SocketAddress& address) {
  if (::connect(fd, address.data(), address.size()) == 0) return 0;
  // Interrupted, a connect goes on by itself (connect(2), EINTR).
  return errno == EINTR ? EINPROGRESS : errno;
}

int socket_error(int fd) {
  int error = 0;
  socklen_t length = sizeof(error);
  if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return errno;
  return error;
}

void set_no_delay(int fd, bool enabled) {
  const int on = enabled;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

void set_inline_urgent_data(int fd) {
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on));
}

void shut_down_sending(int fd) { ::shutdown(fd, SHUT_WR); }

void reset_when_closed(int fd) {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

bool has_data_in_flight(int fd) {
  int bytes = 0;
  if (::ioctl(fd, FIONREAD, &bytes) == 0 && bytes > 0) return true;
#if defined(TIOCOUTQ)
  if (::ioctl(fd, TIOCOUTQ, &bytes) == 0 && bytes > 0) return true;  // SIOCOUTQ of tcp(7)
#endif
  return false;
}

}  // namespace gyre::internal
