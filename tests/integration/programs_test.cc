// The programs as a user meets them: processes, flags, signals, exit codes.

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/net/listen_socket.h"
#include "gyre/tests/integration/echo_programs.h"
#include "gyre/tests/integration/process.h"
#include "gyre/tests/support/temp_folder.h"

namespace gyre::testing {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;

struct Mode {
  const char* name;
  std::vector<std::string> flags;
};

class EchoServer : public ::testing::TestWithParam<Mode> {};

TEST_P(EchoServer, GivesBackEveryByteAndEndsWithATableAtSigterm) {
  std::vector<std::string> command{echo_server(), "--threads=2"};
  command.insert(command.end(), GetParam().flags.begin(), GetParam().flags.end());
  Process server(command);
  const std::string port = port_of(server);
  Process load({tcp_load(), "--target=127.0.0.1:" + port, "--connections=50", "--size=3000",
                "--pipeline=4", "--seconds=1", "--threads=2"});
  EXPECT_EQ(load.wait(), 0) << load.err();
  EXPECT_THAT(load.out(), ContainsRegex("50 connections.*\n[0-9]+ requests"));
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0) << server.err();
  EXPECT_THAT(server.out(), HasSubstr("wake-ups"));
  EXPECT_THAT(server.out(), ContainsRegex("gyre-0 .*\ngyre-1 .*\nall +50 "));
}

INSTANTIATE_TEST_SUITE_P(
    Modes, EchoServer,
    ::testing::Values(Mode{"default", {}}, Mode{"epoll", {"--backend=epoll"}},
                      Mode{"select", {"--backend=select"}},
                      Mode{"reuseport", {"--accept=reuseport"}},
                      Mode{"shared", {"--accept=shared"}},
                      Mode{"least_connections", {"--placement=least_connections"}}),
    [](const ::testing::TestParamInfo<Mode>& info) { return info.param.name; });

TEST(EchoServerFlags, AWrongOneIsOneLineAndExitCodeTwo) {
  for (const char* flag :
       {"--frobnicate", "--port=70000", "--port=x", "--threads=-1", "--backend=poll",
        "--accept=both", "--placement=random", "--port", "surplus"}) {
    Process server({echo_server(), flag});
    EXPECT_EQ(server.wait(), 2) << flag;
    EXPECT_EQ(server.out(), "") << flag;
    EXPECT_EQ(count_lines(server.err()), 1u) << server.err();
    EXPECT_THAT(server.err(), ::testing::StartsWith("echo_server: ")) << flag;
  }
}

TEST(EchoServerFlags, HelpListsThemAll) {
  Process server({echo_server(), "--help"});
  EXPECT_EQ(server.wait(), 0);
  for (const char* flag :
       {"--host", "--port", "--threads", "--backend", "--accept", "--placement"}) {
    EXPECT_THAT(server.out(), HasSubstr(flag));
  }
}

TEST(EchoServerFlags, APortInUseIsOneLineThatNamesIt) {
  absl::StatusOr<ListenSocket> taken = ListenSocket::bind(*SocketAddress::parse("127.0.0.1", 0));
  ASSERT_TRUE(taken.ok()) << taken.status();
  const std::string port = std::to_string(taken->address().port());
  Process server({echo_server(), "--port=" + port});
  EXPECT_EQ(server.wait(), 2);
  EXPECT_EQ(count_lines(server.err()), 1u);
  EXPECT_THAT(server.err(), HasSubstr("127.0.0.1:" + port));
  EXPECT_THAT(server.err(), HasSubstr("in use"));
}

TEST(EchoServerFlags, AnUnresolvableHostIsOneLineThatNamesIt) {
  Process server({echo_server(), "--host=no-such-host.invalid"});
  EXPECT_EQ(server.wait(), 2);
  EXPECT_EQ(count_lines(server.err()), 1u);
  EXPECT_THAT(server.err(), HasSubstr("no-such-host.invalid"));
}

TEST(EchoServerSignals, SigintEndsItLikeSigterm) {
  Process server({echo_server(), "--threads=1"});
  port_of(server);
  server.signal(SIGINT);
  EXPECT_EQ(server.wait(), 0);
  EXPECT_THAT(server.out(), HasSubstr("callbacks"));
}

