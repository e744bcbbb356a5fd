#include "gyre/net/unix_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_format.h"
#include "gyre/loop/errno_status.h"
#include "gyre/net/socket_address.h"
#include "gyre/net/socket_ops.h"

namespace gyre {
namespace {

#if defined(MSG_CMSG_CLOEXEC)
constexpr int kReceiveFlags = MSG_CMSG_CLOEXEC;
#else
constexpr int kReceiveFlags = 0;  // each is marked after it came
#endif

std::string on_fd(const char* what, int fd) { return absl::StrFormat("%s on fd %d", what, fd); }

absl::Status failed(int error, const char* what, int fd) {
  if (error == EAGAIN || error == EWOULDBLOCK) {
    return absl::UnavailableError(on_fd(what, fd) + ": would block");
  }
  return internal::errno_status(error, on_fd(what, fd));
}

// Room for a control message with `count` fds; aligned as the kernel wants it.
std::vector<cmsghdr> control_buffer(size_t count) {
  return std::vector<cmsghdr>(CMSG_SPACE(count * sizeof(int)) / sizeof(cmsghdr) + 1);
}

void take_fds(msghdr& message, std::vector<UniqueFd>& fds) {
  for (cmsghdr* control = CMSG_FIRSTHDR(&message); control != nullptr;
       control = CMSG_NXTHDR(&message, control)) {
    if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(control) + i * sizeof(int), sizeof(fd));
      if (kReceiveFlags == 0) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
      fds.emplace_back(fd);
    }
  }
}

}  // namespace

absl::StatusOr<PeerCredentials> peer_credentials(int fd) {
  const char* what = "credentials of the peer";
  // The kernel answers for sockets of other kinds and for unconnected ones, too, with -1.
  const absl::StatusOr<SocketAddress> peer = SocketAddress::peer_of(fd);
  if (!peer.ok()) {
    return absl::Status(peer.status().code(),
                        on_fd(what, fd) + ": " + std::string(peer.status().message()));
  }
  if (!peer->is_unix()) {
    return absl::InvalidArgumentError(on_fd(what, fd) + ": it is no Unix socket");
  }
#if defined(__linux__)
  ucred credentials{};
  socklen_t size = sizeof(credentials);
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
    return failed(errno, what, fd);
  }
  // 0: a process that this one's namespace does not show (pid_namespaces(7)).
  const std::optional<pid_t> pid =
      credentials.pid > 0 ? std::optional<pid_t>(credentials.pid) : std::nullopt;
  return PeerCredentials{pid, credentials.uid, credentials.gid};
#else
  PeerCredentials credentials{};
  if (::getpeereid(fd, &credentials.uid, &credentials.gid) != 0) return failed(errno, what, fd);
  return credentials;
#endif
}

absl::StatusOr<size_t> send_fds(int socket, std::span<const int> fds, std::string_view bytes) {
  if (bytes.empty()) {
    return absl::InvalidArgumentError(on_fd("sending fds", socket) +
                                      ": without a byte to go with them the peer sees nothing");
  }
  if (fds.size() > kMaxPassedFds) {
    return absl::InvalidArgumentError(absl::StrFormat("sending %d fds on fd %d: %d is the most",
                                                      fds.size(), socket, kMaxPassedFds));
  }
  for (const int fd : fds) {
    if (::fcntl(fd, F_GETFD) < 0) {
      return absl::InvalidArgumentError(
          absl::StrFormat("sending fds on fd %d: fd %d is not open", socket, fd));
    }
  }
  iovec data{const_cast<char*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  std::vector<cmsghdr> buffer = control_buffer(fds.size());
  if (!fds.empty()) {
    message.msg_control = buffer.data();
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* control = CMSG_FIRSTHDR(&message);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(control), fds.data(), fds.size_bytes());
  }
  for (;;) {
    const ssize_t sent = ::sendmsg(socket, &message, internal::kSendFlags | MSG_DONTWAIT);
    if (sent >= 0) return static_cast<size_t>(sent);
    if (errno != EINTR) return failed(errno, "sending fds", socket);
  }
}

absl::StatusOr<ReceivedFds> receive_fds(int socket, size_t max_fds, size_t max_bytes) {
  if (max_bytes == 0 || max_fds > kMaxPassedFds) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "receiving on fd %d at most %d bytes and %d fds: at least 1 byte and at most %d fds",
        socket, max_bytes, max_fds, kMaxPassedFds));
  }
  ReceivedFds result;
  result.bytes.resize(max_bytes);
  iovec data{result.bytes.data(), result.bytes.size()};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  std::vector<cmsghdr> buffer = control_buffer(max_fds);
  message.msg_control = buffer.data();
  message.msg_controllen = CMSG_SPACE(max_fds * sizeof(int));
  ssize_t received;
  do {
    received = ::recvmsg(socket, &message, kReceiveFlags | MSG_DONTWAIT);
  } while (received < 0 && errno == EINTR);
  if (received < 0) return failed(errno, "receiving fds", socket);
  result.bytes.resize(received);
  take_fds(message, result.fds);
  // The alignment of the buffer may leave room for one more than was asked for.
  if ((message.msg_flags & MSG_CTRUNC) != 0 || result.fds.size() > max_fds) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "receiving fds on fd %d: there came more than %d, or this process has no room for them",
        socket, max_fds));
  }
  return result;
}

Task<absl::Status> async_send_fds(int socket, std::span<const int> fds, std::string_view bytes) {
  for (;;) {
    const absl::StatusOr<size_t> sent = send_fds(socket, fds, bytes);
    if (sent.ok()) {
      bytes.remove_prefix(*sent);
      fds = {};
      if (bytes.empty()) co_return absl::OkStatus();
    } else if (!absl::IsUnavailable(sent.status())) {
      co_return sent.status();
    }
    if (absl::Status status = co_await writable(socket); !status.ok()) co_return status;
  }
}

Task<absl::StatusOr<ReceivedFds>> async_receive_fds(int socket, size_t max_fds, size_t max_bytes) {
  for (;;) {
    absl::StatusOr<ReceivedFds> received = receive_fds(socket, max_fds, max_bytes);
    if (received.ok() || !absl::IsUnavailable(received.status())) co_return received;
    if (absl::Status status = co_await readable(socket); !status.ok()) co_return status;
  }
}

}  // namespace gyre
