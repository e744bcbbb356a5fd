// Connecting by name, on every backend.

#include "gyre/net/tcp_client.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/combinators.h"
#include "gyre/net/listen_socket.h"
#include "gyre/net/socket_address.h"
#include "gyre/tests/net/tcp_client_fixture.h"
#include "gyre/tests/support/on_destroy.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

GYRE_FOR_EACH_BACKEND(TCPClientTest);

TEST_P(TCPClientTest, ConnectsToANumericAddress) {
  TCPClient client(*loop_);
  const Connected stream = connect(client, "127.0.0.1", listener_.address().port());
  ASSERT_TRUE(stream.ok()) << stream.status();
  EXPECT_EQ((*stream)->peer_address().value(), listener_.address());
  const UniqueFd peer = accept(listener_);
  (*stream)->write("ping");
  EXPECT_EQ(receive(peer, 4), "ping");
  EXPECT_EQ(client.resolver()->stats().lookups, 0u);
}

TEST_P(TCPClientTest, ConnectsToAName) {
  TCPClient client(*loop_, resolver({"127.0.0.1"}));
  const Connected stream = connect(client, "example.test", listener_.address().port());
  ASSERT_TRUE(stream.ok()) << stream.status();
  EXPECT_EQ((*stream)->peer_address().value(), listener_.address());
}

TEST_P(TCPClientTest, ConnectsToLocalhost) {
  TCPClient client(*loop_);
  const Connected stream = connect(client, "localhost", listener_.address().port());
  ASSERT_TRUE(stream.ok()) << stream.status();
}

TEST_P(TCPClientTest, ConnectsToAUnixSocket) {
  const SocketAddress address =
      address_of("unix:@gyre-client-" + std::to_string(listener_.address().port()));
  const ListenSocket listener = ListenSocket::bind(address).value();
  TCPClient client(*loop_);
  const Connected stream = connect(client, address.host(), 0);
  ASSERT_TRUE(stream.ok()) << stream.status();
  (*stream)->write("ping");
  const UniqueFd peer = accept(listener);
  EXPECT_EQ(receive(peer, 4), "ping");
}

// The listener's queue is full, and a Unix socket has no event for when it is not any more.
TEST_P(TCPClientTest, WaitsUntilAUnixSocketsListenerHasRoom) {
  const SocketAddress address =
      address_of("unix:@gyre-full-" + std::to_string(listener_.address().port()));
  ListenOptions options;
  options.backlog = 0;
  const ListenSocket listener = ListenSocket::bind(address, options).value();
  TCPClient client(*loop_);
  int connected = 0;
  constexpr int kClients = 4;
  for (int i = 0; i < kClients; ++i) {
    client.connect(address.host(), 0, [&](Connected stream) { connected += stream.ok(); });
  }
  std::vector<UniqueFd> accepted;
  run_until([&] {
    virtual_time_.clock.advance(std::chrono::milliseconds(1));
    UniqueFd fd(::accept(listener.fileno(), nullptr, nullptr));
    if (fd) accepted.push_back(std::move(fd));
    return connected == kClients;
  });
}

TEST_P(TCPClientTest, TheCallbackRunsOnceAndLater) {
  TCPClient client(*loop_);
  int calls = 0;
  client.connect("127.0.0.1", listener_.address().port(), [&](Connected stream) {
    EXPECT_TRUE(stream.ok()) << stream.status();
    ++calls;
  });
  client.connect("127.0.0.1", 0, [&](Connected stream) {
    EXPECT_FALSE(stream.ok());
    ++calls;
  });
  EXPECT_EQ(calls, 0);
  run_until([&] { return calls == 2; });
  run_turns(3);
  EXPECT_EQ(calls, 2);
}

TEST_P(TCPClientTest, TheOptionsAreTheStreams) {
  TCPClient client(*loop_);
  ConnectOptions options;
  options.stream.max_buffer_size = 10;
  const Connected stream = connect(client, "127.0.0.1", listener_.address().port(), options);
  ASSERT_TRUE(stream.ok()) << stream.status();
  absl::Status read;
  run_task([&]() -> Task<void> { read = (co_await (*stream)->read_bytes(11)).status(); });
  EXPECT_EQ(read.code(), StatusCode::kInvalidArgument);
}

// ---- Several addresses

TEST_P(TCPClientTest, TheNextAddressIsTriedOnceOneHasFailed) {
  const ListenSocket other =
      ListenSocket::bind(address_of("127.0.0.2", listener_.address().port())).value();
  TCPClient client(*loop_, resolver({"127.0.0.3", "127.0.0.2"}));
  const int fds = count_open_fds();
  Connected stream = connect(client, "example.test", other.address().port());
  ASSERT_TRUE(stream.ok()) << stream.status();
  EXPECT_EQ((*stream)->peer_address()->host(), "127.0.0.2");
  (*stream)->close();
  EXPECT_EQ(count_open_fds(), fds);
}