// Guards the drain: what a slow client was sent before SIGTERM has to reach it.
TEST(EchoServerSignals, SigtermFinishesWhatIsBeingWritten) {
  Process server({echo_server(), "--threads=1"});
  const auto port = static_cast<uint16_t>(std::stoi(port_of(server)));
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  const absl::StatusOr<SocketAddress> address = SocketAddress::parse("127.0.0.1", port);
  ASSERT_EQ(::connect(fd, address->data(), address->size()), 0);
  // More than the sockets' buffers hold, so that the server has some of it queued.
  const int small = 64 * 1024;
  ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
  const std::string sent(600 * 1000, 'x');
  ASSERT_EQ(::send(fd, sent.data(), sent.size(), 0), static_cast<ssize_t>(sent.size()));
  // The first byte back says that the server has begun; it holds the rest of this burst.
  char byte;
  ASSERT_EQ(::recv(fd, &byte, 1, 0), 1);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));  // it takes in the rest meanwhile
  server.signal(SIGTERM);
  size_t received = 1;
  std::string buffer(8192, '\0');
  for (ssize_t n; (n = ::recv(fd, buffer.data(), buffer.size(), 0)) > 0;) {
    received += n;
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  ::close(fd);
  EXPECT_EQ(received, sent.size());
  EXPECT_EQ(server.wait(), 0) << server.err();
}

TEST(EchoServerOverAUnixSocket, ServesAndRemovesItsFile) {
  const TempFolder folder;
  const std::string path = folder.file("echo");
  Process server({echo_server(), "--threads=1", "--host=unix:" + path});
  ASSERT_TRUE(server.wait_for_output("listening on unix:" + path + "\n")) << server.err();
  const SocketAddress address = SocketAddress::parse("unix:" + path, 0).value();
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(::connect(fd, address.data(), address.size()), 0);
  char answer[4];
  ASSERT_EQ(::send(fd, "echo", 4, 0), 4);
  ASSERT_EQ(::recv(fd, answer, 4, MSG_WAITALL), 4);
  EXPECT_EQ(std::string(answer, 4), "echo");
  ::close(fd);
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0) << server.err();
  EXPECT_TRUE(folder.empty()) << "its file is left";
}

TEST(EchoServerFlags, ANetworkThatIsNoneIsOneLineThatNamesIt) {
  Process server({echo_server(), "--proxy_protocol=10.0.0.0/99"});
  EXPECT_EQ(server.wait(), 2);
  EXPECT_EQ(count_lines(server.err()), 1u);
  EXPECT_THAT(server.err(), HasSubstr("--proxy_protocol: \"10.0.0.0/99\""));
}

TEST(UdpEcho, SendsDatagramsBackUntilSigterm) {
  Process server({runfile("examples/udp_echo")});
  const auto port = static_cast<uint16_t>(std::stoi(port_of(server)));
  const SocketAddress address = SocketAddress::parse("127.0.0.1", port).value();
  const int fd = ::socket(AF_INET, SOCK_DGRAM, 0);
  ASSERT_EQ(::connect(fd, address.data(), address.size()), 0);
  for (const std::string sent : {"one", "two", ""}) {
    char answer[8];
    ASSERT_EQ(::send(fd, sent.data(), sent.size(), 0), static_cast<ssize_t>(sent.size()));
    const ssize_t n = ::recv(fd, answer, sizeof(answer), 0);
    ASSERT_GE(n, 0);
    EXPECT_EQ(std::string(answer, static_cast<size_t>(n)), sent);
  }
  ::close(fd);
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0) << server.err();
  EXPECT_THAT(server.out(), HasSubstr("3 datagrams received, 3 sent"));
}

