#ifndef GYRE_TESTS_NET_TCP_CLIENT_H_
#define GYRE_TESTS_NET_TCP_CLIENT_H_

#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>
#include <string>
#include <string_view>

#include "gtest/gtest.h"
#include "gyre/loop/unique_fd.h"
#include "gyre/net/socket_address.h"
#include "gyre/tests/support/event.h"

namespace gyre::testing {

// The other side of a server: a blocking socket, which waits for kDeadline at most.
class TcpClient {
 public:
  explicit TcpClient(const SocketAddress& address)
      : fd_(::socket(address.family(), SOCK_STREAM, 0)) {
    const timeval deadline{.tv_sec = kDeadline.count(), .tv_usec = 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof(deadline));
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof(deadline));
    connected_ = ::connect(fd_.get(), address.data(), address.size()) == 0;
  }

  bool connected() const { return connected_; }
  int fileno() const { return fd_.get(); }
  SocketAddress local_address() const { return SocketAddress::local_of(fd_.get()).value(); }

  bool send(std::string_view bytes) {
    return ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(bytes.size());
  }
  void end() { ::shutdown(fd_.get(), SHUT_WR); }
  void close() { fd_.reset(); }

  // So many bytes; fewer if the server ends before, or at the deadline.
  std::string receive(size_t count) {
    std::string bytes(count, '\0');
    size_t received = 0;
    while (received < count) {
      const ssize_t n = ::recv(fd_.get(), bytes.data() + received, count - received, 0);
      if (n <= 0) break;
      received += n;
    }
    bytes.resize(received);
    return bytes;
  }

  // Waits for the server's end. False: there was something else, or nothing before the deadline.
  bool sees_end() {
    char byte;
    const ssize_t n = ::recv(fd_.get(), &byte, 1, 0);
    return n == 0 || (n < 0 && errno == ECONNRESET);
  }

 private:
  UniqueFd fd_;
  bool connected_ = false;
};

}  // namespace gyre::testing

#endif  // GYRE_TESTS_NET_TCP_CLIENT_H_
