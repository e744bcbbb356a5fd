// What is exact where times are noisy: system calls, instructions and bytes. A change that costs
// one of them fails here, on whatever machine.

#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

#include "gtest/gtest.h"
#include "gyre/loop/unique_fd.h"
#include "gyre/net/socket_address.h"
#include "gyre/tests/integration/process.h"

namespace gyre::testing {
namespace {

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string scratch(const std::string& name) {
  return std::string(::getenv("TEST_TMPDIR")) + "/" + name;
}

bool can_trace() {
  if (::access("/usr/bin/strace", X_OK) != 0) return false;
  Process probe({"/usr/bin/strace", "-o", "/dev/null", "/bin/true"});
  return probe.wait() == 0;
}

// The calls of a name in the table of strace -c, "total" among them: the fourth column.
uint64_t calls_in(const std::string& table, const std::string& name) {
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string share, seconds, each;
    uint64_t calls;
    if (line.ends_with(" " + name) && fields >> share >> seconds >> each >> calls) return calls;
  }
  return 0;
}

uint64_t calls_of_rounds(int connections, int rounds) {
  const std::string table = scratch("rounds." + std::to_string(rounds));
  Process program({"/usr/bin/strace", "-f", "-c", "-o", table,
                   runfile("tests/guards/optimised_echo_rounds"), std::to_string(connections),
                   std::to_string(rounds)});
  EXPECT_EQ(program.wait(), 0) << program.err();
  // How often the heap grows at the start depends on where the kernel puts it, by chance.
  return calls_in(read_file(table), "total") - calls_in(read_file(table), "brk");
}

// The least of three: a busy machine adds a call now and then, and nothing takes one away.
uint64_t least_calls_of_rounds(int connections, int rounds) {
  uint64_t least = calls_of_rounds(connections, rounds);
  for (int i = 0; i < 2; ++i) least = std::min(least, calls_of_rounds(connections, rounds));
  return least;
}

// The difference of two lengths: what is not a request's cancels out. Two calls are the peer's own.
double calls_per_request(int connections) {
  constexpr int kFew = 50, kMany = 150;
  const auto calls = static_cast<double>(least_calls_of_rounds(connections, kMany) -
                                         least_calls_of_rounds(connections, kFew));
  return calls / (connections * (kMany - kFew)) - 2;
}

TEST(SystemCallsOfARequest, AreAtMostTwoAndAFiftiethWithAHundredConnections) {
  if (!can_trace()) GTEST_SKIP() << "needs strace, and the right to use it";
  const double each = calls_per_request(100);
  RecordProperty("calls_per_request", std::to_string(each));
  EXPECT_GE(each, 2.0);  // recv and send: fewer would be a fault of the count
  EXPECT_LE(each, 2.02);
}

TEST(SystemCallsOfARequest, AreAtMostThreeWithOneConnection) {
  if (!can_trace()) GTEST_SKIP() << "needs strace, and the right to use it";
  EXPECT_LE(calls_per_request(1), 3.0);
}

class PipelinedHttp : public ::testing::Test {
 protected:
  // Sends so many batches of 16 requests to a server of its own under strace, each when the one
  // before is answered. Gives how often the server sent.
  static uint64_t sends(int batches) {
    const std::string table = scratch("http." + std::to_string(batches));
    Process server({"/usr/bin/strace", "-f", "-c", "-o", table, runfile("examples/http_hello"),
                    "--threads=1"});
    EXPECT_TRUE(server.wait_for_output("\n")) << server.err();
    exchange(static_cast<uint16_t>(std::stoi(server.out().substr(server.out().rfind(':') + 1))),
             batches);
    // strace ignores SIGTERM; the server is its only child.
    std::istringstream children(read_file("/proc/" + std::to_string(server.pid()) + "/task/" +
                                          std::to_string(server.pid()) + "/children"));
    pid_t child;
    if (children >> child) ::kill(child, SIGTERM);
    EXPECT_EQ(server.wait(), 0) << server.err();
    return calls_in(read_file(table), "sendto");
  }

 private:
  static void exchange(uint16_t port, int batches) {
    constexpr int kRequests = 16;
    std::string batch, answer(16 * 1024, '\0');
    for (int i = 0; i < kRequests; ++i) batch += "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const absl::StatusOr<SocketAddress> address = SocketAddress::parse("127.0.0.1", port);
    ASSERT_EQ(::connect(fd.get(), address->data(), address->size()), 0);
    for (int i = 0; i < batches; ++i) {
      ASSERT_EQ(::send(fd.get(), batch.data(), batch.size(), 0),
                static_cast<ssize_t>(batch.size()));
      for (int answered = 0; answered < kRequests;) {
        const ssize_t n = ::recv(fd.get(), answer.data(), answer.size(), 0);
        ASSERT_GT(n, 0);
        const std::string_view part(answer.data(), n);
        for (size_t at = 0; (at = part.find("World!", at)) != std::string_view::npos; ++at)
          ++answered;
      }
    }
  }
};

TEST_F(PipelinedHttp, IsAnsweredWithOneSendForEachBatch) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "LeakSanitizer cannot run under ptrace";
#endif
  if (!can_trace()) GTEST_SKIP() << "needs strace, and the right to use it";
  constexpr int kFew = 50, kMany = 150;
  EXPECT_EQ(sends(kMany) - sends(kFew), static_cast<uint64_t>(kMany - kFew));
}

// Inside IOLoop::start(), where all that the loop does for a request is.
uint64_t instructions_of_rounds(int rounds) {
  const std::string out = scratch("callgrind." + std::to_string(rounds));
  Process program({"/usr/bin/valgrind", "--tool=callgrind", "--callgrind-out-file=" + out,
                   "--toggle-collect=gyre::IOLoop::start()",
                   runfile("tests/guards/optimised_echo_rounds"), "100", std::to_string(rounds)});
  EXPECT_EQ(program.wait(), 0) << program.err();
  std::ifstream profile(out);
  for (std::string word; profile >> word;) {
    uint64_t instructions;
    if ((word == "summary:" || word == "totals:") && profile >> instructions) return instructions;
  }
  return 0;
}

// The path of a request from epoll_wait to send, the stubs of the C library with it. The budget is
// what it took when it was set and a seventh more, which is what compilers differ by; who makes the
// path shorter takes it down.
TEST(InstructionsOfARequest, StayWithinTheirBudget) {
  constexpr double kBudget = 435;
  if (::access("/usr/bin/valgrind", X_OK) != 0) GTEST_SKIP() << "needs valgrind";
  constexpr int kFew = 20, kMany = 120;
  const double each =
      static_cast<double>(instructions_of_rounds(kMany) - instructions_of_rounds(kFew)) /
      (100.0 * (kMany - kFew));
  RecordProperty("instructions_per_request", std::to_string(each));
  EXPECT_GT(each, 50) << "the count is empty: does the program still run in IOLoop::start()?";
  EXPECT_LE(each, kBudget);
}

}  // namespace
}  // namespace gyre::testing
