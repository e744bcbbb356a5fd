#ifndef GYRE_NET_UNIX_SOCKET_FILE_H_
#define GYRE_NET_UNIX_SOCKET_FILE_H_

#include <sys/types.h>

#include <string>

#include "absl/status/status.h"
#include "gyre/net/socket_address.h"

namespace gyre::internal {

// The file of a Unix socket that this process listens on. Removes it when it is destroyed, unless
// another file has taken its place. Has to be destroyed before the socket is closed: as long as it
// is open the kernel keeps the inode, so that no other file can have the same number. Move-only.
class UnixSocketFile {
 public:
  UnixSocketFile() = default;
  UnixSocketFile(UnixSocketFile&& other) noexcept { *this = std::move(other); }
  UnixSocketFile& operator=(UnixSocketFile&& other) noexcept;
  ~UnixSocketFile() { remove(); }

  // Takes charge of the file that bind(2) has just made, and sets who may connect.
  absl::Status adopt(const SocketAddress& address, mode_t mode);
  void remove();

 private:
  std::string path_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

// Removes a socket file that nobody listens on any more, so that its path can be bound again. OK
// also where there is no file. AlreadyExists: somebody listens there, or it is no socket.
absl::Status remove_stale_socket(const SocketAddress& address);

}  // namespace gyre::internal

#endif  // GYRE_NET_UNIX_SOCKET_FILE_H_
