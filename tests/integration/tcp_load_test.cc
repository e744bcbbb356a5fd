// The load generator as a user meets it: what it counts, what it says of a bad server, exit codes.

#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/net/listen_socket.h"
#include "gyre/tests/integration/echo_programs.h"
#include "gyre/tests/integration/process.h"

namespace gyre::testing {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;

// A peer that answers with other bytes, one wrong in each chunk.
class WrongServer {
 public:
  WrongServer() : socket_(*ListenSocket::bind(*SocketAddress::parse("127.0.0.1", 0))) {
    thread_ = std::thread([this] {
      const int connection = accept_one();
      char buffer[4096];
      for (ssize_t n; (n = ::recv(connection, buffer, sizeof(buffer), 0)) > 0;) {
        buffer[n / 2] ^= 1;
        if (::send(connection, buffer, n, MSG_NOSIGNAL) != n) break;
      }
      ::close(connection);
    });
  }
  ~WrongServer() { thread_.join(); }

  std::string address() const { return socket_.address().to_string(); }

 private:
  int accept_one() {
    for (;;) {
      const int fd = ::accept4(socket_.fileno(), nullptr, nullptr, SOCK_CLOEXEC);
      if (fd >= 0) return fd;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  ListenSocket socket_;
  std::thread thread_;
};

TEST(TcpLoad, AWrongByteIsExitCodeOne) {
  WrongServer server;
  Process load({tcp_load(), "--target=" + server.address(), "--connections=1", "--seconds=1"});
  EXPECT_EQ(load.wait(), 1);
  EXPECT_THAT(load.err(), ContainsRegex("[1-9][0-9]* wrong bytes"));
}

TEST(TcpLoad, ARefusedConnectionIsExitCodeOne) {
  std::string address;
  {
    absl::StatusOr<ListenSocket> closed = ListenSocket::bind(*SocketAddress::parse("127.0.0.1", 0));
    address = closed->address().to_string();
  }
  Process load({tcp_load(), "--target=" + address, "--connections=3", "--seconds=1"});
  EXPECT_EQ(load.wait(), 1);
  EXPECT_THAT(load.err(), HasSubstr("3 refused"));
  EXPECT_THAT(load.err(), HasSubstr("Connection refused"));
}

// A server that dies takes requests with it: they are lost, and the load says so.
TEST(TcpLoad, AServerThatDiesIsExitCodeOne) {
  Process server({echo_server(), "--threads=1"});
  const std::string port = port_of(server);
  Process load({tcp_load(), "--target=127.0.0.1:" + port, "--connections=10", "--seconds=3"});
  std::this_thread::sleep_for(std::chrono::seconds(1));
  server.signal(SIGKILL);
  EXPECT_EQ(load.wait(), 1);
  EXPECT_THAT(load.err(), HasSubstr("10 broken"));
}

// Each of its connections is for one request, and none of the ports is left waiting.
TEST(TcpLoad, ReconnectsForEachRequest) {
  Process server({echo_server(), "--threads=1"});
  const std::string port = port_of(server);
  Process load({tcp_load(), "--target=127.0.0.1:" + port, "--connections=8", "--mode=reconnect",
                "--milliseconds=200", "--warm_up=10", "--json",
                "--server_pid=" + std::to_string(server.pid())});
  EXPECT_EQ(load.wait(), 0) << load.err();
  EXPECT_THAT(load.out(),
              ContainsRegex("\"requests\": [1-9].*\"server_cpu_us_per_request\": [1-9]"));
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0) << server.err();
  // Of 64 bytes each: as many requests as connections, but for those that were never asked.
  const size_t total = server.out().rfind("all ");
  uint64_t connections = 0, bytes = 0;
  ASSERT_EQ(std::sscanf(server.out().c_str() + total, "all %lu %lu", &connections, &bytes), 2);
  EXPECT_GT(connections, 16u);
  EXPECT_LE(bytes, 64 * connections);
  EXPECT_GE(bytes + 64 * 8, 64 * connections);
}

TEST(TcpLoad, WrongFlagsAreExitCodeTwo) {
  for (const std::vector<std::string>& flags :
       {std::vector<std::string>{},
        {"--target=nowhere"},
        {"--target=127.0.0.1:99999"},
        {"--target=::1:80"},
        {"--target=127.0.0.1:1", "--size=0"},
        {"--target=127.0.0.1:1", "--mode=udp"},
        {"--target=127.0.0.1:1", "--mode=reconnect", "--pipeline=2"},
        {"--target=127.0.0.1:1", "--connections=1000000"}}) {
    std::vector<std::string> command{tcp_load()};
    command.insert(command.end(), flags.begin(), flags.end());
    Process load(command);
    EXPECT_EQ(load.wait(), 2) << load.err();
    EXPECT_EQ(count_lines(load.err()), 1u) << load.err();
  }
}

TEST(TcpLoad, JsonIsOneLine) {
  Process server({echo_server(), "--threads=1"});
  const std::string port = port_of(server);
  Process load(
      {tcp_load(), "--target=127.0.0.1:" + port, "--connections=2", "--seconds=1", "--json"});
  EXPECT_EQ(load.wait(), 0) << load.err();
  EXPECT_EQ(count_lines(load.out()), 1u);
  EXPECT_THAT(
      load.out(),
      ContainsRegex("^\\{\"connections\": 2, .*\"p99\\.9\": [0-9.]+.*\"wrong_bytes\": 0.*\\}\n$"));
}

// The main job: ten thousand connections at once, every byte checked.
TEST(TcpLoad, TenThousandConnectionsComeBackWhole) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  constexpr rlim_t kConnections = 10000;
  if (limit.rlim_max < kConnections + 100) {
    GTEST_SKIP() << "needs a hard limit of " << kConnections + 100 << " open files, has "
                 << limit.rlim_max;
  }
  Process server({echo_server(), "--threads=2", "--placement=least_connections"});
  const std::string port = port_of(server);
  Process load({tcp_load(), "--target=127.0.0.1:" + port, "--connections=10000", "--seconds=1",
                "--threads=2"});
  EXPECT_EQ(load.wait(std::chrono::seconds(120)), 0) << load.err();
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0);
  EXPECT_THAT(server.out(), ContainsRegex("gyre-0 +5000 .*\ngyre-1 +5000 .*\nall +10000 "));
}

}  // namespace
}  // namespace gyre::testing
