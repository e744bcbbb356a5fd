// Whom a server lets in, and what it says of it: on every backend and with each way to accept.

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/net/listen_socket.h"
#include "gyre/net/tcp_server.h"
#include "gyre/tests/net/tcp_client.h"
#include "gyre/tests/net/tcp_server_fixture.h"
#include "gyre/tests/support/event.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

class TCPServerAccepts : public TcpServerTest {
 protected:
  void serve_echo_within(const ConnectionLimits& limits) {
    TCPServerOptions limited = options();
    limited.limits = limits;
    serve(
        [](std::shared_ptr<IOStream> stream) {
          stream
              ->set_read_callback(
                  [stream = stream.get()](std::string_view bytes) { stream->write(bytes); })
              .IgnoreError();
        },
        std::move(limited));
  }
};
GYRE_FOR_EACH_SERVER(TCPServerAccepts);

// ---- Limits

TEST_P(TCPServerAccepts, SoManyInTotalAndTheNextWaitsUntilOneEnds) {
  serve_echo_within({.total = 3});
  std::vector<TcpClient> inside;
  for (int i = 0; i < 3; ++i) {
    inside.push_back(connect());
    expect_echo(inside.back());
  }
  TcpClient next = connect();
  EXPECT_TRUE(next.send("echo"));
  EXPECT_TRUE(comes_true([&] { return server_->accept_metrics().waits >= 1; }));
  EXPECT_EQ(server_->open_connections(), 3u);
  inside[1].close();
  EXPECT_EQ(next.receive(4), "echo");
  expect_echo(inside[0]);
  EXPECT_EQ(server_->accept_metrics().rejected(), 0u);
}

TEST_P(TCPServerAccepts, SoManyInTotalAndRejectsTheNext) {
  serve_echo_within({.total = 2, .at_total = AtLimit::kReject});
  std::vector<TcpClient> inside;
  for (int i = 0; i < 2; ++i) {
    inside.push_back(connect());
    expect_echo(inside.back());
  }
  EXPECT_TRUE(connect().sees_end());
  EXPECT_EQ(server_->accept_metrics().rejected_total, 1u);
  inside[0].close();
  EXPECT_TRUE(comes_true([&] { return server_->open_connections() == 1; }));
  TcpClient next = connect();
  expect_echo(next);
}

TEST_P(TCPServerAccepts, NeverMoreThanItsLimitWhileManyComeAndGo) {
  std::atomic<int> inside{0};
  TCPServerOptions limited = options();
  limited.limits.total = 4;
  serve(
      [&](std::shared_ptr<IOStream> stream) {
        EXPECT_LE(inside.fetch_add(1) + 1, 4);
        IOStream* const raw = stream.get();
        raw->set_read_callback([&, raw](std::string_view bytes) {
             raw->write(bytes);
             inside.fetch_sub(1);
             raw->close();
           })
            .IgnoreError();
      },
      std::move(limited));
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, address = server_->address()] {
      for (int i = 0; i < 30; ++i) {
        std::vector<TcpClient> clients;
        for (int c = 0; c < 3; ++c) clients.emplace_back(address);
        for (TcpClient& client : clients) EXPECT_TRUE(client.send("x"));
        for (TcpClient& client : clients) EXPECT_EQ(client.receive(1), "x");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(server_->accept_metrics().accepted, 270u);
}

TEST_P(TCPServerAccepts, SoManyOnEachLoop) {
  serve_echo_within({.per_loop = 2, .at_loop = AtLimit::kReject});
  std::vector<TcpClient> clients;
  for (int i = 0; i < 40; ++i) clients.push_back(connect());
  EXPECT_TRUE(comes_true([&] {
    const AcceptMetrics metrics = server_->accept_metrics();
    return metrics.accepted + metrics.rejected_per_loop == 40;
  }));
  for (int i = 0; i < kLoops; ++i) EXPECT_LE(server_->stats(i).open, 2u);
  if (std::get<AcceptMode>(GetParam()) == AcceptMode::kThread) {
    EXPECT_EQ(server_->open_connections(), 4u) << "a full loop's are the other's";
  }
}

// With one socket for all, who finds no place here may find one on the other loop.
TEST_P(TCPServerAccepts, WaitingForAPlaceOnALoopLeavesTheOthersToTheOtherLoops) {
  if (std::get<AcceptMode>(GetParam()) == AcceptMode::kReusePort) {
    GTEST_SKIP() << "the kernel has chosen the loop";
  }
  serve_echo_within({.per_loop = 2});
  std::vector<TcpClient> clients;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(connect());
    expect_echo(clients.back());
  }
  for (int i = 0; i < kLoops; ++i) EXPECT_EQ(server_->stats(i).open, 2u);
  for (int i = 0; i < 4; ++i) {
    clients.push_back(connect());
    EXPECT_TRUE(clients.back().send("late"));
  }
  for (int i = 0; i < 4; ++i) {
    clients[i].close();
    EXPECT_EQ(clients[4 + i].receive(4), "late");
  }
}

