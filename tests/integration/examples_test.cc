// Every example is run, and says what its first lines claim.

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/unique_fd.h"
#include "gyre/net/socket_address.h"
#include "gyre/tests/integration/connection.h"
#include "gyre/tests/integration/process.h"
#include "gyre/tests/support/promtool.h"
#include "gyre/tests/support/temp_folder.h"

namespace gyre::testing {
namespace {

std::string example(const std::string& name) { return runfile("examples/" + name); }

TEST(Examples, HelloTimerTicksUntilItIsDone) {
  Process program({example("hello_timer")});
  EXPECT_EQ(program.wait(), 0) << program.err();
  // On a busy machine a period may be skipped, as PeriodicCallback says.
  EXPECT_THAT(program.out(), ::testing::MatchesRegex("(tick [123]\n)+done after [123] ticks\n"));
}

TEST(Examples, RunBlockingKeepsTheLoopGoing) {
  Process program({example("run_blocking")});
  EXPECT_EQ(program.wait(), 0) << program.err();
  EXPECT_EQ(program.out(), "3 * 3 + 4 * 4 = 25, and the loop's heart went on: yes\n");
}

TEST(Examples, TornadoPortSaysHelloToEachConnection) {
  Process server({example("tornado_port")});
  const uint16_t port = listening_port(server);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Connection(port).until_end(), "hello from 127.0.0.1\n");
}

TEST(Examples, LineChatTellsEverybodyOnEveryLoop) {
  Process server({example("line_chat"), "--threads=2"});
  const uint16_t port = listening_port(server);
  Connection ada(port);
  EXPECT_EQ(ada.receive(11), "your name? ");
  ada.send("ada\n");
  EXPECT_EQ(ada.line(), "* ada is here\n");
  Connection bob(port);  // round robin: on the other loop
  EXPECT_EQ(bob.receive(11), "your name? ");
  bob.send("bob\n");
  EXPECT_EQ(bob.line(), "* bob is here\n");
  EXPECT_EQ(ada.line(), "* bob is here\n");
  ada.send("hello\n");
  EXPECT_EQ(ada.line(), "ada: hello\n");
  EXPECT_EQ(bob.line(), "ada: hello\n");
  bob.end();
  EXPECT_EQ(ada.line(), "* bob left\n");
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0) << server.err();
}

TEST(Examples, IdleTimeoutClosesWhoIsSilentAndNobodyElse) {
  Process server({example("idle_timeout"), "--threads=1"});
  const uint16_t port = listening_port(server);
  Connection silent(port);
  silent.send("once");
  EXPECT_EQ(silent.receive(4), "once");
  EXPECT_EQ(silent.until_end(), "you were idle\n");
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0) << server.err();
}

// Both ports of "echo on port E, metrics on port M".
std::pair<uint16_t, uint16_t> both_ports(Process& server) {
  int echo = 0, metrics = 0;
  EXPECT_TRUE(server.wait_for_output("\n")) << server.err();
  EXPECT_EQ(
      std::sscanf(server.out().c_str(), "echo on port %d, metrics on port %d", &echo, &metrics), 2)
      << server.out();
  return {static_cast<uint16_t>(echo), static_cast<uint16_t>(metrics)};
}

std::string http_get(uint16_t port, const std::string& path) {
  Connection connection(port);
  connection.send("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n");
  return connection.until_end();
}

TEST(Examples, MetricsServerShowsWhatItsLoopsDoToPrometheus) {
  Process server({example("metrics_server")});
  const auto [echo_port, metrics_port] = both_ports(server);
  Connection client(echo_port);
  client.send("hello");
  EXPECT_EQ(client.receive(5), "hello");
  const std::string answer = http_get(metrics_port, "/metrics");
  const size_t head = answer.find("\r\n\r\n");
  ASSERT_NE(head, std::string::npos) << answer;
  EXPECT_THAT(answer.substr(0, head),
              ::testing::AllOf(::testing::HasSubstr("HTTP/1.1 200 OK"),
                               ::testing::HasSubstr("text/plain; version=0.0.4")));
  const std::string page = answer.substr(head + 4);
  EXPECT_THAT(page, ::testing::HasSubstr("gyre_server_accepted_total{server=\"echo\",loop=\"echo-"
                                         "accept\"} 1\n"));
  EXPECT_THAT(page,
              ::testing::HasSubstr("gyre_server_connections{server=\"echo\",loop=\"gyre-0\"} 1\n"));
  // The client's, and the request for this page.
  EXPECT_THAT(page, ::testing::HasSubstr("gyre_loop_connections{loop=\"gyre-0\"} 2\n"));
  if (have_promtool()) {
    EXPECT_EQ(promtool_complaints(page), "");
  }
  EXPECT_THAT(http_get(metrics_port, "/"), ::testing::HasSubstr("404 Not Found"));
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0) << server.err();
}

