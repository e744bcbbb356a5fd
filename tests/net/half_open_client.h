#ifndef GYRE_TESTS_NET_HALF_OPEN_CLIENT_H_
#define GYRE_TESTS_NET_HALF_OPEN_CLIENT_H_

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <iterator>

#include "gtest/gtest.h"
#include "gyre/loop/unique_fd.h"
#include "gyre/net/socket_address.h"
#include "gyre/tests/support/event.h"

#if defined(__linux__)
#include <linux/filter.h>
#endif

namespace gyre::testing {

// A client that has asked for a connection and hears no answer, so that its handshake is under way
// for as long as it likes. The socket is non-blocking.
class HalfOpenClient {
 public:
  explicit HalfOpenClient(const SocketAddress& address)
      : fd_(::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK, 0)) {
#if defined(__linux__)
    sock_filter program[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
    const sock_fprog filter{.len = std::size(program), .filter = program};
    deaf_ = ::setsockopt(fd_.get(), SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) == 0;
#endif
    EXPECT_EQ(::connect(fd_.get(), address.data(), address.size()), -1);
    EXPECT_EQ(errno, EINPROGRESS);
  }

  // False where no filter may be attached: on another system, in some sandboxes.
  bool deaf() const { return deaf_; }
  int fileno() const { return fd_.get(); }

  // Hears the answer when it is repeated, a second after the first, and is connected.
  void listen() {
#if defined(__linux__)
    const int unused = 0;
    EXPECT_EQ(::setsockopt(fd_.get(), SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof(unused)), 0);
#endif
    pollfd writable{.fd = fd_.get(), .events = POLLOUT, .revents = 0};
    EXPECT_EQ(::poll(&writable, 1, static_cast<int>(kDeadline.count() * 1000)), 1);
    EXPECT_EQ(writable.revents, POLLOUT);
  }

 private:
  UniqueFd fd_;
  bool deaf_ = false;
};

}  // namespace gyre::testing

#endif  // GYRE_TESTS_NET_HALF_OPEN_CLIENT_H_
