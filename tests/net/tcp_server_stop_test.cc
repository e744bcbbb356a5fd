// How a server ends, on every backend and with each way to accept.

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "gyre/loop/task.h"
#include "gyre/net/socket_address.h"
#include "gyre/net/tcp_server.h"
#include "gyre/tests/net/stream_fixture.h"
#include "gyre/tests/net/tcp_client.h"
#include "gyre/tests/net/tcp_server_fixture.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

// More than any socket's buffers take.
constexpr size_t kLarge = 16 * 1024 * 1024;

class TCPServerStop : public TcpServerTest {
 protected:
  // Sends a large answer to each connection, and tells when it is under way.
  void serve_large_answers() {
    serve([this](std::shared_ptr<IOStream> stream) {
      stream->write(large_answer());
      answered_.set();
    });
  }

  // Made once, since that takes longer than to send it.
  static const std::string& large_answer() {
    static const auto* answer = new std::string(numbered_bytes(kLarge));
    return *answer;
  }

  Event answered_;
};
GYRE_FOR_EACH_SERVER(TCPServerStop);

// ---- stop_listening

TEST_P(TCPServerStop, ListeningRefusesNewConnectionsAndTheOpenOnesGoOn) {
  serve_echo();
  TcpClient client = connect();
  expect_echo(client);
  server_->stop_listening();
  EXPECT_FALSE(TcpClient(server_->address()).connected());
  expect_echo(client, "still there");
  EXPECT_EQ(server_->open_connections(), 1u);
}

TEST_P(TCPServerStop, ListeningTwiceOrWithoutListeningIsNothing) {
  serve_echo();
  server_->stop_listening();
  server_->stop_listening();
  TCPServer idle(
      *pool_, [](std::shared_ptr<IOStream>) {}, options());
  idle.stop_listening();
  EXPECT_EQ(idle.drain(hours(1)).cut_off, 0u);
  idle.close_now();
}

TEST_P(TCPServerStop, ListeningMayBeFollowedByListen) {
  serve_echo();
  server_->stop_listening();
  const absl::Status status = server_->listen(server_->port(), "127.0.0.1");
  ASSERT_TRUE(status.ok()) << status;
  TcpClient client = connect();
  expect_echo(client);
}

// With connections waiting to be accepted, and others on their way to their loops.
TEST_P(TCPServerStop, ListeningUnderABurstOfConnectionsIsQuiet) {
  serve_echo();
  std::atomic<bool> stop{false};
  std::thread clients([&, address = server_->address()] {
    while (!stop.load()) TcpClient(address).send("x");
  });
  EXPECT_TRUE(comes_true([&] { return accepted() > 50; }));
  server_->stop_listening();
  stop.store(true);
  clients.join();
  EXPECT_TRUE(comes_true([&] { return server_->open_connections() == 0; }));
}

// ---- drain

TEST_P(TCPServerStop, DrainWithoutConnectionsIsDoneAtOnce) {
  serve_echo();
  EXPECT_EQ(server_->drain(hours(1)).cut_off, 0u);
}

TEST_P(TCPServerStop, DrainClosesIdleConnections) {
  serve_echo();
  TcpClient client = connect();
  expect_echo(client);
  EXPECT_EQ(server_->drain(hours(1)).cut_off, 0u);
  EXPECT_EQ(server_->open_connections(), 0u);
  EXPECT_TRUE(client.sees_end());
}

TEST_P(TCPServerStop, DrainLosesNothingOfAnswersThatAreUnderWay) {
  serve_large_answers();
  TcpClient client = connect();
  EXPECT_TRUE(answered_.wait());
  std::thread reader([&] {
    EXPECT_TRUE(client.receive(kLarge) == large_answer());
    EXPECT_TRUE(client.sees_end());
    client.close();
  });
  EXPECT_EQ(server_->drain(hours(1)).cut_off, 0u);
  reader.join();
}

TEST_P(TCPServerStop, DrainCutsOffAtItsDeadlineWhoDoesNotRead) {
  use_virtual_time();
  serve_large_answers();
  TcpClient first = connect(), second = connect();
  EXPECT_TRUE(answered_.wait(2));
  EXPECT_EQ(server_->drain(hours(1)).cut_off, 2u);
  EXPECT_EQ(server_->open_connections(), 0u);
  EXPECT_LT(first.receive(kLarge).size(), kLarge);
}

TEST_P(TCPServerStop, DrainRefusesNewConnections) {
  serve_large_answers();
  TcpClient client = connect();
  EXPECT_TRUE(answered_.wait());
  const SocketAddress address = server_->address();
  std::thread drainer([&] { EXPECT_EQ(server_->drain(hours(1)).cut_off, 0u); });
  EXPECT_TRUE(comes_true([&] {
    // Whoever gets in is answered: not so many that the loops have nothing else to do.
    std::this_thread::sleep_for(milliseconds(50));
    return !TcpClient(address).connected();
  }));
  EXPECT_EQ(client.receive(kLarge).size(), kLarge);
  client.close();
  drainer.join();
}

