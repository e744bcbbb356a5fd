// examples/http_hello as its clients meet it: curl, wrk, and sockets that cut requests anywhere.

#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/unique_fd.h"
#include "gyre/net/socket_address.h"
#include "gyre/tests/integration/process.h"

namespace gyre::testing {
namespace {

using ::testing::ContainsRegex;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr std::string_view kGet = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

size_t count_of(std::string_view text, std::string_view what) {
  size_t count = 0;
  for (size_t at = 0; (at = text.find(what, at)) != std::string_view::npos; at += what.size())
    ++count;
  return count;
}

class HttpHello : public ::testing::Test {
 protected:
  HttpHello() : server_({runfile("examples/http_hello"), "--threads=1"}) {
    EXPECT_TRUE(server_.wait_for_output("\n")) << server_.err();
    const std::string& line = server_.out();
    port_ = line.substr(line.rfind(':') + 1, line.size() - line.rfind(':') - 2);
  }
  ~HttpHello() override {
    server_.signal(SIGTERM);
    EXPECT_EQ(server_.wait(), 0) << server_.err();
  }

  std::string url() const { return "http://127.0.0.1:" + port_ + "/"; }

  UniqueFd connect() const {
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const timeval deadline{30,
                           0};  // a server that does not answer fails the test, it does not hang
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof(deadline));
    const absl::StatusOr<SocketAddress> address =
        SocketAddress::parse("127.0.0.1", static_cast<uint16_t>(std::stoi(port_)));
    EXPECT_EQ(::connect(fd.get(), address->data(), address->size()), 0);
    return fd;
  }
  static void send(const UniqueFd& fd, std::string_view bytes) {
    EXPECT_EQ(::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  static std::string receive_greetings(const UniqueFd& fd, size_t count) {
    std::string text;
    char buffer[4096];
    while (count_of(text, "Hello, World!") < count) {
      const ssize_t n = ::recv(fd.get(), buffer, sizeof(buffer), 0);
      if (n <= 0) break;
      text.append(buffer, n);
    }
    return text;
  }
  // Until the server closes; "timed out" where it does not.
  static std::string receive_all(const UniqueFd& fd) {
    std::string text;
    char buffer[4096];
    ssize_t n;
    while ((n = ::recv(fd.get(), buffer, sizeof(buffer), 0)) > 0) text.append(buffer, n);
    return n == 0 ? text : text + "timed out";
  }
  std::string answer_to(std::string_view request) const {
    const UniqueFd fd = connect();
    send(fd, request);
    return receive_all(fd);
  }

  Process server_;
  std::string port_;
};

TEST_F(HttpHello, AnswersAGetWithThirteenBytesOfText) {
  const UniqueFd fd = connect();
  send(fd, kGet);
  const std::string answer = receive_greetings(fd, 1);
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("\r\nContent-Type: text/plain\r\n"));
  EXPECT_THAT(answer, HasSubstr("\r\nContent-Length: 13\r\n"));
  EXPECT_THAT(answer, ContainsRegex("\r\nDate: [A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} "
                                    "[0-9]{2}:[0-9]{2}:[0-9]{2} GMT\r\n"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\nHello, World!"));
}

TEST_F(HttpHello, KeepsTheConnectionAndAnswersPipelinedRequestsInOrder) {
  constexpr size_t kRequests = 1000;
  std::string requests;
  for (size_t i = 0; i < kRequests; ++i) requests += kGet;
  const UniqueFd fd = connect();
  for (int round = 0; round < 2; ++round) {
    send(fd, requests);
    const std::string answers = receive_greetings(fd, kRequests);
    EXPECT_EQ(count_of(answers, "HTTP/1.1 200 OK\r\n"), kRequests);
    EXPECT_THAT(answers, EndsWith("Hello, World!"));
  }
}

TEST_F(HttpHello, ReadsARequestThatComesByteByByte) {
  const UniqueFd fd = connect();
  const int no_delay = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &no_delay, sizeof(no_delay));
  for (int i = 0; i < 2; ++i) {
    for (const char& byte : kGet) send(fd, {&byte, 1});
    EXPECT_THAT(receive_greetings(fd, 1), EndsWith("\r\n\r\nHello, World!"));
  }
}

TEST_F(HttpHello, ClosesAfterTheAnswerWhenAsked) {
  const std::string answer =
      answer_to("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n" + std::string(kGet));
  EXPECT_EQ(count_of(answer, "Hello, World!"), 1u);
  EXPECT_THAT(answer, HasSubstr("\r\nConnection: close\r\n"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\nHello, World!"));
  EXPECT_THAT(answer_to("GET / HTTP/1.0\r\n\r\n"), EndsWith("\r\n\r\nHello, World!"));
}

TEST_F(HttpHello, AnswersWhatIsNoRequestWith400AndCloses) {
  for (const std::string_view request :
       {"\x16\x03\x01\r\n", "GET / HTTP/1.1\nHost: a\n\n", "GET /\r\n\r\n", "GET  / HTTP/1.1\r\n",
        "GET / HTTP/2.0\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", "G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\x01\r\n\r\n"}) {
    const std::string answer = answer_to(request);
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 400 Bad Request\r\n")) << request;
    EXPECT_THAT(answer, HasSubstr("\r\nConnection: close\r\n")) << request;
    EXPECT_THAT(answer, EndsWith("\r\n\r\nBad request\n")) << request;
  }
}

TEST_F(HttpHello, AnswersWhatCameBeforeABadRequest) {
  const std::string answer = answer_to(std::string(kGet) + "nonsense\r\n\r\n");
  EXPECT_EQ(count_of(answer, "HTTP/1.1 200 OK"), 1u);
  EXPECT_EQ(count_of(answer, "HTTP/1.1 400 Bad Request"), 1u);
  EXPECT_THAT(answer, EndsWith("Bad request\n"));
}

TEST_F(HttpHello, RefusesAHeadThatDoesNotEnd) {
  EXPECT_THAT(answer_to(std::string(17 * 1024, 'x')), StartsWith("HTTP/1.1 400 "));
  std::string many = "GET / HTTP/1.1\r\nHost: a\r\n";
  while (many.size() < 17 * 1024) many += "Field: value\r\n";
  EXPECT_THAT(answer_to(many), StartsWith("HTTP/1.1 400 "));
}

// A body that were read as a request would be one that somebody smuggled in.
TEST_F(HttpHello, SkipsABodyAndAllowsGetAndHeadOnly) {
  const UniqueFd fd = connect();
  send(fd, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(kGet.size()) +
               "\r\n\r\n" + std::string(kGet) + std::string(kGet));
  const std::string answers = receive_greetings(fd, 1);
  EXPECT_THAT(answers, StartsWith("HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\n"));
  EXPECT_EQ(count_of(answers, "HTTP/1.1 200 OK\r\n"), 1u);
  const std::string head = answer_to("HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(head, HasSubstr("\r\nContent-Length: 13\r\n"));
  EXPECT_THAT(head, Not(HasSubstr("Hello")));
}

TEST_F(HttpHello, IsUnderstoodByCurl) {
  if (::access("/usr/bin/curl", X_OK) != 0) GTEST_SKIP() << "needs curl";
  // Two requests, so that the second shows whether the connection was kept.
  Process curl({"/usr/bin/curl", "--silent", "--show-error", "--max-time", "30", "--write-out",
                " %{http_code} %{content_type} %{num_connects};", url(), url()});
  EXPECT_EQ(curl.wait(), 0) << curl.err();
  EXPECT_EQ(curl.out(), "Hello, World! 200 text/plain 1;Hello, World! 200 text/plain 0;");
}

TEST_F(HttpHello, IsUnderstoodByWrk) {
  if (::access("/usr/bin/wrk", X_OK) != 0) GTEST_SKIP() << "needs wrk";
  Process wrk({"/usr/bin/wrk", "--threads=1", "--connections=20", "--duration=1s", url()});
  EXPECT_EQ(wrk.wait(), 0) << wrk.err();
  EXPECT_THAT(wrk.out(), ContainsRegex("[1-9][0-9]* requests in "));
  EXPECT_THAT(wrk.out(), Not(HasSubstr("Socket errors")));
  EXPECT_THAT(wrk.out(), Not(HasSubstr("Non-2xx")));
}

}  // namespace
}  // namespace gyre::testing
