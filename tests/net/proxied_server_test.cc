// A server behind a load balancer that sends PROXY headers, on every backend, with each way to
// accept.

#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "gtest/gtest.h"
#include "gyre/net/proxied_peer.h"
#include "gyre/net/proxy_protocol.h"
#include "gyre/net/tcp_server.h"
#include "gyre/tests/net/tcp_server_fixture.h"

namespace gyre::testing {
namespace {

const std::string kV1 = "PROXY TCP4 192.0.2.1 198.51.100.2 4096 443\r\n";
const std::string kLocal("\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", 16);

std::string v2_header() {
  ProxyHeader header;
  header.source = *SocketAddress::parse("2001:db8::1", 4096);
  header.destination = *SocketAddress::parse("2001:db8::2", 443);
  header.tlvs = {{ProxyHeader::kAuthority, "example.com"}};
  return header.encode(/*checksum=*/true).value();
}

class ProxiedServer : public TcpServerTest {
 protected:
  static ProxyProtocolOptions trusting(const std::string& networks) {
    ProxyProtocolOptions proxy;
    proxy.trusted = CidrList::parse(networks).value();
    return proxy;
  }
  // Sends back whose connection it is, and then whatever comes.
  void serve_behind(ProxyProtocolOptions proxy) {
    TCPServerOptions with_proxy = options();
    with_proxy.proxy_protocol = std::move(proxy);
    serve(
        [this](std::shared_ptr<IOStream> stream) {
          ++handled_;
          const ProxyHeader* header = proxy_header(*stream);
          const std::string* authority =
              header != nullptr ? header->find(ProxyHeader::kAuthority) : nullptr;
          stream->write(original_peer_address(*stream)->to_string() +
                        (authority != nullptr ? " " + *authority : "") + "\n");
          stream
              ->set_read_callback(
                  [stream = stream.get()](std::string_view bytes) { stream->write(bytes); })
              .IgnoreError();
        },
        std::move(with_proxy));
  }
  void expect_line(TcpClient& client, const std::string& line) {
    EXPECT_EQ(client.receive(line.size() + 1), line + "\n");
  }
  void expect_nothing_open() {
    EXPECT_TRUE(comes_true([this] { return server_->open_connections() == 0; }));
  }

