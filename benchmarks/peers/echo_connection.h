#ifndef GYRE_BENCHMARKS_PEERS_ECHO_CONNECTION_H_
#define GYRE_BENCHMARKS_PEERS_ECHO_CONNECTION_H_

#include <sys/socket.h>

#include <cerrno>
#include <string>

#include "gyre/benchmarks/peers/echo_program.h"

namespace gyre::bench {

// The socket calls of an echo, for the libraries that only tell when a socket is ready. While
// something is unsent nothing more is read.
class EchoConnection {
 public:
  enum class Wants { kRead, kWrite, kClose };

  // The socket is readable.
  Wants read(int fd) {
    static thread_local char buffer[kReceiveBytes];
    const ssize_t size = ::recv(fd, buffer, sizeof(buffer), 0);
    if (size <= 0) return size < 0 && errno == EAGAIN ? Wants::kRead : Wants::kClose;
    ssize_t sent = ::send(fd, buffer, static_cast<size_t>(size), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return Wants::kClose;
    if (sent == size) return Wants::kRead;
    if (sent < 0) sent = 0;
    unsent_.assign(buffer + sent, static_cast<size_t>(size - sent));
    return Wants::kWrite;
  }
  // The socket is writable.
  Wants write(int fd) {
    const ssize_t sent = ::send(fd, unsent_.data(), unsent_.size(), MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN ? Wants::kWrite : Wants::kClose;
    unsent_.erase(0, static_cast<size_t>(sent));
    return unsent_.empty() ? Wants::kRead : Wants::kWrite;
  }

 private:
  std::string unsent_;
};

}  // namespace gyre::bench

#endif  // GYRE_BENCHMARKS_PEERS_ECHO_CONNECTION_H_
