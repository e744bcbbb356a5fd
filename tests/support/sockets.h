#ifndef GYRE_TESTS_SUPPORT_SOCKETS_H_
#define GYRE_TESTS_SUPPORT_SOCKETS_H_

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <string_view>

#include "gtest/gtest.h"
#include "gyre/loop/unique_fd.h"

namespace gyre::testing {

inline void make_nonblocking(int fd) { ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK); }

// Two ends that are connected; non-blocking. `a` and `b` are alike, but for a pipe's.
struct FdPair {
  UniqueFd a;
  UniqueFd b;
};

inline FdPair own(const int (&fds)[2]) {
  make_nonblocking(fds[0]);
  make_nonblocking(fds[1]);
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

inline FdPair socket_pair() {
  int fds[2] = {-1, -1};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  return own(fds);
}

// a: the end to read from, b: the end to write to.
inline FdPair pipe_pair() {
  int fds[2] = {-1, -1};
  EXPECT_EQ(::pipe(fds), 0);
  return own(fds);
}

// Over loopback TCP.
inline FdPair tcp_pair() {
  UniqueFd listener(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  EXPECT_EQ(::bind(listener.get(), generic, size), 0);
  EXPECT_EQ(::listen(listener.get(), 1), 0);
  EXPECT_EQ(::getsockname(listener.get(), generic, &size), 0);
  UniqueFd client(::socket(AF_INET, SOCK_STREAM, 0));
  EXPECT_EQ(::connect(client.get(), generic, size), 0);
  const int fds[2] = {client.release(), ::accept(listener.get(), nullptr, nullptr)};
  EXPECT_GE(fds[1], 0);
  return own(fds);
}

inline void write_all(int fd, std::string_view data) {
  EXPECT_EQ(::write(fd, data.data(), data.size()), static_cast<ssize_t>(data.size()));
}

// What is there to read, without waiting.
inline std::string read_available(int fd) {
  std::string data;
  char buffer[4096];
  for (ssize_t n; (n = ::read(fd, buffer, sizeof(buffer))) > 0;) data.append(buffer, n);
  return data;
}

// Fills the socket's buffer until nothing more can be written.
inline void fill(int fd) {
  const std::string block(4096, 'x');
  while (::write(fd, block.data(), block.size()) > 0) {
  }
}

// An fd number that names nothing at the moment.
inline int closed_fd() {
  const int fd = ::dup(0);
  ::close(fd);
  return fd;
}

inline bool is_open(int fd) { return ::fcntl(fd, F_GETFD) != -1; }

inline int count_open_fds() {
  int count = 0;
  for (int fd = 0; fd < 4096; ++fd) count += is_open(fd);
  return count;
}

}  // namespace gyre::testing

#endif  // GYRE_TESTS_SUPPORT_SOCKETS_H_