TEST_P(TCPClientTest, TheFamiliesTakeTurns) {
  const uint16_t port = listener_.address().port();
  TCPClient client(*loop_, resolver({"::1", "127.0.0.1"}));
  const Connected stream = connect(client, "example.test", port);
  ASSERT_TRUE(stream.ok()) << stream.status();  // nobody listens on [::1]:port
  EXPECT_EQ((*stream)->peer_address()->host(), "127.0.0.1");
}

TEST_P(TCPClientTest, AnAddressThatDoesNotAnswerIsOvertakenAndClosed) {
  hold_.reset();
  const SilentServer silent;
  const ListenSocket other = ListenSocket::bind(address_of("127.0.0.2", silent.port())).value();
  TCPClient client(*loop_, resolver({"127.0.0.1", "127.0.0.2"}));
  ConnectOptions options;
  options.attempt_delay = std::chrono::seconds(10);
  // From then on it is the kernel that takes its time, to connect.
  loop_->call_later(options.attempt_delay, [&] { hold_.emplace(virtual_time_); });
  const int fds = count_open_fds();
  const Connected stream = connect(client, "example.test", silent.port(), options);
  ASSERT_TRUE(stream.ok()) << stream.status();
  EXPECT_EQ((*stream)->peer_address()->host(), "127.0.0.2");
  (*stream)->close();
  EXPECT_EQ(count_open_fds(), fds);
}

TEST_P(TCPClientTest, OnlyTheFamilyThatIsAskedForIsTried) {
  TCPClient client(*loop_, resolver({"127.0.0.1"}));
  ConnectOptions options;
  options.family = AF_INET6;
  const Connected stream = connect(client, "example.test", listener_.address().port(), options);
  EXPECT_EQ(stream.status().code(), StatusCode::kNotFound) << stream.status();
}

TEST_P(TCPClientTest, AtMostSoManyAddressesAreTried) {
  std::vector<std::string> hosts;
  for (int i = 1; i <= 100; ++i) hosts.push_back("127.0.1." + std::to_string(i));
  TCPClient client(*loop_, resolver(hosts));
  const ClosedPort closed("127.0.0.1");
  const std::string message(connect(client, "example.test", closed.port()).status().message());
  EXPECT_THAT(message, HasSubstr("127.0.1.32:"));
  EXPECT_THAT(message, ::testing::Not(HasSubstr("127.0.1.33:")));
}

// ---- The source

TEST_P(TCPClientTest, ConnectsFromTheSourceThatIsAskedFor) {
  const uint16_t free_port = [] {
    const ClosedPort closed("127.0.0.5");
    return closed.port();
  }();
  TCPClient client(*loop_);
  ConnectOptions options;
  options.source = address_of("127.0.0.5", free_port);
  const Connected stream = connect(client, "127.0.0.1", listener_.address().port(), options);
  ASSERT_TRUE(stream.ok()) << stream.status();
  EXPECT_EQ((*stream)->local_address().value(), address_of("127.0.0.5", free_port));
}

TEST_P(TCPClientTest, ASourceThatIsNotThisMachinesIsNamed) {
  TCPClient client(*loop_);
  ConnectOptions options;
  options.source = address_of("192.0.2.1");
  const absl::Status status =
      connect(client, "127.0.0.1", listener_.address().port(), options).status();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("source 192.0.2.1"));
}

TEST_P(TCPClientTest, ASourceOfAnotherFamilyIsNamed) {
  TCPClient client(*loop_);
  ConnectOptions options;
  options.source = address_of("::1");
  const absl::Status status =
      connect(client, "127.0.0.1", listener_.address().port(), options).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("source [::1]:0"));
}

// F130: a socket that is bound to the port that it connects to is connected to itself.
TEST_P(TCPClientTest, ASocketThatIsConnectedToItselfIsNotAConnection) {
  const uint16_t free_port = [] {
    const ClosedPort closed;
    return closed.port();
  }();
  TCPClient client(*loop_);
  ConnectOptions options;
  options.source = address_of("127.0.0.1", free_port);
  const int fds = count_open_fds();
  const absl::Status status = connect(client, "127.0.0.1", free_port, options).status();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("itself"));
  EXPECT_EQ(count_open_fds(), fds);
}

}  // namespace
}  // namespace gyre::testing
