// The server, on every backend and with each way to accept.

#include "gyre/net/tcp_server.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <limits>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/loop_access.h"
#include "gyre/loop/task.h"
#include "gyre/net/listen_socket.h"
#include "gyre/net/socket_address.h"
#include "gyre/tests/net/stream_fixture.h"
#include "gyre/tests/net/tcp_client.h"
#include "gyre/tests/net/tcp_server_fixture.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using std::chrono::milliseconds;
using ::testing::HasSubstr;

class TCPServerServes : public TcpServerTest {};
GYRE_FOR_EACH_SERVER(TCPServerServes);

TEST_P(TCPServerServes, Echo) {
  serve_echo();
  EXPECT_NE(server_->port(), 0);
  TcpClient client = connect();
  expect_echo(client, "hello");
  expect_echo(client, std::string(100000, 'x'));
}

TEST_P(TCPServerServes, ManyAtATime) {
  serve_echo();
  std::vector<TcpClient> clients;
  for (int i = 0; i < 100; ++i) clients.push_back(connect());
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 100; ++i) expect_echo(clients[i], "client " + std::to_string(i));
  }
  EXPECT_EQ(server_->open_connections(), 100u);
  EXPECT_EQ(accepted(), 100u);
}

TEST_P(TCPServerServes, EachConnectionOnTheLoopThatItLivesOn) {
  std::mutex mutex;
  std::set<std::string> loops;
  serve([&](std::shared_ptr<IOStream> stream) {
    EXPECT_TRUE(stream->loop().in_loop_thread());
    {
      std::lock_guard<std::mutex> lock(mutex);
      loops.insert(std::string(stream->loop().name()));
    }
    stream->write("!");
  });
  std::vector<TcpClient> clients;
  for (int i = 0; i < 40; ++i) clients.push_back(connect());
  for (TcpClient& client : clients) EXPECT_EQ(client.receive(1), "!");
  std::lock_guard<std::mutex> lock(mutex);
  // Who shares a socket need not have one each: the first to wake may take them all.
  if (std::get<AcceptMode>(GetParam()) == AcceptMode::kShared) return;
  EXPECT_THAT(loops, ::testing::ElementsAre("pool-0", "pool-1"));
}

TEST_P(TCPServerServes, WithACoroutineThatWritesAndClosesNothingIsLost) {
  // Shared: when the client has it all, the server may still be at the call that sent it.
  const auto shared = std::make_shared<const std::string>(numbered_bytes(1 << 20));
  const std::string& answer = *shared;
  serve([shared](std::shared_ptr<IOStream> stream) -> Task<void> {
    const absl::StatusOr<std::string> line = co_await stream->read_until("\n");
    EXPECT_EQ(*line, "question\n");
    EXPECT_TRUE((co_await stream->write(*shared)).ok());
    stream->close();
  });
  TcpClient client = connect();
  EXPECT_TRUE(client.send("question\n"));
  EXPECT_TRUE(client.receive(answer.size()) == answer);
  EXPECT_TRUE(client.sees_end());
}

// What a coroutine lambda captured has to live as long as its task.
TEST_P(TCPServerServes, WithACoroutineItsCapturesOutliveTheServer) {
  Event waiting, ended;
  serve([&, text = std::make_shared<std::string>("captured")](
            std::shared_ptr<IOStream> stream) -> Task<void> {
    waiting.set();
    const absl::StatusOr<std::string> read = co_await stream->read_bytes(1);
    EXPECT_FALSE(read.ok());
    EXPECT_EQ(*text, "captured");
    ended.set();
  });
  TcpClient client = connect();
  EXPECT_TRUE(waiting.wait());
  server_.reset();
  EXPECT_TRUE(ended.wait());
}

// A client may send before anybody asks to read, and end.
TEST_P(TCPServerServes, WhatCameBeforeTheHandler) {
  serve([](std::shared_ptr<IOStream> stream) -> Task<void> {
    const absl::StatusOr<std::string> all = co_await stream->read_until_close();
    EXPECT_EQ(*all, "all at once");
  });
  for (int i = 0; i < 20; ++i) {
    TcpClient client = connect();
    EXPECT_TRUE(client.send("all at once"));
    client.end();
    EXPECT_TRUE(client.sees_end());
  }
}

