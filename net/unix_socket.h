#ifndef GYRE_NET_UNIX_SOCKET_H_
#define GYRE_NET_UNIX_SOCKET_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <sys/types.h>

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gyre/loop/task.h"
#include "gyre/loop/unique_fd.h"

// What Unix sockets can do that others cannot. Any thread, but for the Tasks.

namespace gyre {

// Who is at the other end, as of connect(2) or listen(2).
struct PeerCredentials {
  std::optional<pid_t> pid;  // where the kernel tells (Linux, same namespace)
  uid_t uid;
  gid_t gid;
};

// Of a connected Unix socket. InvalidArgument or Unimplemented, with the fd, for another one.
absl::StatusOr<PeerCredentials> peer_credentials(int fd);

// As many as the kernel takes in one message (SCM_MAX_FD of Linux).
inline constexpr size_t kMaxPassedFds = 253;

// Sends copies of `fds`, which stay the caller's, with `bytes`, of which there has to be at least
// one. Gives how many bytes were taken: all fds go with the first of them. Unavailable: the
// socket's buffer is full, and nothing was sent. InvalidArgument for no bytes, too many fds, or one
// that is closed.
absl::StatusOr<size_t> send_fds(int socket, std::span<const int> fds, std::string_view bytes);

struct ReceivedFds {
  std::string bytes;  // empty: the peer has ended
  std::vector<UniqueFd> fds;
};

// What send_fds sent, or plain bytes: at most `max_bytes`, of one message where fds are among them.
// The fds are closed on exec. Unavailable: there is nothing yet. ResourceExhausted: there were more
// than `max_fds`, or this process has no room for them; all that came were closed, and the bytes
// are lost: close the socket.
absl::StatusOr<ReceivedFds> receive_fds(int socket, size_t max_fds, size_t max_bytes = 4096);

// The same in a coroutine, on a non-blocking socket that nothing else watches: they wait until it
// can be done. `bytes` and `fds` have to live until then; all of the bytes are sent.
Task<absl::Status> async_send_fds(int socket, std::span<const int> fds, std::string_view bytes);
Task<absl::StatusOr<ReceivedFds>> async_receive_fds(int socket, size_t max_fds,
                                                    size_t max_bytes = 4096);

}  // namespace gyre

#endif  // GYRE_NET_UNIX_SOCKET_H_
