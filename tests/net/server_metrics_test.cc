// What a server and its connections show of themselves.

#include "gyre/net/server_metrics.h"

#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/tests/net/tcp_server_fixture.h"
#include "gyre/tests/support/promtool.h"

namespace gyre::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class ServerMetrics : public TcpServerTest {
 protected:
  LoopMetrics sum() const {
    LoopMetrics sum;
    for (int i = 0; i < kLoops; ++i) {
      const LoopMetrics metrics = pool_->loop(i).metrics();
      sum.connections += metrics.connections;
      sum.bytes_received += metrics.bytes_received;
      sum.bytes_sent += metrics.bytes_sent;
    }
    return sum;
  }
};
GYRE_FOR_EACH_SERVER(ServerMetrics);

TEST_P(ServerMetrics, BytesAreCountedAsTheyComeAndConnectionsWhileTheyAreOpen) {
  serve_echo();
  TcpClient one = connect(), other = connect();
  expect_echo(one, "hello");
  expect_echo(other, "you");
  EXPECT_EQ(sum().connections, 2u);
  EXPECT_EQ(sum().bytes_received, 8u);
  EXPECT_TRUE(comes_true([&] { return sum().bytes_sent == 8u; }));
  one.close();
  EXPECT_TRUE(comes_true([&] { return sum().connections == 1u; }));
  server_->close_now();
  EXPECT_TRUE(comes_true([&] { return sum().connections == 0u; }));
  EXPECT_EQ(sum().bytes_received, 8u);
}

TEST_P(ServerMetrics, BytesThatHadToWaitAreCountedWhenTheKernelTakesThem) {
  constexpr size_t kBytes = 16 * 1024 * 1024;
  serve([](std::shared_ptr<IOStream> stream) { stream->write(std::string(kBytes, 'x')); });
  TcpClient client = connect();
  EXPECT_TRUE(comes_true([&] { return sum().bytes_sent > 0; }));
  EXPECT_LT(sum().bytes_sent, kBytes) << "nobody has read";
  EXPECT_EQ(client.receive(kBytes).size(), kBytes);
  EXPECT_TRUE(comes_true([&] { return sum().bytes_sent == kBytes; }));
}

TEST_P(ServerMetrics, AcceptsAreShownForEachLoopThatAccepts) {
  serve_echo();
  TcpClient one = connect(), other = connect();
  expect_echo(one);
  expect_echo(other);
  const std::vector<TCPServer::AcceptorStats> acceptors = server_->acceptors();
  uint64_t accepted = 0;
  for (const TCPServer::AcceptorStats& acceptor : acceptors) accepted += acceptor.metrics.accepted;
  EXPECT_EQ(accepted, 2u);
  if (std::get<AcceptMode>(GetParam()) == AcceptMode::kThread) {
    ASSERT_EQ(acceptors.size(), 1u);
    EXPECT_EQ(acceptors[0].loop, "gyre-accept");
  } else {
    ASSERT_EQ(acceptors.size(), 2u);
    EXPECT_EQ(acceptors[1].loop, "pool-1");
  }
}

TEST_P(ServerMetrics, APageOfTwoServersPassesPromtoolsCheck) {
  serve_echo();
  TcpClient client = connect();
  expect_echo(client);
  TCPServerOptions second = options();
  second.name = "second";
  TCPServer other(
      *pool_, [](std::shared_ptr<IOStream>) {}, second);
  PrometheusText page;
  page.add(*pool_);
  add_metrics(page, *server_);
  add_metrics(page, other);
  const std::string text = page.to_string();
  EXPECT_THAT(text,
              AllOf(HasSubstr("gyre_server_rejected_total{server=\"gyre\",loop="),
                    HasSubstr(",limit=\"rate\"} 0\n"),
                    HasSubstr("gyre_server_connections{server=\"second\",loop=\"pool-1\"} 0")));
  if (!have_promtool()) GTEST_SKIP() << "needs promtool, of Debian's package prometheus";
  EXPECT_EQ(promtool_complaints(text), "");
}

TEST_P(ServerMetrics, ADumpOfThePoolHasEveryConnectionWithItsPeerAndWhatIsPending) {
  serve([](std::shared_ptr<IOStream> stream) -> Task<void> {
    while ((co_await stream->read_until("\n")).ok()) stream->write(std::string(8 << 20, 'x'));
  });
  TcpClient waits = connect(), is_sent_to = connect();
  EXPECT_TRUE(waits.send("par"));
  EXPECT_TRUE(is_sent_to.send("go\n"));
  EXPECT_EQ(is_sent_to.receive(1), "x");
  EXPECT_TRUE(comes_true([&] { return sum().bytes_received == 6u; }));
  const std::string text = pool_->dump(kDeadline);
  const auto peer = [](const TcpClient& client) {
    return ", peer " + client.local_address().to_string() + ": ";
  };
  EXPECT_THAT(text, AllOf(HasSubstr(peer(waits)), HasSubstr(peer(is_sent_to))));
  EXPECT_THAT(text, HasSubstr("a stream: waits in read_until, 3 bytes received and 0 sent, 3 not "
                              "taken yet\n"));
  EXPECT_THAT(text, HasSubstr(" wait to be sent"));
  EXPECT_THAT(text, HasSubstr("coroutines: "));
}

TEST_P(ServerMetrics, ADumpOfTheServerSaysWhereItListensUntilItStops) {
  serve_echo();
  TcpClient client = connect();
  expect_echo(client);
  const std::string listens = "  listens on " + server_->address().to_string() + "\n";
  const std::string text = server_->dump(kDeadline);
  EXPECT_THAT(text, AllOf(HasSubstr("server \"gyre\": 1 connections open, 1 accepted, 0 rejected"),
                          HasSubstr(listens)));
  if (std::get<AcceptMode>(GetParam()) == AcceptMode::kThread) {
    EXPECT_THAT(text, AllOf(HasSubstr("loop \"gyre-accept\""), HasSubstr(", an acceptor\n")));
  }
  server_->stop_listening();
  EXPECT_THAT(server_->dump(kDeadline), Not(HasSubstr(listens)));
}

}  // namespace
}  // namespace gyre::testing
