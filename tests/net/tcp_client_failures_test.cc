// Connections that fail, and connecting that nobody waits for any more; on every backend.

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
#include "gyre/net/tcp_client.h"
#include "gyre/tests/net/tcp_client_fixture.h"
#include "gyre/tests/support/on_destroy.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

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