TEST_P(TCPServerServes, AHandlerThatThrowsClosesItsConnectionAndTheOthersGoOn) {
  log_.allow("from the handler");
  std::atomic<int> calls{0};
  serve([&](std::shared_ptr<IOStream> stream) {
    if (calls.fetch_add(1) == 0) throw std::runtime_error("from the handler");
    stream->write("!");
  });
  TcpClient first = connect();
  EXPECT_TRUE(first.sees_end());
  TcpClient second = connect();
  EXPECT_EQ(second.receive(1), "!");
  EXPECT_EQ(log_.count("from the handler"), 1);
  EXPECT_EQ(server_->open_connections(), 1u);
}

TEST_P(TCPServerServes, ACoroutineThatThrowsClosesItsConnection) {
  log_.expect(LogLevel::kError, "from the coroutine");
  serve([](std::shared_ptr<IOStream> stream) -> Task<void> {
    static_cast<void>(co_await stream->read_bytes(1));
    throw std::runtime_error("from the coroutine");
  });
  TcpClient client = connect();
  EXPECT_TRUE(client.send("x"));
  EXPECT_TRUE(client.sees_end());
}

// Its stream belongs to the loop on which it began.
TEST_P(TCPServerServes, ACoroutineThatThrowsOnAnotherLoopClosesItsConnection) {
  log_.allow("from afar");
  serve([this](std::shared_ptr<IOStream> stream) -> Task<void> {
    static_cast<void>(co_await stream->read_bytes(1));
    IOLoop& other = pool_->loop(&stream->loop() == &pool_->loop(0) ? 1 : 0);
    static_cast<void>(co_await resume_on(other));
    throw std::runtime_error("from afar");
  });
  for (int i = 0; i < 10; ++i) {
    TcpClient client = connect();
    EXPECT_TRUE(client.send("x"));
    EXPECT_TRUE(client.sees_end());
  }
  EXPECT_TRUE(comes_true([&] { return server_->open_connections() == 0; }));
}

TEST_P(TCPServerServes, ClientsThatResetLeaveNothingBehind) {
  serve_echo();
  for (int i = 0; i < 100; ++i) {
    TcpClient client = connect();
    if (i % 2 == 0) client.send("x");
    reset_connection(UniqueFd(::dup(client.fileno())));  // sets it for the socket, not for the fd
    client.close();
  }
  EXPECT_TRUE(comes_true([&] { return server_->open_connections() == 0; }));
  TcpClient client = connect();
  expect_echo(client);
}

// ---- Statistics

TEST_P(TCPServerServes, StatsCountConnectionsAndTheBytesOfThoseThatAreClosed) {
  serve_echo();
  {
    TcpClient client = connect();
    expect_echo(client, "12345");
    EXPECT_EQ(server_->open_connections(), 1u);
  }
  EXPECT_TRUE(comes_true([&] { return server_->open_connections() == 0; }));
  TCPServer::LoopStats sum;
  for (int i = 0; i < kLoops; ++i) {
    const TCPServer::LoopStats stats = server_->stats(i);
    sum.accepted += stats.accepted;
    sum.open += stats.open;
    sum.bytes_received += stats.bytes_received;
    sum.bytes_sent += stats.bytes_sent;
  }
  EXPECT_EQ(sum.accepted, 1u);
  EXPECT_EQ(sum.open, 0u);
  EXPECT_EQ(sum.bytes_received, 5u);
  EXPECT_EQ(sum.bytes_sent, 5u);
}

// ---- Listening

TEST_P(TCPServerServes, OnSeveralAddresses) {
  serve_echo();
  const SocketAddress first = server_->address();
  const absl::Status status = server_->listen(0, "127.0.0.2");
  if (!status.ok()) GTEST_SKIP() << "one loopback address only: " << status;
  EXPECT_EQ(server_->address(), first);
  TcpClient client = connect();
  expect_echo(client);
}