TEST_P(TCPServerStop, DrainFailsTheReadsOfCoroutinesWhichThenEnd) {
  Event waiting, ended;
  serve([&](std::shared_ptr<IOStream> stream) -> Task<void> {
    waiting.set();
    const absl::StatusOr<std::string> line = co_await stream->read_until("\n");
    EXPECT_EQ(line.status().code(), absl::StatusCode::kCancelled) << line.status();
    ended.set();
  });
  TcpClient client = connect();
  EXPECT_TRUE(waiting.wait());
  EXPECT_EQ(server_->drain(hours(1)).cut_off, 0u);
  EXPECT_TRUE(ended.wait());
}

TEST_P(TCPServerStop, DrainTwiceIsOnce) {
  serve_echo();
  TcpClient client = connect();
  expect_echo(client);
  EXPECT_EQ(server_->drain(hours(1)).cut_off, 0u);
  EXPECT_EQ(server_->drain(hours(1)).cut_off, 0u);
}

TEST_P(TCPServerStop, DrainForTheLongestTimeDoesNotOverflow) {
  serve_echo();
  TcpClient client = connect();
  expect_echo(client);
  EXPECT_EQ(server_->drain(IOLoop::Duration::max()).cut_off, 0u);
}

// At any moment of an exchange: what was answered arrives whole, and then the end.
TEST_P(TCPServerStop, DrainAmidRequestsEndsEachConnectionAfterAWholeAnswer) {
  serve([](std::shared_ptr<IOStream> stream) -> Task<void> {
    for (;;) {
      const absl::StatusOr<std::string> line = co_await stream->read_until("\n");
      if (!line.ok()) co_return;
      stream->write(*line + *line);
    }
  });
  std::vector<std::thread> clients;
  Event exchanged;
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back([&, address = server_->address()] {
      TcpClient client(address);
      const std::string line = std::string(1000, 'x') + "\n";
      for (;;) {
        if (!client.send(line)) return;
        const std::string answer = client.receive(2 * line.size());
        if (answer.empty()) return;
        EXPECT_EQ(answer.size(), 2 * line.size()) << "a part of an answer";
        exchanged.set();
        if (answer.size() < 2 * line.size()) return;
      }
    });
  }
  EXPECT_TRUE(exchanged.wait(100));
  EXPECT_EQ(server_->drain(hours(1)).cut_off, 0u);
  for (std::thread& client : clients) client.join();
}

// ---- close_now

TEST_P(TCPServerStop, CloseNowEndsEveryConnection) {
  serve_large_answers();
  std::vector<TcpClient> clients;
  for (int i = 0; i < 5; ++i) clients.push_back(connect());
  EXPECT_TRUE(answered_.wait(5));
  server_->close_now();
  EXPECT_EQ(server_->open_connections(), 0u);
  for (TcpClient& client : clients) EXPECT_LT(client.receive(kLarge).size(), kLarge);
  EXPECT_FALSE(TcpClient(server_->address()).connected());
  server_->close_now();
}

TEST_P(TCPServerStop, ADestroyedServerEndsEveryConnectionWithTheReason) {
  Event told;
  absl::Status reason;
  serve([&](std::shared_ptr<IOStream> stream) {
    stream->set_close_callback([&](const absl::Status& status) {
      reason = status;
      told.set();
    });
    stream->write("!");
  });
  TcpClient client = connect();
  EXPECT_EQ(client.receive(1), "!");
  server_.reset();
  EXPECT_TRUE(client.sees_end());
  EXPECT_TRUE(told.wait());
  EXPECT_EQ(reason.code(), absl::StatusCode::kCancelled) << reason;
}

TEST_P(TCPServerStop, APoolThatWasStoppedFirstIsNoHindrance) {
  serve_echo();
  TcpClient client = connect();
  expect_echo(client);
  pool_->stop();
  pool_->join();
  server_.reset();
  pool_.reset();
  EXPECT_TRUE(client.sees_end()) << "the loop closes what the server could not";
}

TEST_P(TCPServerStop, OneServerLeavesTheOtherOfThePoolAlone) {
  serve_echo();
  TcpClient client = connect();
  expect_echo(client);
  {
    TCPServer other(
        *pool_, [](std::shared_ptr<IOStream> stream) { stream->write("!"); }, options());
    ASSERT_TRUE(other.listen(0, "127.0.0.1").ok());
    TcpClient of_other(other.address());
    EXPECT_EQ(of_other.receive(1), "!");
    EXPECT_EQ(other.open_connections(), 1u);
    EXPECT_EQ(server_->open_connections(), 1u);
  }
  expect_echo(client);
}

TEST_P(TCPServerStop, AHundredTimesServersComeAndGo) {
  for (int i = 0; i < 100; ++i) {
    serve_echo();
    TcpClient client = connect();
    if (i % 2 == 0) expect_echo(client);
    if (i % 3 == 0) server_->drain(hours(1));
    server_.reset();
  }
}

}  // namespace
}  // namespace gyre::testing
