#ifndef GYRE_TESTS_NET_HALF_OPEN_CLIENT_H_
#define GYRE_TESTS_NET_HALF_OPEN_CLIENT_H_

#include <linux/filter.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <iterator>

#include "gtest/gtest.h"
#include "gyre/loop/unique_fd.h"
#include "gyre/net/socket_address.h"
#include "gyre/tests/support/event.h"

namespace gyre::testing {

// A client that has asked for a connection and hears no answer, so that its handshake is under way
// for as long as it likes. Linux, outside of a sandbox that forbids filters. The socket is
// non-blocking.
class HalfOpenClient {
 public:
  explicit HalfOpenClient(const SocketAddress& address)
      : fd_(::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK, 0)) {
    sock_filter program[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
    const sock_fprog filter{.len = std::size(program), .filter = program};
    EXPECT_EQ(::setsockopt(fd_.get(), SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)), 0);
    EXPECT_EQ(::connect(fd_.get(), address.data(), address.size()), -1);
    EXPECT_EQ(errno, EINPROGRESS);
  }

  int fileno() const { return fd_.get(); }

  // Hears the answer when it is repeated, a second after the first, and is connected.
  void listen() {
    const int unused = 0;
    EXPECT_EQ(::setsockopt(fd_.get(), SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof(unused)), 0);
    pollfd writable{.fd = fd_.get(), .events = POLLOUT, .revents = 0};
    EXPECT_EQ(::poll(&writable, 1, static_cast<int>(kDeadline.count() * 1000)), 1);
    EXPECT_EQ(writable.revents, POLLOUT);
  }

 private:
  UniqueFd fd_;
};

}  // namespace gyre::testing

#endif  // GYRE_TESTS_NET_HALF_OPEN_CLIENT_H_