  std::atomic<int> handled_ = 0;
};
GYRE_FOR_EACH_SERVER(ProxiedServer);

TEST_P(ProxiedServer, TheHandlerSeesTheOriginalPeer) {
  serve_behind(trusting("127.0.0.0/8"));
  TcpClient v1 = connect();
  ASSERT_TRUE(v1.send(kV1));
  expect_line(v1, "192.0.2.1:4096");
  expect_echo(v1);
  TcpClient v2 = connect();
  ASSERT_TRUE(v2.send(v2_header()));
  expect_line(v2, "[2001:db8::1]:4096 example.com");
  expect_echo(v2);
}

TEST_P(ProxiedServer, WhatFollowsTheHeaderReachesTheHandler) {
  serve_behind(trusting("127.0.0.1"));
  for (const std::string& header : {kV1, v2_header()}) {
    TcpClient client = connect();
    const std::string request(3000, 'r');
    ASSERT_TRUE(client.send(header + request));
    expect_line(client, header == kV1 ? "192.0.2.1:4096" : "[2001:db8::1]:4096 example.com");
    EXPECT_EQ(client.receive(request.size()), request);
  }
}

TEST_P(ProxiedServer, AHeaderMayComeByteByByte) {
  serve_behind(trusting("127.0.0.1"));
  TcpClient client = connect();
  for (const char byte : v2_header()) ASSERT_TRUE(client.send({&byte, 1}));
  expect_line(client, "[2001:db8::1]:4096 example.com");
  expect_echo(client);
}

TEST_P(ProxiedServer, AHealthCheckIsServedQuietly) {
  serve_behind(trusting("127.0.0.1"));
  TcpClient client = connect();
  ASSERT_TRUE(client.send(kLocal));
  expect_line(client, client.local_address().to_string());
  client.close();
  TcpClient unknown = connect();
  ASSERT_TRUE(unknown.send("PROXY UNKNOWN\r\n"));
  expect_line(unknown, unknown.local_address().to_string());
  unknown.close();
  expect_nothing_open();
}

TEST_P(ProxiedServer, AConnectionThatEndsBeforeItsHeaderIsDroppedQuietly) {
  serve_behind(trusting("127.0.0.1"));
  for (int i = 0; i < 10; ++i) connect().close();
  TcpClient last = connect();
  ASSERT_TRUE(last.send(kV1));
  expect_line(last, "192.0.2.1:4096");
  last.close();
  expect_nothing_open();
  EXPECT_EQ(handled_, 1);
}

TEST_P(ProxiedServer, AnUntrustedSourceIsRefused) {
  log_.expect(LogLevel::kWarning, "no trusted source");
  serve_behind(trusting("192.0.2.0/24"));
  TcpClient client = connect();
  client.send(kV1);
  EXPECT_TRUE(client.sees_end());
  expect_nothing_open();
  EXPECT_EQ(handled_, 0);
}

TEST_P(ProxiedServer, NobodyIsTrustedUnlessSaidSo) {
  log_.expect(LogLevel::kWarning, "no trusted source");
  serve_behind(ProxyProtocolOptions());
  EXPECT_TRUE(connect().sees_end());
}

TEST_P(ProxiedServer, AnUntrustedSourceMayBePassedThroughAsItIs) {
  ProxyProtocolOptions proxy = trusting("192.0.2.0/24");
  proxy.untrusted = ProxyProtocolOptions::Untrusted::kPassThrough;
  serve_behind(proxy);
  TcpClient client = connect();
  expect_line(client, client.local_address().to_string());
  expect_echo(client, kV1);  // bytes like others: it may not claim to be somebody else
}

TEST_P(ProxiedServer, ATrustedSourceHasToSendAHeader) {
  log_.expect(LogLevel::kWarning, "\"G\" is not how one begins");
  serve_behind(trusting("127.0.0.1"));
  TcpClient client = connect();
  ASSERT_TRUE(client.send("GET / HTTP/1.1\r\n\r\n"));
  EXPECT_TRUE(client.sees_end());
  expect_nothing_open();
  EXPECT_EQ(handled_, 0);
}

TEST_P(ProxiedServer, AHeaderThatEndsEarlyIsRefused) {
  log_.expect(LogLevel::kWarning, "ended within its PROXY header");
  serve_behind(trusting("127.0.0.1"));
  TcpClient client = connect();
  ASSERT_TRUE(client.send(kV1.substr(0, 10)));
  client.end();
  EXPECT_TRUE(client.sees_end());
  expect_nothing_open();
}

TEST_P(ProxiedServer, DatagramsOverAStreamAreRefused) {
  log_.expect(LogLevel::kWarning, "datagrams");
  serve_behind(trusting("127.0.0.1"));
  ProxyHeader header;
  header.source = header.destination = *SocketAddress::parse("192.0.2.1", 1);
  header.socket_type = SOCK_DGRAM;
  TcpClient client = connect();
  ASSERT_TRUE(client.send(header.encode().value()));
  EXPECT_TRUE(client.sees_end());
}

TEST_P(ProxiedServer, AHeaderThatTakesTooLongIsRefused) {
  use_virtual_time();
  log_.expect(LogLevel::kWarning, "no PROXY header in time");
  ProxyProtocolOptions proxy = trusting("127.0.0.1");
  proxy.header_timeout = std::chrono::hours(1);
  serve_behind(proxy);
  TcpClient client = connect();
  ASSERT_TRUE(client.send(kV1.substr(0, 10)));
  EXPECT_TRUE(client.sees_end());
  expect_nothing_open();
  EXPECT_EQ(handled_, 0);
}

// One that is not a stream yet must not be one after the server is gone, nor hold its end up.
TEST_P(ProxiedServer, ClosingDropsThoseThatWaitForTheirHeader) {
  serve_behind(trusting("127.0.0.1"));
  TcpClient waiting = connect();
  ASSERT_TRUE(waiting.send(kV1.substr(0, 10)));
  ASSERT_TRUE(comes_true([this] { return server_->open_connections() == 1; }));
  EXPECT_EQ(server_->drain(std::chrono::hours(1)).cut_off, 0u);
  EXPECT_TRUE(waiting.sees_end());
  expect_nothing_open();
}

TEST_P(ProxiedServer, ClosingAtOnceDropsThemToo) {
  serve_behind(trusting("127.0.0.1"));
  TcpClient waiting = connect();
  ASSERT_TRUE(waiting.send(kV1.substr(0, 10)));
  ASSERT_TRUE(comes_true([this] { return server_->open_connections() == 1; }));
  server_.reset();
  EXPECT_TRUE(waiting.sees_end());
}

TEST_P(ProxiedServer, LoopsThatCloseDropThemToo) {
  serve_behind(trusting("127.0.0.1"));
  TcpClient waiting = connect();
  ASSERT_TRUE(waiting.send(kV1.substr(0, 10)));
  ASSERT_TRUE(comes_true([this] { return server_->open_connections() == 1; }));
  server_->stop_listening();
  pool_->stop();
  pool_->join();
  server_.reset();
  pool_.reset();
  EXPECT_TRUE(waiting.sees_end());
}

TEST_P(ProxiedServer, AHandlerThatThrowsClosesItsConnection) {
  log_.expect(LogLevel::kError, "from the handler");
  TCPServerOptions with_proxy = options();
  with_proxy.proxy_protocol = trusting("127.0.0.1");
  serve([](std::shared_ptr<IOStream>) { throw std::runtime_error("from the handler"); },
        std::move(with_proxy));
  TcpClient client = connect();
  ASSERT_TRUE(client.send(kV1));
  EXPECT_TRUE(client.sees_end());
  expect_nothing_open();
}

TEST_P(ProxiedServer, WithoutTheOptionThereIsNoHeader) {
  serve([](std::shared_ptr<IOStream> stream) {
    stream->write(proxy_header(*stream) == nullptr ? original_peer_address(*stream)->to_string()
                                                   : "a header");
  });
  TcpClient client = connect();
  const std::string peer = client.local_address().to_string();
  EXPECT_EQ(client.receive(peer.size()), peer);
}

// Over a Unix socket the balancer is trusted as "unix".
TEST_P(ProxiedServer, ABalancerMayComeOverAUnixSocket) {
  if (std::get<AcceptMode>(GetParam()) == AcceptMode::kReusePort) return;  // TCP only
  TCPServerOptions with_proxy = options();
  with_proxy.proxy_protocol = trusting("unix");
  server_ = std::make_unique<TCPServer>(
      *pool_,
      [](std::shared_ptr<IOStream> stream) {
        stream->write(original_peer_address(*stream)->to_string());
      },
      std::move(with_proxy));
  const std::string name = "unix:@gyre-proxied-" + std::to_string(::getpid());
  const absl::Status status = server_->listen(0, name);
  ASSERT_TRUE(status.ok()) << status;
  TcpClient client(server_->address());
  ASSERT_TRUE(client.send(kV1));
  EXPECT_EQ(client.receive(14), "192.0.2.1:4096");
}

}  // namespace
}  // namespace gyre::testing