// The address is handed out as a reference, and asked for without a lock.
TEST_P(TCPServerServes, OnFurtherAddressesWhileTheFirstIsLookedAt) {
  serve_echo();
  const SocketAddress& first = server_->address();
  const uint16_t port = first.port();
  std::thread listener([&] {
    for (int i = 0; i < 8; ++i) EXPECT_TRUE(server_->listen(0, "127.0.0.1").ok());
  });
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(server_->port(), port);
  listener.join();
  EXPECT_EQ(first.port(), port);
}

TEST_P(TCPServerServes, HoweverLargeTheBatchesMayBe) {
  TCPServerOptions largest = options();
  largest.accept_batch = std::numeric_limits<size_t>::max();
  serve([](std::shared_ptr<IOStream> stream) { stream->write("!"); }, std::move(largest));
  TcpClient client = connect();
  EXPECT_EQ(client.receive(1), "!");
}

TEST_P(TCPServerServes, OnEveryIPv4AddressWithoutAHost) {
  serve_echo();
  EXPECT_TRUE(server_->listen(0).ok());
}

TEST_P(TCPServerServes, OnAPortInUseFailsAndTheFirstGoesOn) {
  serve_echo();
  const ListenSocket taken =
      ListenSocket::bind(SocketAddress::parse("127.0.0.1", 0).value()).value();
  const int fds = count_open_fds();
  const absl::Status status = server_->listen(taken.address().port(), "127.0.0.1");
  EXPECT_EQ(status.code(), StatusCode::kAlreadyExists) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(taken.address().to_string()));
  EXPECT_EQ(count_open_fds(), fds);
  TcpClient client = connect();
  expect_echo(client);
}

TEST_P(TCPServerServes, OnAnUnknownHostIsNotFound) {
  serve_echo();
  EXPECT_EQ(server_->listen(0, std::string(70, 'x') + ".invalid").code(), StatusCode::kNotFound);
}

TEST_P(TCPServerServes, WithOptionsThatAreNoneNowhereAndNamesThem) {
  const auto expect_named = [&](const std::string& name, auto change) {
    TCPServerOptions bad = options();
    change(bad);
    TCPServer server(
        *pool_, [](std::shared_ptr<IOStream>) {}, std::move(bad));
    for (const absl::Status& status :
         {server.listen(0, "127.0.0.1"),
          server.listen(SocketAddress::parse("127.0.0.1", 0).value())}) {
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
      EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr(name));
    }
  };
  const double no_number = std::numeric_limits<double>::quiet_NaN();
  expect_named("accepts_per_second", [](auto& bad) { bad.limits.accepts_per_second = -1; });
  expect_named("accepts_per_second", [&](auto& bad) { bad.limits.accepts_per_second = no_number; });
  expect_named("accept_burst", [&](auto& bad) { bad.limits.accept_burst = no_number; });
  expect_named("max_buffer_size", [](auto& bad) { bad.stream.max_buffer_size = 0; });
  expect_named("idle_timeout", [](auto& bad) { bad.stream.idle_timeout = milliseconds(-1); });
  expect_named("header_timeout",
               [](auto& bad) { bad.proxy_protocol.emplace().header_timeout = milliseconds(0); });
  expect_named("backlog", [](auto& bad) { bad.listen.backlog = -1; });
}

TEST_P(TCPServerServes, OnAPoolThatWasStoppedIsAnErrorAndLeavesNothing) {
  pool_->stop();
  pool_->join();
  server_ = std::make_unique<TCPServer>(
      *pool_, [](std::shared_ptr<IOStream>) {}, options());
  // Which thread accepts decides whether it is noticed now.
  server_->listen(0, "127.0.0.1").IgnoreError();
}

