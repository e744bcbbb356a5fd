#include "gyre/net/socket_ops.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "gyre/loop/errno_status.h"

namespace gyre::internal {
namespace {

#if defined(MSG_NOSIGNAL)
constexpr int kSendFlags = MSG_NOSIGNAL;
#else
constexpr int kSendFlags = 0;  // SO_NOSIGPIPE is set on each socket instead
#endif

template <class Call>
IoResult retry(Call&& call) {
  for (;;) {
    const auto n = call();
    if (n >= 0) [[likely]]
      return {static_cast<int64_t>(n), 0};
    if (errno != EINTR) return {0, errno};
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

IoResult receive(int fd, char* buffer, size_t size) {
  return retry([&] { return ::recv(fd, buffer, size, 0); });
}

IoResult send(int fd, std::string_view data) {
  return retry([&] { return ::send(fd, data.data(), data.size(), kSendFlags); });
}

IoResult peek(int fd) {
  char byte;
  return retry([&] { return ::recv(fd, &byte, 1, MSG_PEEK); });
}

IoResult peek(int fd, char* buffer, size_t size) {
  return retry([&] { return ::recv(fd, buffer, size, MSG_PEEK); });
}

IoResult accept(int listener) {
#if defined(__linux__)
  return retry([&] { return ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC); });
#else
  IoResult result = retry([&] { return ::accept(listener, nullptr, nullptr); });
  if (result.ok() && !prepare(static_cast<int>(result.count))) {
    result.error = errno;
    ::close(static_cast<int>(result.count));
  }
  return result;
#endif
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

bool has_data_in_flight(int fd) {
  int bytes = 0;
  if (::ioctl(fd, FIONREAD, &bytes) == 0 && bytes > 0) return true;
#if defined(TIOCOUTQ)
  if (::ioctl(fd, TIOCOUTQ, &bytes) == 0 && bytes > 0) return true;  // SIOCOUTQ of tcp(7)
#endif
  return false;
}

}  // namespace gyre::internal
