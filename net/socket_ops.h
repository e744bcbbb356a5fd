#ifndef GYRE_NET_SOCKET_OPS_H_
#define GYRE_NET_SOCKET_OPS_H_

#include <cstddef>
#include <string_view>

#include "absl/status/statusor.h"
#include "gyre/loop/unique_fd.h"
#include "gyre/net/io_result.h"
#include "gyre/net/socket_address.h"

namespace gyre::internal {

// The system calls of net/, thin: EINTR is retried, would-block is a value, and every fd is
// non-blocking and closed on exec.

absl::StatusOr<UniqueFd> new_stream_socket(int family);

// recv(2) and send(2), which cost less than read and write on a socket. No SIGPIPE.
IoResult receive(int fd, char* buffer, size_t size);
IoResult send(int fd, std::string_view data);
// Whether there is something to read: count 1 for data, 0 for the end.
IoResult peek(int fd);
// recv(2) that leaves the bytes where they are.
IoResult peek(int fd, char* buffer, size_t size);

// A connection of a listening socket: its fd in `count`.
IoResult accept(int listener);

// 0: connected; EINPROGRESS: wait until the fd is writable, then ask socket_error.
int connect(int fd, const SocketAddress& address);
int socket_error(int fd);

// Fails quietly where the socket has no such option (an AF_UNIX one has no TCP_NODELAY).
void set_no_delay(int fd, bool enabled);

// Urgent data stays in line, so that it is no end of a read: level with the rest, as RFC 6093
// advises. Connections inherit it from their listening socket (Linux).
void set_inline_urgent_data(int fd);

void shut_down_sending(int fd);
// Something was received and not read, or sent and not acknowledged.
bool has_data_in_flight(int fd);

}  // namespace gyre::internal

#endif  // GYRE_NET_SOCKET_OPS_H_
