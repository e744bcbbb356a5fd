// What a request costs in system calls: exact where times are noisy.

#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>

#include "gtest/gtest.h"
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

uint64_t calls_with_requests(int requests) {
  const std::string log =
      std::string(::getenv("TEST_TMPDIR")) + "/strace." + std::to_string(requests);
  Process server(
      {"/usr/bin/strace", "-f", "-c", "-o", log, runfile("examples/echo_server"), "--threads=1"});
  EXPECT_TRUE(server.wait_for_output("\n")) << server.err();
  const auto port =
      static_cast<uint16_t>(std::stoi(server.out().substr(server.out().rfind(':') + 1)));
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  const absl::StatusOr<SocketAddress> address = SocketAddress::parse("127.0.0.1", port);
  EXPECT_EQ(::connect(fd, address->data(), address->size()), 0);
  const std::string request(64, 'r');
  std::string answer(64, '\0');
  for (int i = 0; i < requests; ++i) {
    EXPECT_EQ(::send(fd, request.data(), request.size(), 0), 64);
    EXPECT_EQ(::recv(fd, answer.data(), answer.size(), MSG_WAITALL), 64);
  }
  ::close(fd);
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

}  // namespace
}  // namespace gyre::testing
