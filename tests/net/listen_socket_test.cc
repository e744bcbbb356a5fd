#include "gyre/net/listen_socket.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

SocketAddress loopback(uint16_t port = 0, const char* host = "127.0.0.1") {
  return SocketAddress::parse(host, port).value();
}

bool connects_to(const SocketAddress& address) {
  const UniqueFd fd(::socket(address.family(), SOCK_STREAM, 0));
  return ::connect(fd.get(), address.data(), address.size()) == 0;
}

int option(int fd, int level, int name) {
  int value = 0;
  socklen_t size = sizeof(value);
  EXPECT_EQ(::getsockopt(fd, level, name, &value, &size), 0);
  return value;
}

TEST(ListenSocket, KnowsThePortThatTheKernelPicked) {
  const absl::StatusOr<ListenSocket> socket = ListenSocket::bind(loopback());
  ASSERT_TRUE(socket.ok()) << socket.status();
  EXPECT_NE(socket->address().port(), 0);
  EXPECT_EQ(socket->address().host(), "127.0.0.1");
  EXPECT_EQ(SocketAddress::local_of(socket->fileno()).value(), socket->address());
  EXPECT_TRUE(connects_to(socket->address()));
}

TEST(ListenSocket, IsNonBlockingAndClosedOnExec) {
  const ListenSocket socket = ListenSocket::bind(loopback()).value();
  EXPECT_NE(::fcntl(socket.fileno(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(::fcntl(socket.fileno(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST(ListenSocket, ItsConnectionsHoldSmallAnswersBackOnlyIfAsked) {
  for (const bool no_delay : {true, false}) {
    ListenOptions options;
    options.no_delay = no_delay;
    const ListenSocket socket = ListenSocket::bind(loopback(), options).value();
    EXPECT_EQ(option(socket.fileno(), IPPROTO_TCP, TCP_NODELAY) != 0, no_delay);
  }
}

TEST(ListenSocket, APortInUseIsAlreadyExistsAndTheMessageNamesIt) {
  const ListenSocket first = ListenSocket::bind(loopback()).value();
  const int fds = count_open_fds();
  const absl::Status status = ListenSocket::bind(first.address()).status();
  EXPECT_EQ(status.code(), StatusCode::kAlreadyExists) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(first.address().to_string()));
  EXPECT_EQ(count_open_fds(), fds) << "the socket that failed is closed";
}

TEST(ListenSocket, AnAddressOfAnotherMachineIsUnavailableAndNamed) {
  // 192.0.2.0/24 is nobody's (RFC 5737).
  const absl::Status status = ListenSocket::bind(loopback(0, "192.0.2.1")).status();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("192.0.2.1:0"));
}

TEST(ListenSocket, NoAddressIsAnError) {
  const int fds = count_open_fds();
  EXPECT_FALSE(ListenSocket::bind(SocketAddress()).ok());
  EXPECT_EQ(count_open_fds(), fds);
}

TEST(ListenSocket, ThePortIsFreeAgainRightAfterTheClose) {
  SocketAddress address;
  {
    ListenSocket socket = ListenSocket::bind(loopback()).value();
    address = socket.address();
    ASSERT_TRUE(connects_to(address)) << "so that the port has had a connection";
    socket.close();
    EXPECT_EQ(socket.fileno(), -1);
    socket.close();  // a second time: nothing
  }
  EXPECT_FALSE(connects_to(address));
  EXPECT_TRUE(ListenSocket::bind(address).ok());
}

TEST(ListenSocket, AConnectionLeftInTimeWaitDoesNotBlockThePort) {
  UniqueFd client(::socket(AF_INET, SOCK_STREAM, 0));
  SocketAddress address;
  {
    const ListenSocket socket = ListenSocket::bind(loopback()).value();
    address = socket.address();
    ASSERT_EQ(::connect(client.get(), address.data(), address.size()), 0);
    // The server's side closes first, and is the one that waits (RFC 9293, 3.6).
    UniqueFd accepted(::accept(socket.fileno(), nullptr, nullptr));
    ASSERT_TRUE(accepted);
  }
  client.reset();
  const absl::Status status = ListenSocket::bind(address).status();
  EXPECT_TRUE(status.ok()) << status;
}

TEST(ListenSocket, SeveralShareAPortIfAllOfThemAskForIt) {
  ListenOptions shared;
  shared.reuse_port = true;
  const absl::StatusOr<ListenSocket> first = ListenSocket::bind(loopback(), shared);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_TRUE(ListenSocket::bind(first->address(), shared).ok());
  EXPECT_EQ(ListenSocket::bind(first->address()).status().code(), StatusCode::kAlreadyExists);
}

TEST(ListenSocket, TakesIPv6OnlySoThatIPv4MayHaveTheSamePort) {
  const absl::StatusOr<ListenSocket> six = ListenSocket::bind(loopback(0, "::"));
  if (!six.ok()) GTEST_SKIP() << "no IPv6 here: " << six.status();
  EXPECT_NE(option(six->fileno(), IPPROTO_IPV6, IPV6_V6ONLY), 0);
  const absl::Status four = ListenSocket::bind(loopback(six->address().port())).status();
  EXPECT_TRUE(four.ok()) << four;
}

// ---- Several addresses

TEST(ListenSocket, OnSeveralAddressesHasOnePortThatTheKernelPicks) {
  const std::vector<SocketAddress> addresses = {loopback(), loopback(0, "127.0.0.2"),
                                                loopback(0, "127.0.0.3")};
  const absl::StatusOr<std::vector<ListenSocket>> sockets = ListenSocket::bind_all(addresses);
  ASSERT_TRUE(sockets.ok()) << sockets.status();
  ASSERT_EQ(sockets->size(), 3u);
  EXPECT_NE((*sockets)[0].address().port(), 0);
  for (const ListenSocket& socket : *sockets) {
    EXPECT_EQ(socket.address().port(), (*sockets)[0].address().port());
    EXPECT_TRUE(connects_to(socket.address()));
  }
}

TEST(ListenSocket, AnAddressThatTheMachineDoesNotHaveIsSkippedIfItHasAnother) {
  const std::vector<SocketAddress> addresses = {loopback(0, "192.0.2.1"), loopback(),
                                                loopback(0, "2001:db8::1")};
  const absl::StatusOr<std::vector<ListenSocket>> sockets = ListenSocket::bind_all(addresses);
  ASSERT_TRUE(sockets.ok()) << sockets.status();
  ASSERT_EQ(sockets->size(), 1u);
  EXPECT_EQ((*sockets)[0].address().host(), "127.0.0.1");
  const absl::Status none = ListenSocket::bind_all({&addresses[0], 1}).status();
  EXPECT_EQ(none.code(), StatusCode::kUnavailable) << none;
  EXPECT_EQ(ListenSocket::bind_all({}).status().code(), StatusCode::kInvalidArgument);
}

TEST(ListenSocket, APortInUseOnOneOfSeveralAddressesIsAnErrorAndLeavesNothing) {
  const ListenSocket taken = ListenSocket::bind(loopback(0, "127.0.0.2")).value();
  const uint16_t port = taken.address().port();
  const std::vector<SocketAddress> addresses = {loopback(port), loopback(port, "127.0.0.2")};
  const int fds = count_open_fds();
  const absl::Status status = ListenSocket::bind_all(addresses).status();
  EXPECT_EQ(status.code(), StatusCode::kAlreadyExists) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("127.0.0.2:" + std::to_string(port)));
  EXPECT_EQ(count_open_fds(), fds);
}

TEST(ListenSocket, AnErrorSaysWhatToDo) {
  const ListenSocket taken = ListenSocket::bind(loopback()).value();
  EXPECT_THAT(std::string(ListenSocket::bind(taken.address()).status().message()),
              HasSubstr("choose another port"));
  EXPECT_THAT(std::string(ListenSocket::bind(loopback(0, "192.0.2.1")).status().message()),
              HasSubstr("no interface of this machine"));
}

// ---- Sockets that listen already

TEST(ListenSocket, AdoptedItIsNonBlockingAndClosedOnExec) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM, 0));
  ASSERT_EQ(::listen(fd.get(), 1), 0);  // unbound: the kernel picks a port
  const absl::StatusOr<ListenSocket> socket = ListenSocket::adopt(std::move(fd));
  ASSERT_TRUE(socket.ok()) << socket.status();
  EXPECT_TRUE(socket->adopted());
  EXPECT_NE(socket->address().port(), 0);
  EXPECT_NE(::fcntl(socket->fileno(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(::fcntl(socket->fileno(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST(ListenSocket, WhatCannotBeAdoptedIsClosedAndTheErrorSaysWhy) {
  struct Case {
    const char* what;
    UniqueFd fd;
    const char* why;
  };
  const int before = count_open_fds();
  {
    std::vector<Case> cases;
    cases.push_back({"a closed fd", UniqueFd(15000), "not open"});
    cases.push_back({"no fd", UniqueFd(), "not open"});
    cases.push_back({"a file", UniqueFd(::open("/dev/null", O_RDONLY)), "no socket"});
    cases.push_back({"datagrams", UniqueFd(::socket(AF_INET, SOCK_DGRAM, 0)), "no stream socket"});
    cases.push_back({"no listen", UniqueFd(::socket(AF_INET, SOCK_STREAM, 0)), "listen(2)"});
    for (Case& c : cases) {
      const absl::Status status = ListenSocket::adopt(std::move(c.fd)).status();
      EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << c.what;
      EXPECT_THAT(std::string(status.message()), HasSubstr(c.why)) << c.what;
    }
  }
  EXPECT_EQ(count_open_fds(), before);
}

// ---- Before the close

TEST(ListenSocket, RefusingNewOnesItKeepsThoseWhoWait) {
  // An address of its own: tests that run beside this one connect to ports that were free once.
  ListenSocket socket = ListenSocket::bind(SocketAddress::parse("127.0.77.1", 0).value()).value();
  UniqueFd waiting(::socket(AF_INET, SOCK_STREAM, 0));
  ASSERT_EQ(::connect(waiting.get(), socket.address().data(), socket.address().size()), 0);
  if (!socket.refuse_new()) GTEST_SKIP() << "no filter may be attached here";
  UniqueFd late(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
  EXPECT_NE(::connect(late.get(), socket.address().data(), socket.address().size()), 0);
  const UniqueFd accepted(::accept(socket.fileno(), nullptr, nullptr));
  EXPECT_TRUE(accepted);
  EXPECT_EQ(::accept(socket.fileno(), nullptr, nullptr), -1);
  socket.close();
  write_all(accepted.get(), "x");
  char byte;
  EXPECT_EQ(::recv(waiting.get(), &byte, 1, 0), 1);
}

TEST(ListenSocket, AMovedOneClosesOnce) {
  ListenSocket socket = ListenSocket::bind(loopback()).value();
  const int fd = socket.fileno();
  const SocketAddress address = socket.address();
  {
    const ListenSocket moved = std::move(socket);
    EXPECT_EQ(moved.fileno(), fd);
    EXPECT_EQ(moved.address(), address);
  }
  EXPECT_FALSE(is_open(fd));
}

}  // namespace
}  // namespace gyre::testing
