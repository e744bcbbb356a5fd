#include "gyre/net/unix_socket_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/status/statusor.h"
#include "gyre/loop/errno_status.h"
#include "gyre/loop/unique_fd.h"
#include "gyre/net/socket_ops.h"

namespace gyre::internal {

UnixSocketFile& UnixSocketFile::operator=(UnixSocketFile&& other) noexcept {
  if (this == &other) return *this;
  remove();
  path_ = std::exchange(other.path_, {});
  device_ = other.device_;
  inode_ = other.inode_;
  return *this;
}

absl::Status UnixSocketFile::adopt(const SocketAddress& address, mode_t mode) {
  const std::string path(address.unix_path());
  struct stat file {};
  // Nobody can connect before listen(2), so the mode is there in time.
  if (::lstat(path.c_str(), &file) != 0) return errno_status(errno, path);
  path_ = path;
  device_ = file.st_dev;
  inode_ = file.st_ino;
  if (::chmod(path.c_str(), mode) != 0) return errno_status(errno, "chmod of " + path);
  return absl::OkStatus();
}

void UnixSocketFile::remove() {
  const std::string path = std::exchange(path_, {});
  struct stat file {};
  if (path.empty() || ::lstat(path.c_str(), &file) != 0) return;
  if (file.st_dev == device_ && file.st_ino == inode_) ::unlink(path.c_str());
}

absl::Status remove_stale_socket(const SocketAddress& address) {
  const std::string path(address.unix_path());
  struct stat file {};
  if (::lstat(path.c_str(), &file) != 0) {
    return errno == ENOENT ? absl::OkStatus() : errno_status(errno, path);
  }
  if (!S_ISSOCK(file.st_mode)) {
    return absl::AlreadyExistsError(path + " is there already, and is no socket");
  }
  absl::StatusOr<UniqueFd> probe = new_stream_socket(AF_UNIX);
  if (!probe.ok()) return probe.status();
  if (connect(probe->get(), address) != ECONNREFUSED) {
    return absl::AlreadyExistsError(path + " is in use: somebody listens there");
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return errno_status(errno, path);
  return absl::OkStatus();
}

}  // namespace gyre::internal