// The post that makes the acceptor is destroyed by the loop, unrun.
TEST_P(TCPServerServes, OnALoopThatClosesMeanwhileIsAnErrorAndLeavesNothing) {
  if (std::get<AcceptMode>(GetParam()) == AcceptMode::kThread) {
    GTEST_SKIP() << "the acceptor's loop is the server's own";
  }
  IOLoop& loop = pool_->loop(0);
  Event blocked;
  loop.add_callback([&] {
    blocked.set();
    const auto queue = internal::LoopAccess::queue(loop);
    for (Patience patience; queue->quiet() && patience.left();) std::this_thread::yield();
    pool_->stop();
  });
  ASSERT_TRUE(blocked.wait());
  server_ = std::make_unique<TCPServer>(
      *pool_, [](std::shared_ptr<IOStream>) {}, options());
  absl::Status status;
  std::thread listener([&] { status = server_->listen(0, "127.0.0.1"); });
  pool_->join();
  EXPECT_TRUE(loop.close().ok());
  listener.join();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition) << status;
}

// ---- What has no mode

TEST(AcceptModeName, IsParsed) {
  EXPECT_EQ(parse_accept_mode("thread").value(), AcceptMode::kThread);
  EXPECT_EQ(parse_accept_mode("shared").value(), AcceptMode::kShared);
  EXPECT_EQ(parse_accept_mode("reuseport").value(), AcceptMode::kReusePort);
}

TEST(AcceptModeName, ThatIsUnknownIsQuotedAndTheOthersAreNamed) {
  for (const char* name : {"", "Thread", "reuse_port", "threads"}) {
    const absl::Status status = parse_accept_mode(name).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("\"" + std::string(name) + "\""));
    EXPECT_THAT(std::string(status.message()), HasSubstr("thread, shared and reuseport"));
  }
}

// Where one thread deals the connections out.
class TCPServerPlaces : public TcpServerTest {
 protected:
  std::vector<uint64_t> open() const { return {server_->stats(0).open, server_->stats(1).open}; }
};
GYRE_FOR_EACH_SERVER_BY_ACCEPTOR(TCPServerPlaces);

TEST_P(TCPServerPlaces, ConnectionsRoundRobinExactly) {
  serve_echo();
  std::vector<TcpClient> clients;
  for (int i = 0; i < 21; ++i) clients.push_back(connect());
  for (TcpClient& client : clients) expect_echo(client);
  EXPECT_THAT(open(), ::testing::ElementsAre(11, 10));
}

TEST_P(TCPServerPlaces, ConnectionsWhereFewestAreOpen) {
  TCPServerOptions least = options();
  least.placement = Placement::kLeastConnections;
  std::mutex mutex;
  std::vector<std::pair<SocketAddress, std::string>> places;
  serve(
      [&](std::shared_ptr<IOStream> stream) {
        {
          // Given back before the client hears of it, and the test may end.
          std::lock_guard<std::mutex> lock(mutex);
          places.emplace_back(stream->peer_address().value(), stream->loop().name());
        }
        stream->write("!");
      },
      std::move(least));
  std::vector<TcpClient> clients;
  for (int i = 0; i < 20; ++i) {
    clients.push_back(connect());
    EXPECT_EQ(clients.back().receive(1), "!");
  }
  EXPECT_THAT(open(), ::testing::ElementsAre(10, 10));
  // All of one loop's end: it gets all of the next.
  std::set<std::string> of_first;
  {
    std::lock_guard<std::mutex> lock(mutex);
    for (const auto& [peer, loop] : places) {
      if (loop == "pool-0") of_first.insert(peer.to_string());
    }
  }
  for (TcpClient& client : clients) {
    if (of_first.count(client.local_address().to_string()) > 0) client.close();
  }
  EXPECT_TRUE(comes_true([&] { return server_->stats(0).open == 0; }));
  for (int i = 0; i < 10; ++i) {
    clients.push_back(connect());
    EXPECT_EQ(clients.back().receive(1), "!");
  }
  EXPECT_THAT(open(), ::testing::ElementsAre(10, 10));
}

}  // namespace
}  // namespace gyre::testing
