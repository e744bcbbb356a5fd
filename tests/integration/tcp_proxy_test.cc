// The proxy between real programs, and what it does where the two sides differ.

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/unique_fd.h"
#include "gyre/net/listen_socket.h"
#include "gyre/net/socket_address.h"
#include "gyre/tests/integration/connection.h"
#include "gyre/tests/integration/process.h"

namespace gyre::testing {
namespace {

// Stands behind the proxy. Its sockets block, for 30 s at most.
class Behind {
 public:
  Behind() : socket_(*ListenSocket::bind(*SocketAddress::parse("127.0.0.1", 0))) {}

  std::string address() const { return socket_.address().to_string(); }

  UniqueFd accept() {
    pollfd ready{socket_.fileno(), POLLIN, 0};
    EXPECT_EQ(::poll(&ready, 1, 30'000), 1) << "nobody has come";
    UniqueFd fd(::accept4(socket_.fileno(), nullptr, nullptr, SOCK_CLOEXEC));
    const timeval limit{.tv_sec = 30, .tv_usec = 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    return fd;
  }

 private:
  ListenSocket socket_;
};

std::string receive_all(int fd) {
  std::string all;
  char some[64 * 1024];
  for (ssize_t n; (n = ::recv(fd, some, sizeof(some), 0)) > 0;) all.append(some, n);
  return all;
}

class TcpProxy : public ::testing::Test {
 protected:
  uint16_t start(const std::string& to) {
    proxy_ = std::make_unique<Process>(
        std::vector<std::string>{runfile("examples/tcp_proxy"), "--threads=2", "--to=" + to});
    return listening_port(*proxy_);
  }
  void TearDown() override {
    if (proxy_ == nullptr) return;
    proxy_->signal(SIGTERM);
    EXPECT_EQ(proxy_->wait(), 0) << proxy_->err();
  }

  Behind behind_;
  std::unique_ptr<Process> proxy_;
};

TEST_F(TcpProxy, HandsTheRequestsOfCurlOnToAnHttpServer) {
  Process server({runfile("examples/http_hello"), "--threads=1"});
  const uint16_t port = start("127.0.0.1:" + std::to_string(listening_port(server)));
  const std::string url = "http://127.0.0.1:" + std::to_string(port) + "/";
  Process curl({"/bin/sh", "-c", "curl -sS --noproxy '*' --max-time 30 \"$0\" \"$0\"", url});
  const int code = curl.wait();
  if (code == 127) GTEST_SKIP() << "needs curl: apt-get install curl";
  EXPECT_EQ(code, 0) << curl.err();
  EXPECT_EQ(curl.out(), "Hello, World!Hello, World!");
}

TEST_F(TcpProxy, HandsAnEndOnWhileTheOtherWayGoesOn) {
  Connection client(start(behind_.address()));
  client.send("question");
  client.end();
  const UniqueFd server = behind_.accept();
  EXPECT_EQ(receive_all(server.get()), "question") << "until the end, which was handed on";
  ASSERT_EQ(::send(server.get(), "answer", 6, MSG_NOSIGNAL), 6);
  EXPECT_EQ(client.receive(6), "answer");
  ::shutdown(server.get(), SHUT_WR);
  EXPECT_EQ(client.until_end(), "");
}

TEST_F(TcpProxy, HandsAResetOn) {
  Connection client(start(behind_.address()));
  client.send("question");
  UniqueFd server = behind_.accept();
  char question[8];
  ASSERT_EQ(::recv(server.get(), question, sizeof(question), MSG_WAITALL), 8);
  const linger now{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(server.get(), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  server.reset();
  EXPECT_EQ(client.until_end(), "");
}

// Without it the proxy would take in max_write_buffer_size, 64 MiB, and then close.
TEST_F(TcpProxy, ReadsNoMoreThanTheOtherSideTakes) {
  const uint16_t port = start(behind_.address());
  const UniqueFd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const SocketAddress address = SocketAddress::parse("127.0.0.1", port).value();
  ASSERT_EQ(::connect(client.get(), address.data(), address.size()), 0);
  const UniqueFd server = behind_.accept();
  const timeval limit{.tv_sec = 1, .tv_usec = 0};
  ::setsockopt(client.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));

  // Until it is stuck: what the kernel holds in four buffers, and the proxy's high-water mark.
  constexpr size_t kMost = 48 * 1024 * 1024;
  const std::string block(64 * 1024, 'x');
  size_t sent = 0;
  for (ssize_t n; sent < kMost; sent += n) {
    n = ::send(client.get(), block.data(), block.size(), MSG_NOSIGNAL);
    if (n < 0) break;
  }
  EXPECT_LT(sent, kMost);
  ::shutdown(client.get(), SHUT_WR);
  EXPECT_EQ(receive_all(server.get()).size(), sent) << "it goes on once the server reads";
}

TEST_F(TcpProxy, SaysWhomItDidNotReach) {
  std::string nobody;
  {
    const Behind closed;
    nobody = closed.address();
  }
  EXPECT_EQ(Connection(start(nobody)).until_end(), "");
  proxy_->signal(SIGTERM);
  EXPECT_EQ(proxy_->wait(), 0);
  EXPECT_THAT(proxy_->err(), ::testing::ContainsRegex("tcp_proxy: .*" + nobody + ".*refused"));
  proxy_ = nullptr;
}

TEST(TcpProxyFlags, ATargetWithoutAPortIsOneLineThatNamesIt) {
  Process proxy({runfile("examples/tcp_proxy"), "--to=localhost"});
  EXPECT_EQ(proxy.wait(), 2);
  EXPECT_THAT(proxy.err(), ::testing::MatchesRegex("tcp_proxy: --to: .*localhost.*\n"));
}

}  // namespace
}  // namespace gyre::testing
