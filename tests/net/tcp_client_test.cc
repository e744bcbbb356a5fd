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
#include "gyre/testing/inline_executor.h"
#include "gyre/tests/net/stream_fixture.h"
#include "gyre/tests/support/on_destroy.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

using Connected = absl::StatusOr<std::shared_ptr<IOStream>>;

SocketAddress address_of(const std::string& host, uint16_t port = 0) {
  return SocketAddress::parse(host, port).value();
}

// A port where nobody listens, and where nobody else will meanwhile: it is bound.
class ClosedPort {
 public:
  explicit ClosedPort(const std::string& host = "127.0.0.1")
      : fd_(::socket(address_of(host).family(), SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const SocketAddress address = address_of(host);
    EXPECT_EQ(::bind(fd_.get(), address.data(), address.size()), 0);
  }
  uint16_t port() const { return SocketAddress::local_of(fd_.get())->port(); }

 private:
  UniqueFd fd_;
};

// A listener whose queue is full: the kernel lets whoever connects wait.
class SilentServer {
 public:
  SilentServer() : listener_(ListenSocket::bind(address_of("127.0.0.1"), options()).value()) {
    for (int i = 0; i < 8; ++i) {
      UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
      ::connect(fd.get(), listener_.address().data(), listener_.address().size());
      waiting_.push_back(std::move(fd));
    }
  }
  uint16_t port() const { return listener_.address().port(); }

 private:
  static ListenOptions options() {
    ListenOptions options;
    options.backlog = 0;
    return options;
  }
  ListenSocket listener_;
  std::vector<UniqueFd> waiting_;
};

class TCPClientTest : public StreamTest {
 protected:
  TCPClientTest() : StreamTest(TestTime::kVirtual) {}

  // The addresses of "example.test", whatever the port.
  std::shared_ptr<Resolver> resolver(const std::vector<std::string>& hosts) {
    ResolverOptions options;
    options.executor = &executor_;
    options.lookup = [hosts](const std::string&) -> ResolvedAddresses {
      std::vector<SocketAddress> addresses;
      for (const std::string& host : hosts) addresses.push_back(address_of(host));
      return addresses;
    };
    return std::make_shared<Resolver>(std::move(options));
  }
  Connected connect(TCPClient& client, std::string_view host, uint16_t port,
                    ConnectOptions options = {}) {
    return loop_->run_sync(
        [&]() -> Task<Connected> { co_return co_await client.connect(host, port, options); },
        kDeadline);
  }
  UniqueFd accept(const ListenSocket& listener) {
    UniqueFd fd;
    run_until([&] {
      fd = UniqueFd(::accept(listener.fileno(), nullptr, nullptr));
      return static_cast<bool>(fd);
    });
    make_nonblocking(fd.get());
    return fd;
  }

  // The kernel connects in its own time: no delay passes meanwhile, unless a test is about that.
  std::optional<VirtualTime::Hold> hold_{std::in_place, virtual_time_};
  InlineExecutor executor_;
  ListenSocket listener_ = ListenSocket::bind(address_of("127.0.0.1")).value();
};
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

// ---- Failures

TEST_P(TCPClientTest, TheErrorNamesEveryAttempt) {
  const ClosedPort closed;
  const std::string port = std::to_string(closed.port());
  TCPClient client(*loop_, resolver({"::1", "127.0.0.1", "127.0.0.2"}));
  const int fds = count_open_fds();
  const absl::Status status = connect(client, "example.test", closed.port()).status();
  EXPECT_EQ(status.code(), StatusCode::kUnavailable) << status;
  for (const std::string& text : {"connecting to example.test:" + port, "[::1]:" + port,
                                  "127.0.0.1:" + port, "127.0.0.2:" + port}) {
    EXPECT_THAT(std::string(status.message()), HasSubstr(text));
  }
  EXPECT_EQ(count_open_fds(), fds);
}

// The kernel refuses it inside of connect(2): a TCP connection has no broadcast address.
TEST_P(TCPClientTest, AnErrorInsideOfTheCallIsLikeAnyOther) {
  TCPClient client(*loop_, resolver({"255.255.255.255", "127.0.0.1"}));
  const Connected stream = connect(client, "example.test", listener_.address().port());
  EXPECT_TRUE(stream.ok()) << stream.status();
  const absl::Status status = connect(client, "255.255.255.255", 80).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("255.255.255.255:80: connect: "));
}

TEST_P(TCPClientTest, AnUnknownNameIsTheResolversError) {
  ResolverOptions options;
  options.lookup = [](const std::string&) -> ResolvedAddresses {
    return absl::NotFoundError("host \"example.test\": no such name");
  };
  TCPClient client(*loop_, std::make_shared<Resolver>(std::move(options)));
  const absl::Status status = connect(client, "example.test", 80).status();
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("connecting to example.test:80: host \"example.test\": no such name"));
}

TEST_P(TCPClientTest, BadArgumentsAreErrorsThatNameThem) {
  TCPClient client(*loop_);
  ConnectOptions family, delay;
  family.family = 77;
  delay.attempt_delay = std::chrono::seconds(-1);
  const std::pair<absl::Status, std::string> kCases[] = {
      {connect(client, "127.0.0.1", 0).status(), "port 0"},
      {connect(client, "", 80).status(), "empty"},
      {connect(client, std::string_view("a\0b", 3), 80).status(), "NUL"},
      {connect(client, "127.0.0.1", 80, family).status(), "family 77"},
      {connect(client, "127.0.0.1", 80, delay).status(), "attempt_delay"},
  };
  for (const auto& [status, text] : kCases) {
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(text));
  }
}