TEST(Examples, ServersPrintEveryLoopAndConnectionOnSIGUSR1) {
  Process server({example("echo_server"), "--threads=2"});
  const uint16_t port = listening_port(server);
  Connection client(port);
  client.send("x");
  EXPECT_EQ(client.receive(1), "x");
  server.signal(SIGUSR1);
  ASSERT_TRUE(server.wait_for_error("loop \"gyre-1\"")) << server.err();
  EXPECT_THAT(server.err(), ::testing::HasSubstr("loop \"main\""));
  EXPECT_THAT(server.err(),
              ::testing::HasSubstr("server \"gyre\": 1 connections open, 1 accepted"));
  EXPECT_THAT(server.err(), ::testing::HasSubstr("loop \"gyre-accept\""));
  EXPECT_THAT(server.err(), ::testing::HasSubstr("socket 127.0.0.1:" + std::to_string(port) +
                                                 ", peer 127.0.0.1:"));
  EXPECT_THAT(server.err(), ::testing::HasSubstr("a stream: "));
  EXPECT_THAT(server.err(), ::testing::HasSubstr("1 bytes received and 1 sent"));
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0) << server.err();
}

TEST(Examples, PingpongCountsItsRoundTripsAndTheirTimes) {
  Process server({example("echo_server"), "--threads=1"});
  const std::string target = "127.0.0.1:" + std::to_string(listening_port(server));
  Process client({example("pingpong"), "--target=" + target, "--rounds=50", "--size=1000"});
  EXPECT_EQ(client.wait(), 0) << client.err();
  EXPECT_THAT(client.out(),
              ::testing::MatchesRegex("50 round trips of 1000 bytes; microseconds: least [0-9.]+, "
                                      "median [0-9.]+, p99 [0-9.]+, most [0-9.]+\n"));
}

TEST(Examples, PingpongSaysWhomItDidNotReach) {
  std::string target;
  {
    Process server({example("echo_server"), "--threads=1"});
    target = "127.0.0.1:" + std::to_string(listening_port(server));
  }
  Process client({example("pingpong"), "--target=" + target});
  EXPECT_EQ(client.wait(), 1);
  EXPECT_EQ(client.out(), "");
  EXPECT_THAT(client.err(), ::testing::MatchesRegex("pingpong: .*" + target + ".*refused.*\n"));
}

TEST(Examples, GracefulShutdownAnswersWhoIsBusyAndEndsWhoIsIdle) {
  Process server({example("graceful_shutdown"), "--work-ms=300"});
  const uint16_t port = listening_port(server);
  Connection idle(port), busy(port);
  idle.send("first\n");
  EXPECT_EQ(idle.line(), "done: first\n");
  // While the server works on the second line the third one comes; it is the next to be taken.
  busy.send("second\n");
  busy.send("third\n");
  EXPECT_EQ(busy.line(), "done: second\n");
  server.signal(SIGTERM);
  EXPECT_EQ(idle.until_end(), "");
  EXPECT_EQ(busy.until_end(), "done: third\n");
  EXPECT_EQ(server.wait(), 0) << server.err();
  EXPECT_THAT(server.out(), ::testing::HasSubstr("draining; a second signal closes at once\n"));
  EXPECT_THAT(server.out(), ::testing::ContainsRegex("2 connections served, 0 cut off after "));
}

TEST(Examples, GracefulShutdownWaitsForNobodyAfterASecondSignal) {
  Process server({example("graceful_shutdown"), "--work-ms=60000"});
  Connection busy(listening_port(server));
  busy.send("work\n");
  server.signal(SIGTERM);
  ASSERT_TRUE(server.wait_for_output("draining"));
  server.signal(SIGTERM);
  EXPECT_EQ(busy.until_end(), "");
  EXPECT_EQ(server.wait(), 0) << server.err();
  EXPECT_THAT(server.out(), ::testing::HasSubstr("closing\n"));
}

// All that a Unix socket sends until it ends.
std::string said_on(const std::string& host) {
  const SocketAddress address = SocketAddress::parse(host, 0).value();
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(::connect(fd.get(), address.data(), address.size()), 0) << host;
  char text[256];
  const ssize_t n = ::recv(fd.get(), text, sizeof(text), MSG_WAITALL);
  return std::string(text, n > 0 ? static_cast<size_t>(n) : 0);
}

TEST(Examples, UnixSocketTellsWhoIsThereUnderBothOfItsNames) {
  const TempFolder folder;
  const std::string path = folder.file("whoami");
  const std::string name = "gyre-whoami-" + std::to_string(::getpid());
  Process server({example("unix_socket"), "--path=" + path, "--name=" + name});
  ASSERT_TRUE(server.wait_for_output("listening on unix:@" + name + "\n")) << server.err();
  EXPECT_THAT(server.out(), ::testing::HasSubstr("listening on unix:" + path + "\n"));
  const std::string expected = "you are process " + std::to_string(::getpid()) + " of user " +
                               std::to_string(::getuid()) + ", group " +
                               std::to_string(::getgid()) + "\n";
  EXPECT_EQ(said_on("unix:" + path), expected);
  EXPECT_EQ(said_on("unix:@" + name), expected);
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0) << server.err();
  EXPECT_TRUE(folder.empty()) << "its file is left";
}

}  // namespace
}  // namespace gyre::testing
