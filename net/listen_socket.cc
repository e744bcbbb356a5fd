#include "gyre/net/listen_socket.h"

#include <cerrno>

#include "gyre/loop/errno_status.h"
#include "gyre/net/socket_ops.h"

namespace gyre {
namespace {

bool enable(int fd, int level, int option) {
  const int on = 1;
  return ::setsockopt(fd, level, option, &on, sizeof(on)) == 0;
}

}  // namespace

absl::StatusOr<ListenSocket> ListenSocket::bind(const SocketAddress& address,
                                                const ListenOptions& options) {
  const std::string what = "listening on " + address.to_string();
  absl::StatusOr<UniqueFd> fd = internal::new_stream_socket(address.family());
  if (!fd.ok()) return fd.status();
  internal::UnixSocketFile file;
  if (!enable(fd->get(), SOL_SOCKET, SO_REUSEADDR)) return internal::errno_status(errno, what);
  if (options.reuse_port && address.is_unix()) {
    return absl::InvalidArgumentError(what + ": several sockets on one address need TCP");
  }
  if (options.reuse_port) {
#if defined(SO_REUSEPORT_LB)
    if (!enable(fd->get(), SOL_SOCKET, SO_REUSEPORT_LB)) return internal::errno_status(errno, what);
#elif defined(__linux__)
    if (!enable(fd->get(), SOL_SOCKET, SO_REUSEPORT)) return internal::errno_status(errno, what);
#else
    return absl::UnimplementedError(what +
                                    ": this kernel does not spread connections over SO_REUSEPORT");
#endif
  }
  if (address.family() == AF_INET6 && !enable(fd->get(), IPPROTO_IPV6, IPV6_V6ONLY)) {
    return internal::errno_status(errno, what);
  }
  internal::set_inline_urgent_data(fd->get());
  if (options.no_delay) internal::set_no_delay(fd->get(), true);
  if (address.is_unix()) {
    if (absl::Status status = bind_unix(fd->get(), address, options, file); !status.ok())
      return status;
  } else if (::bind(fd->get(), address.data(), address.size()) != 0) {
    return internal::errno_status(errno, what);
  }
  if (::listen(fd->get(), options.backlog) != 0) return internal::errno_status(errno, what);
  absl::StatusOr<SocketAddress> bound = SocketAddress::local_of(fd->get());
  if (!bound.ok()) return bound.status();
  return ListenSocket(*std::move(fd), *bound, std::move(file));
}

absl::Status ListenSocket::bind_unix(int fd, const SocketAddress& address,
                                     const ListenOptions& options, internal::UnixSocketFile& file) {
  const std::string what = "listening on " + address.to_string();
  const bool has_file = !address.unix_path().empty();
  int result = ::bind(fd, address.data(), address.size());
  if (result != 0 && errno == EADDRINUSE && has_file) {
    if (absl::Status status = internal::remove_stale_socket(address); !status.ok()) {
      return absl::Status(status.code(), what + ": " + std::string(status.message()));
    }
    result = ::bind(fd, address.data(), address.size());
  }
  if (result != 0) return internal::errno_status(errno, what);
  return has_file ? file.adopt(address, options.unix_mode) : absl::OkStatus();
}

}  // namespace gyre
