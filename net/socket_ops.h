#ifndef GYRE_NET_SOCKET_OPS_H_
#define GYRE_NET_SOCKET_OPS_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <sys/socket.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gyre/loop/unique_fd.h"
#include "gyre/net/io_result.h"
#include "gyre/net/socket_address.h"

namespace gyre::internal {

// The system calls of net/, thin: EINTR is retried, would-block is a value, and every fd is
// non-blocking and closed on exec.

absl::StatusOr<UniqueFd> new_stream_socket(int family);

#if defined(MSG_NOSIGNAL)
inline constexpr int kSendFlags = MSG_NOSIGNAL;
#else
inline constexpr int kSendFlags = 0;  // SO_NOSIGPIPE is set on each socket instead
#endif

// What one call reads or writes at most: some kernels refuse more than INT_MAX.
inline constexpr size_t kMaxIoBytes = size_t{1} << 30;
// Pieces in one send_gather(): far below IOV_MAX, and enough to share the cost of the call.
inline constexpr size_t kMaxGather = 32;

// recv(2) and send(2), which cost less than read and write on a socket. No SIGPIPE. Inline: they
// are called for every request.
inline IoResult receive(int fd, char* buffer, size_t size) {
  ssize_t n;
  do n = ::recv(fd, buffer, size, 0);
  while (n < 0 && errno == EINTR);
  return n >= 0 ? IoResult{n, 0} : IoResult{0, errno};
}
inline IoResult send(int fd, std::string_view data) {
  ssize_t n;
  do n = ::send(fd, data.data(), data.size(), kSendFlags);
  while (n < 0 && errno == EINTR);
  return n >= 0 ? IoResult{n, 0} : IoResult{0, errno};
}
// Several pieces in one call of sendmsg(2).
IoResult send_gather(int fd, std::span<iovec> pieces);
// From a file, sendfile(2) where there is one. Count 0: the file ends before `offset`. Reads the
// file if it is not in memory, which may block. No SIGPIPE.
IoResult send_file(int fd, int file, uint64_t offset, size_t size);
// Whether there is something to read: count 1 for data, 0 for the end.
IoResult peek(int fd);
// recv(2) that leaves the bytes where they are.
IoResult peek(int fd, char* buffer, size_t size);

// What bind(2) and listen(2) failed with, as "<what><address>: <errno's text>; <what to do>".
absl::Status bind_error(int error, const std::string& what, const SocketAddress& address);

// A connection of a listening socket: its fd, which the caller owns, in `count`.
IoResult accept(int listener);
IoResult accept(int listener, SocketAddress& peer);

// 0: connected; EINPROGRESS: wait until the fd is writable, then ask socket_error.
int connect(int fd, const SocketAddress& address);
int socket_error(int fd);

// Fails quietly where the socket has no such option (an AF_UNIX one has no TCP_NODELAY).
void set_no_delay(int fd, bool enabled);

// Urgent data stays in line, so that it is no end of a read: level with the rest, as RFC 6093
// advises. Connections inherit it from their listening socket (Linux).
void set_inline_urgent_data(int fd);

void shut_down_sending(int fd);
// close(2) of a TCP socket will reset the connection, and drop what was not sent (SO_LINGER of
// socket(7)).
void reset_when_closed(int fd);
// Something was received and not read, or sent and not acknowledged.
bool has_data_in_flight(int fd);

}  // namespace gyre::internal

#endif  // GYRE_NET_SOCKET_OPS_H_