// A client that the drain waits for: it has asked for more than it reads.
class SlowReader {
 public:
  explicit SlowReader(uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    const absl::StatusOr<SocketAddress> address = SocketAddress::parse("127.0.0.1", port);
    EXPECT_EQ(::connect(fd_.get(), address->data(), address->size()), 0);
    const int small = 64 * 1024;
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    const timeval deadline{.tv_sec = 1, .tv_usec = 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof(deadline));
    // Until the echo is stuck, and with it this: what the sockets and the server hold is taken.
    const std::string block(1 << 20, 'x');
    while (::send(fd_.get(), block.data(), block.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(block.size())) {
    }
  }

 private:
  UniqueFd fd_;
};

bool refuses(uint16_t port) {
  const absl::StatusOr<SocketAddress> address = SocketAddress::parse("127.0.0.1", port);
  return ListenSocket::bind(*address).ok();
}

// Drains on the first, closes on the second: or the test would see its deadline.
TEST(EchoServerSignals, ASecondSigtermClosesNow) {
  Process server({echo_server(), "--threads=2", "--drain-seconds=3600"});
  const auto port = static_cast<uint16_t>(std::stoi(port_of(server)));
  SlowReader client(port);
  server.signal(SIGTERM);
  while (!refuses(port)) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(::kill(server.pid(), 0), 0) << "it waits for the client";
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0) << server.err();
  EXPECT_THAT(server.err(), HasSubstr("1 cut off"));
  EXPECT_THAT(server.err(), HasSubstr("the last was 127.0.0.1:"));
}

TEST(EchoServerSignals, TheDrainEndsAtItsDeadline) {
  Process server({echo_server(), "--threads=2", "--drain-seconds=1"});
  SlowReader client(static_cast<uint16_t>(std::stoi(port_of(server))));
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0) << server.err();
  EXPECT_THAT(server.err(), ContainsRegex("1 cut off after 1\\.[0-9] s"));
}

// ---- No file descriptor is left

// A hundred clients, who come back as soon as they are closed.
class InsistentClients {
 public:
  explicit InsistentClients(uint16_t port) : address_(*SocketAddress::parse("127.0.0.1", port)) {
    for (int i = 0; i < 100; ++i) fds_.push_back(connect());
  }
  // Connects those anew that were closed; gives how many.
  int come_back() {
    int closed = 0;
    for (UniqueFd& fd : fds_) {
      char byte;
      if (::recv(fd.get(), &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN) continue;
      fd = connect();
      ++closed;
    }
    return closed;
  }

 private:
  UniqueFd connect() const {
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM, 0));
    EXPECT_EQ(::connect(fd.get(), address_.data(), address_.size()), 0);
    return fd;
  }

  const SocketAddress address_;
  std::vector<UniqueFd> fds_;
};

// User and system time of all threads, in milliseconds (proc(5), fields 14 and 15).
long cpu_milliseconds(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string text((std::istreambuf_iterator<char>(stat)), std::istreambuf_iterator<char>());
  std::istringstream fields(text.substr(text.rfind(')') + 1));
  std::string skipped;
  for (int i = 3; i < 14; ++i) fields >> skipped;
  long user = 0, system = 0;
  fields >> user >> system;
  return (user + system) * 1000 / ::sysconf(_SC_CLK_TCK);
}

TEST(EchoServerWithoutFds, ShedsWhoWaitsAndSpendsAtMostTwoPercentOfACore) {
  // What the program itself needs, and one connection.
  Process server({"/bin/sh", "-c", "ulimit -n 24; exec \"$0\" --threads=1", echo_server()});
  const auto port = static_cast<uint16_t>(std::stoi(port_of(server)));
  InsistentClients clients(port);
  int closed = 0;
  const auto wait_and_come_back = [&](std::chrono::seconds time) {
    const auto end = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < end) {
      closed += clients.come_back();
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  };
  wait_and_come_back(std::chrono::seconds(2));  // until the pauses are long
  EXPECT_GT(closed, 50) << "those who wait are told";
  const long before = cpu_milliseconds(server.pid());
  wait_and_come_back(std::chrono::seconds(3));
  const long spent = cpu_milliseconds(server.pid()) - before;
  RecordProperty("cpu_milliseconds_in_3_s", std::to_string(spent));
  EXPECT_LE(spent, 60) << "2 % of 3 s, with 100 clients waiting";
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0) << server.err();
  EXPECT_THAT(server.err(), HasSubstr("Too many open files"));
  EXPECT_LE(count_lines(server.err()), 12u) << server.err();
}

}  // namespace
}  // namespace gyre::testing
