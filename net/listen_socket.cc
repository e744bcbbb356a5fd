#include "gyre/net/listen_socket.h"

#include <fcntl.h>

#include <cerrno>
#include <string>

#include "absl/strings/str_format.h"
#include "gyre/loop/errno_status.h"
#include "gyre/net/socket_ops.h"

#if defined(__linux__)
#include <linux/filter.h>
#endif

namespace gyre {
namespace {

// How often another port is tried that is to be free on every address.
constexpr int kPortTries = 32;

bool enable(int fd, int level, int option) {
  const int on = 1;
  return ::setsockopt(fd, level, option, &on, sizeof(on)) == 0;
}

absl::Status failed(int error, const SocketAddress& address) {
  return internal::bind_error(error, "listening on ", address);
}

absl::Status set_reuse_port(int fd, const SocketAddress& address) {
  // Elsewhere the option may be accepted without a word, and all go to one socket.
  if (address.family() != AF_INET && address.family() != AF_INET6) {
    return absl::InvalidArgumentError("listening on " + address.to_string() +
                                      ": the kernel spreads connections over several sockets "
                                      "(reuse_port) for IPv4 and IPv6 only");
  }
#if defined(SO_REUSEPORT_LB)
  if (!enable(fd, SOL_SOCKET, SO_REUSEPORT_LB)) return failed(errno, address);
  return absl::OkStatus();
#elif defined(__linux__)
  if (!enable(fd, SOL_SOCKET, SO_REUSEPORT)) return failed(errno, address);
  return absl::OkStatus();
#else
  static_cast<void>(fd);
  return absl::UnimplementedError(
      "listening on " + address.to_string() +
      ": this kernel does not spread connections over several sockets (reuse_port): accept in one "
      "thread, or let the loops share one socket");
#endif
}

// The machine has no such address: another one may do.
bool is_missing(const absl::Status& status) {
  return absl::IsUnimplemented(status) || absl::IsUnavailable(status);
}

}  // namespace

absl::StatusOr<ListenSocket> ListenSocket::bind(const SocketAddress& address,
                                                const ListenOptions& options) {
  if (options.backlog < 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("ListenOptions::backlog is negative: %d", options.backlog));
  }
  absl::StatusOr<UniqueFd> fd = internal::new_stream_socket(address.family());
  if (!fd.ok()) {
    return absl::Status(fd.status().code(), "listening on " + address.to_string() + ": " +
                                                std::string(fd.status().message()));
  }
  if (!enable(fd->get(), SOL_SOCKET, SO_REUSEADDR)) return failed(errno, address);
  internal::UnixSocketFile file;
  if (options.reuse_port) {
    if (absl::Status status = set_reuse_port(fd->get(), address); !status.ok()) return status;
  }
  if (address.family() == AF_INET6 && !enable(fd->get(), IPPROTO_IPV6, IPV6_V6ONLY)) {
    return failed(errno, address);
  }
  internal::set_inline_urgent_data(fd->get());
  if (options.no_delay) internal::set_no_delay(fd->get(), true);
  if (address.is_unix()) {
    if (absl::Status status = bind_unix(fd->get(), address, options, file); !status.ok())
      return status;
  } else if (::bind(fd->get(), address.data(), address.size()) != 0) {
    return failed(errno, address);
  }
  if (::listen(fd->get(), options.backlog) != 0) return failed(errno, address);
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
  if (result != 0) return failed(errno, address);
  return has_file ? file.adopt(address, options.unix_mode) : absl::OkStatus();
}

namespace {

// One try: the first port that the kernel picks is asked for everywhere.
absl::StatusOr<std::vector<ListenSocket>> bind_each(std::span<const SocketAddress> addresses,
                                                    const ListenOptions& options) {
  std::vector<ListenSocket> sockets;
  absl::Status missing;
  for (SocketAddress address : addresses) {
    if (address.port() == 0 && !sockets.empty()) address.set_port(sockets.front().address().port());
    absl::StatusOr<ListenSocket> socket = ListenSocket::bind(address, options);
    if (socket.ok()) {
      sockets.push_back(*std::move(socket));
    } else if (is_missing(socket.status())) {
      missing = socket.status();
    } else {
      return socket.status();
    }
  }
  if (sockets.empty()) return missing;
  return sockets;
}

}  // namespace

absl::StatusOr<std::vector<ListenSocket>> ListenSocket::bind_all(
    std::span<const SocketAddress> addresses, const ListenOptions& options) {
  if (addresses.empty()) return absl::InvalidArgumentError("listening on no address");
  const bool any_port = addresses.size() > 1 && addresses.front().port() == 0;
  absl::StatusOr<std::vector<ListenSocket>> sockets = bind_each(addresses, options);
  // The port that is free on one address may be taken on the next.
  for (int i = 1; i < kPortTries && any_port && absl::IsAlreadyExists(sockets.status()); ++i) {
    sockets = bind_each(addresses, options);
  }
  return sockets;
}

absl::StatusOr<ListenSocket> ListenSocket::adopt(UniqueFd fd) {
  const auto invalid = [&](const std::string& why) {
    return absl::InvalidArgumentError(absl::StrFormat("adopting fd %d: %s", fd.get(), why));
  };
  int type = 0, listens = 0;
  socklen_t size = sizeof(type);
  if (::getsockopt(fd.get(), SOL_SOCKET, SO_TYPE, &type, &size) != 0) {
    if (errno == EBADF) {
      static_cast<void>(fd.release());
      return absl::InvalidArgumentError(
          "adopting an fd that is not open: was it passed to this process, and not closed on "
          "exec?");
    }
    return invalid("it is no socket");
  }
  if (type != SOCK_STREAM) return invalid("it is no stream socket (SOCK_STREAM)");
  size = sizeof(listens);
  if (::getsockopt(fd.get(), SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || listens == 0) {
    return invalid("it does not listen: call listen(2) before it is passed on");
  }
  const int flags = ::fcntl(fd.get(), F_GETFL);
  if (flags < 0 || ::fcntl(fd.get(), F_SETFL, flags | O_NONBLOCK) != 0 ||
      ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC) != 0) {
    return internal::errno_status(errno, absl::StrFormat("adopting fd %d", fd.get()));
  }
  absl::StatusOr<SocketAddress> bound = SocketAddress::local_of(fd.get());
  if (!bound.ok()) return bound.status();
  return ListenSocket(std::move(fd), *bound, {}, /*adopted=*/true);
}

bool ListenSocket::refuse_new() {
#if defined(__linux__)
  if (adopted_ || !fd_ || address_.family() == AF_UNIX) return false;
  // Drops every segment with SYN; those of handshakes that have begun pass. The filter sees a TCP
  // segment from its header on, whose 14th byte has the flags (RFC 9293, 3.1).
  constexpr uint8_t kSyn = 0x02;
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, kSyn, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0),
      BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
  };
  const sock_fprog filter{.len = std::size(program), .filter = program};
  // Where it fails, the time between the last accept and the close is all that can be lost.
  return ::setsockopt(fd_.get(), SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) == 0;
#else
  return false;
#endif
}

}  // namespace gyre
