// What a request costs in system calls: exact where times are noisy.

#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "gyre/loop/unique_fd.h"
#include "gyre/net/socket_address.h"
#include "gyre/tests/integration/process.h"

namespace gyre::testing {
namespace {

bool can_trace() {
  if (::access("/usr/bin/strace", X_OK) != 0) return false;
  Process probe({"/usr/bin/strace", "-o", "/dev/null", "/bin/true"});
  return probe.wait() == 0;
}

// The summed "calls" column of strace -c.
uint64_t calls_in(const std::string& table) {
  std::istringstream lines(table);
  std::string line;
  while (std::getline(lines, line)) {
    std::istringstream fields(line);
    std::string share, seconds, each;
    uint64_t calls;
    if (line.find("total") != std::string::npos && fields >> share >> seconds >> each >> calls)
      return calls;
  }
  return 0;
}

// One request, and its answer.
void echo(int fd) {
  const std::string request(64, 'r');
  std::string answer(64, '\0');
  EXPECT_EQ(::send(fd, request.data(), request.size(), 0), 64);
  EXPECT_EQ(::recv(fd, answer.data(), answer.size(), MSG_WAITALL), 64);
}

UniqueFd connect_to(const SocketAddress& address) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(::connect(fd.get(), address.data(), address.size()), 0);
  return fd;
}

// The system calls of an echo server from its start to its end, while `client` uses it.
uint64_t calls_of_server(const std::vector<std::string>& flags,
                         const std::function<void(const SocketAddress&)>& client) {
  static int runs = 0;
  const std::string log =
      std::string(::getenv("TEST_TMPDIR")) + "/strace." + std::to_string(++runs);
  std::vector<std::string> command{
      "/usr/bin/strace", "-f", "-c", "-o", log, runfile("examples/echo_server"), "--threads=1"};
  command.insert(command.end(), flags.begin(), flags.end());
  Process server(command);
  EXPECT_TRUE(server.wait_for_output("\n")) << server.err();
  const auto port =
      static_cast<uint16_t>(std::stoi(server.out().substr(server.out().rfind(':') + 1)));
  client(SocketAddress::parse("127.0.0.1", port).value());
  server.signal(SIGTERM);  // strace hands it on
  // strace ignores SIGTERM itself; the program is its only child.
  std::ifstream children("/proc/" + std::to_string(server.pid()) + "/task/" +
                         std::to_string(server.pid()) + "/children");
  pid_t child;
  if (children >> child) ::kill(child, SIGTERM);
  EXPECT_EQ(server.wait(), 0) << server.err();
  std::ifstream table(log);
  std::ostringstream text;
  text << table.rdbuf();
  return calls_in(text.str());
}

uint64_t calls_with_requests(int requests) {
  return calls_of_server({}, [requests](const SocketAddress& address) {
    const UniqueFd fd = connect_to(address);
    for (int i = 0; i < requests; ++i) echo(fd.get());
  });
}

uint64_t calls_with_connections(int connections) {
  return calls_of_server({"--accept=reuseport"}, [connections](const SocketAddress& address) {
    for (int i = 0; i < connections; ++i) {
      const UniqueFd fd = connect_to(address);
      echo(fd.get());
      const linger reset{.l_onoff = 1, .l_linger = 0};  // leaves no TIME_WAIT behind
      ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    }
  });
}

TEST(SystemCalls, AreThreeForEachRequestOfOneConnection) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "LeakSanitizer cannot run under ptrace, and sanitizers make calls of their own";
#endif
  if (!can_trace()) GTEST_SKIP() << "needs strace, and the right to use it";
  // The difference of two runs: what is not a request's cancels out.
  constexpr int kFew = 1000, kMany = 3000;
  const double each =
      static_cast<double>(calls_with_requests(kMany) - calls_with_requests(kFew)) / (kMany - kFew);
  RecordProperty("calls_per_request", std::to_string(each));
  EXPECT_GE(each, 2.9);
  EXPECT_LE(each, 3.1);  // epoll_wait, recv, send
}

// To accept it, to watch it, to echo, to see its end, to close it: nothing is asked or set that
// nobody needs, and what is closed is not taken out of epoll before.
TEST(SystemCalls, AreTenAtMostForEachConnectionWithOneRequest) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "LeakSanitizer cannot run under ptrace, and sanitizers make calls of their own";
#endif
  if (!can_trace()) GTEST_SKIP() << "needs strace, and the right to use it";
  constexpr int kFew = 200, kMany = 700;
  const double each =
      static_cast<double>(calls_with_connections(kMany) - calls_with_connections(kFew)) /
      (kMany - kFew);
  RecordProperty("calls_per_connection", std::to_string(each));
  EXPECT_GE(each, 7.0);
  EXPECT_LE(each, 10.0);
}

}  // namespace
}  // namespace gyre::testing