TEST_P(TCPClientTest, TheTimeOfAllIsDeadlineExceeded) {
  hold_.reset();
  const SilentServer silent;
  TCPClient client(*loop_);
  ConnectOptions options;
  options.timeout = std::chrono::seconds(3);
  const int fds = count_open_fds();
  const absl::Status status = connect(client, "127.0.0.1", silent.port(), options).status();
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("no answer yet"));
  EXPECT_EQ(count_open_fds(), fds);
}

TEST_P(TCPClientTest, TheTimeOfAnAttemptIsDeadlineExceededToo) {
  hold_.reset();
  const SilentServer silent;
  TCPClient client(*loop_);
  ConnectOptions options;
  options.attempt_timeout = std::chrono::seconds(3);
  const absl::Status status = connect(client, "127.0.0.1", silent.port(), options).status();
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded) << status;
}

// An executor that never comes to the lookup.
class NoExecutor final : public Executor {
 public:
  bool execute(Callback work) override {
    held.push_back(std::move(work));
    return true;
  }
  std::vector<Callback> held;
};

TEST_P(TCPClientTest, ResolvingIsWithinTheTimeOfAll) {
  hold_.reset();
  NoExecutor executor;
  ResolverOptions resolver_options;
  resolver_options.executor = &executor;
  TCPClient client(*loop_, std::make_shared<Resolver>(resolver_options));
  ConnectOptions options;
  options.timeout = std::chrono::milliseconds(20);
  const absl::Status status = connect(client, "example.test", 80, options).status();
  EXPECT_EQ(status.code(), StatusCode::kDeadlineExceeded) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("resolved"));
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

// ---- Giving up

TEST_P(TCPClientTest, CancelledItClosesWhatItHasBegun) {
  const SilentServer silent;
  TCPClient client(*loop_);
  CancellationSource source;
  ConnectOptions options;
  options.cancellation = source.token();
  const int fds = count_open_fds();
  absl::Status status;
  client.connect(
      "127.0.0.1", silent.port(), [&](Connected stream) { status = stream.status(); }, options);
  run_turns(2);
  EXPECT_EQ(count_open_fds(), fds + 1);
  source.cancel();
  EXPECT_TRUE(status.ok()) << "never inside of cancel()";
  run_until([&] { return !status.ok(); });
  EXPECT_EQ(status.code(), StatusCode::kCancelled) << status;
  EXPECT_EQ(count_open_fds(), fds);
}

TEST_P(TCPClientTest, CancelledBeforehandItDoesNotBegin) {
  TCPClient client(*loop_);
  CancellationSource source;
  source.cancel();
  ConnectOptions options;
  options.cancellation = source.token();
  EXPECT_EQ(connect(client, "127.0.0.1", listener_.address().port(), options).status().code(),
            StatusCode::kCancelled);
}

TEST_P(TCPClientTest, CancelledAfterItsEndItDoesNothing) {
  TCPClient client(*loop_);
  CancellationSource source;
  ConnectOptions options;
  options.cancellation = source.token();
  const Connected stream = connect(client, "127.0.0.1", listener_.address().port(), options);
  source.cancel();
  run_turns(2);
  EXPECT_TRUE(stream.ok());
  EXPECT_FALSE((*stream)->closed());
}

TEST_P(TCPClientTest, ATaskThatIsNotWaitedForAnyMoreClosesWhatItHasBegun) {
  hold_.reset();
  const SilentServer silent;
  TCPClient client(*loop_);
  const int fds = count_open_fds();
  run_task([&]() -> Task<void> {
    const Connected result = co_await with_timeout(std::chrono::milliseconds(20),
                                                   client.connect("127.0.0.1", silent.port()));
    EXPECT_EQ(result.status().code(), StatusCode::kDeadlineExceeded);
    EXPECT_EQ(count_open_fds(), fds);
  });
}

TEST_P(TCPClientTest, ATaskDoesNotNeedItsClientAnyMore) {
  auto client = std::make_unique<TCPClient>(*loop_);
  Task<Connected> task = client->connect("127.0.0.1", listener_.address().port());
  client.reset();
  run_task([&]() -> Task<void> {
    const Connected stream = co_await task;
    EXPECT_TRUE(stream.ok()) << stream.status();
  });
}

TEST_P(TCPClientTest, OnALoopThatIsClosedMeanwhileNobodyIsToldAndNoFdIsLeft) {
  const SilentServer silent;
  const int fds = count_open_fds();
  bool called = false, destroyed = false;
  std::unique_ptr<IOLoop> loop = make_loop();
  {
    TCPClient client(*loop);
    client.connect(
        "127.0.0.1", silent.port(),
        [&, n = OnDestroy([&] { destroyed = true; })](const Connected&) { called = true; });
    loop->spawn_callback([&client, port = silent.port()]() -> Task<void> {
      static_cast<void>(co_await client.connect("127.0.0.1", port));
    });
    run_turns(*loop, 3);
  }
  loop.reset();
  EXPECT_TRUE(destroyed);
  EXPECT_FALSE(called);
  EXPECT_EQ(count_open_fds(), fds);
}

}  // namespace
}  // namespace gyre::testing