TEST_P(TCPServerAccepts, SoManyFromEachSource) {
  serve_echo_within({.per_source = 2});
  TcpClient first = connect(), second = connect();
  expect_echo(first);
  expect_echo(second);
  EXPECT_TRUE(connect().sees_end());
  EXPECT_EQ(server_->accept_metrics().rejected_per_source, 1u);
  first.close();
  EXPECT_TRUE(comes_true([&] { return server_->open_connections() == 1; }));
  TcpClient again = connect();
  expect_echo(again);
}

TEST_P(TCPServerAccepts, SoManyInATime) {
  use_virtual_time();
  serve_echo_within({.accepts_per_second = 1.0 / 3600, .accept_burst = 1});
  const IOLoop::TimePoint start = time_.clock.now();
  for (int i = 0; i < 11; ++i) {
    TcpClient client = connect();
    expect_echo(client);
  }
  EXPECT_GT(time_.clock.now() - start, std::chrono::hours(9)) << "the first came at once";
  EXPECT_GE(server_->accept_metrics().waits, 1u);
}

TEST_P(TCPServerAccepts, WhoWaitsWhenTheServerEndsIsClosedAndCounted) {
  serve_echo_within({.total = 1});
  TcpClient inside = connect();
  expect_echo(inside);
  TcpClient waiting = connect();
  EXPECT_TRUE(comes_true([&] { return server_->accept_metrics().waits >= 1; }));
  server_->drain(std::chrono::hours(1));
  EXPECT_TRUE(inside.sees_end());
  EXPECT_TRUE(waiting.sees_end());
  EXPECT_EQ(server_->accept_metrics().rejected_total, 1u);
}

// ---- Listening

TEST_P(TCPServerAccepts, WithoutAHostOnTheSamePortOfBothFamilies) {
  server_ = std::make_unique<TCPServer>(
      *pool_, [](std::shared_ptr<IOStream> stream) { stream->write("!"); }, options());
  ASSERT_TRUE(server_->listen(0).ok());
  const uint16_t port = server_->port();
  TcpClient four(SocketAddress::parse("127.0.0.1", port).value());
  EXPECT_EQ(four.receive(1), "!");
  const SocketAddress loopback6 = SocketAddress::parse("::1", 0).value();
  if (!ListenSocket::bind(loopback6).ok()) GTEST_SKIP() << "no IPv6 here";
  TcpClient six(SocketAddress::parse("::1", port).value());
  EXPECT_EQ(six.receive(1), "!");
}

TEST_P(TCPServerAccepts, OnASocketThatListensAlready) {
  absl::StatusOr<ListenSocket> socket = ListenSocket::adopt(
      UniqueFd(::dup(ListenSocket::bind(SocketAddress::parse("127.0.0.1", 0).value())->fileno())));
  ASSERT_TRUE(socket.ok()) << socket.status();
  server_ = std::make_unique<TCPServer>(
      *pool_, [](std::shared_ptr<IOStream> stream) { stream->write("!"); }, options());
  const SocketAddress address = socket->address();
  const absl::Status status = server_->listen(*std::move(socket));
  if (std::get<AcceptMode>(GetParam()) == AcceptMode::kReusePort) {
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("kThread or kShared"));
    return;
  }
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(server_->address(), address);
  EXPECT_EQ(TcpClient(address).receive(1), "!");
}

// ---- Counts

TEST_P(TCPServerAccepts, CountsWhatItAccepted) {
  serve_echo();
  std::vector<TcpClient> clients;
  for (int i = 0; i < 20; ++i) clients.push_back(connect());
  for (TcpClient& client : clients) expect_echo(client);
  const AcceptMetrics metrics = server_->accept_metrics();
  EXPECT_EQ(metrics.accepted, 20u);
  EXPECT_EQ(metrics.rejected() + metrics.refused + metrics.shed + metrics.back_offs, 0u);
  EXPECT_GE(metrics.batches, 1u);
  EXPECT_LE(metrics.batches, 20u);
  const bool hands_over = std::get<AcceptMode>(GetParam()) == AcceptMode::kThread;
  EXPECT_EQ(metrics.hand_overs > 0, hands_over);
}

// ---- Where one thread deals the connections out

class TCPServerHandsOver : public TcpServerTest {};
GYRE_FOR_EACH_SERVER_BY_ACCEPTOR(TCPServerHandsOver);

// The acceptor is held up, so that the connections wait and come as one batch.
TEST_P(TCPServerHandsOver, ABatchWithOnePostAndOneWakeUpForEachLoop) {
  constexpr int kInBatch = 40;
  Event held, go_on;
  std::atomic<int> picked{0};
  TCPServerOptions slow = options();
  slow.pick_loop = [&](const SocketAddress& peer, const LoopLoads&) {
    EXPECT_EQ(peer.host(), "127.0.0.1");
#if defined(SCHED_BATCH)
    EXPECT_EQ(::sched_getscheduler(0), SCHED_BATCH) << "this thread takes the loops' CPUs";
#endif
    const int number = picked.fetch_add(1);
    if (number == 0) {
      held.set();
      EXPECT_TRUE(go_on.wait());
    }
    return static_cast<size_t>(number % kLoops);
  };
  serve([](std::shared_ptr<IOStream>) {}, std::move(slow));
  uint64_t wakeups[kLoops];
  for (int i = 0; i < kLoops; ++i) wakeups[i] = pool_->loop(i).metrics().wakeups;
  std::vector<TcpClient> clients;
  clients.push_back(connect());
  EXPECT_TRUE(held.wait());
  for (int i = 0; i < kInBatch; ++i) clients.push_back(connect());
  go_on.set();
  EXPECT_TRUE(comes_true([&] { return accepted() == kInBatch + 1; }));
  // Counted after the posts, which the loops may be done with by then.
  EXPECT_TRUE(comes_true([&] { return server_->accept_metrics().hand_overs >= 1u + kLoops; }));
  const AcceptMetrics metrics = server_->accept_metrics();
  EXPECT_EQ(metrics.batches, 2u);
  EXPECT_EQ(metrics.largest_batch, static_cast<uint64_t>(kInBatch));
  EXPECT_EQ(metrics.hand_overs, 1u + kLoops) << "one loop had none of the first batch";
  uint64_t sum = 0;
  for (int i = 0; i < kLoops; ++i) {
    const uint64_t of_loop = pool_->loop(i).metrics().wakeups - wakeups[i];
    EXPECT_LE(of_loop, metrics.batches);
    sum += of_loop;
  }
  EXPECT_LE(sum, metrics.hand_overs);
  EXPECT_GE(sum, 1u);
  EXPECT_EQ(server_->stats(0).open, 21u);
  server_.reset();  // before what pick_loop refers to
}

TEST_P(TCPServerHandsOver, TheConnectionsOfOneSourceToOneLoop) {
  TCPServerOptions hashed = options();
  hashed.placement = Placement::kSourceHash;
  serve([](std::shared_ptr<IOStream> stream) { stream->write("!"); }, std::move(hashed));
  std::vector<TcpClient> clients;
  for (int i = 0; i < 10; ++i) {
    clients.push_back(connect());
    EXPECT_EQ(clients.back().receive(1), "!");
  }
  EXPECT_EQ(std::max(server_->stats(0).open, server_->stats(1).open), 10u);
}

// A loop that is stuck counts nothing, and is the busiest all the same.
TEST_P(TCPServerHandsOver, NothingToALoopThatIsStuck) {
  TCPServerOptions busy = options();
  busy.placement = Placement::kLeastBusy;
  serve([](std::shared_ptr<IOStream> stream) { stream->write("!"); }, std::move(busy));
  Event stuck, release;
  int in_a_row = 0;
  pool_->loop(0).add_callback([&] {
    stuck.set();
    EXPECT_TRUE(release.wait());
  });
  EXPECT_TRUE(stuck.wait());
  // The meter looks when a batch comes, and has to see the loop stuck for some of its intervals.
  std::vector<TcpClient> clients;
  EXPECT_TRUE(comes_true([&] {
    const uint64_t of_other = server_->stats(1).open;
    clients.push_back(connect());
    EXPECT_TRUE(comes_true([&] { return server_->open_connections() == clients.size(); }));
    const bool other = server_->stats(1).open > of_other;
    in_a_row = other ? in_a_row + 1 : 0;
    return in_a_row == 8;
  }));
  release.set();
  for (TcpClient& client : clients) EXPECT_EQ(client.receive(1), "!");
}

}  // namespace
}  // namespace gyre::testing
