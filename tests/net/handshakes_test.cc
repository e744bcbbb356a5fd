// Handshakes that are under way when a socket stops listening. Linux.

#include "gyre/net/handshakes.h"

#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "gyre/net/acceptor.h"
#include "gyre/net/listen_socket.h"
#include "gyre/net/socket_address.h"
#include "gyre/tests/net/acceptor_fixture.h"
#include "gyre/tests/net/half_open_client.h"
#include "gyre/tests/net/tcp_client.h"
#include "gyre/tests/net/tcp_server_fixture.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using internal::AcceptedConnection;
using internal::Handshakes;
using std::chrono::hours;

// ---- What the kernel says

SocketAddress any_port(const char* host) { return SocketAddress::parse(host, 0).value(); }

// Of the two families those that the machine has.
std::vector<const char*> hosts() {
  std::vector<const char*> hosts{"127.0.77.2"};
  if (ListenSocket::bind(any_port("::1")).ok()) hosts.push_back("::1");
  return hosts;
}

class HandshakesOf : public ::testing::TestWithParam<const char*> {
 protected:
  ListenSocket socket_ = ListenSocket::bind(any_port(GetParam())).value();
};
INSTANTIATE_TEST_SUITE_P(Families, HandshakesOf, ::testing::ValuesIn(hosts()),
                         [](const auto& param) { return param.param[0] == ':' ? "ipv6" : "ipv4"; });

TEST_P(HandshakesOf, AnAddressAreThoseThatHaveNotEnded) {
  EXPECT_FALSE(Handshakes(socket_.address()).under_way()) << "nobody has asked";
  const UniqueFd connected(::socket(socket_.address().family(), SOCK_STREAM, 0));
  ASSERT_EQ(::connect(connected.get(), socket_.address().data(), socket_.address().size()), 0);
  EXPECT_FALSE(Handshakes(socket_.address()).under_way()) << "this one is complete";
  HalfOpenClient client(socket_.address());
  Handshakes handshakes(socket_.address());
  EXPECT_TRUE(handshakes.under_way());
  EXPECT_TRUE(handshakes.under_way());
  client.listen();
  EXPECT_FALSE(handshakes.under_way());
}

TEST_P(HandshakesOf, AnAddressAreNotThoseThatBeginLaterOrAskForAnother) {
  ListenSocket other = ListenSocket::bind(any_port(GetParam())).value();
  const HalfOpenClient elsewhere(other.address());
  EXPECT_FALSE(Handshakes(socket_.address()).under_way());
  HalfOpenClient first(socket_.address());
  Handshakes handshakes(socket_.address());
  const HalfOpenClient later(socket_.address());
  first.listen();
  EXPECT_FALSE(handshakes.under_way());
  EXPECT_TRUE(Handshakes(socket_.address()).under_way());
}

TEST(Handshakes, OfAUnixSocketThereAreNone) {
  EXPECT_FALSE(Handshakes(SocketAddress::parse("unix:/nowhere", 0).value()).under_way());
}

// ---- What the acceptor makes of it

using AcceptorLastCall = AcceptorTest;
GYRE_FOR_EACH_BACKEND(AcceptorLastCall);

TEST_P(AcceptorLastCall, IsCompleteWhenTheHandshakesThatHadBegunHaveEnded) {
  const std::unique_ptr<Acceptor> acceptor = accept_and_keep();
  HalfOpenClient client(address_);
  connect(1);
  EXPECT_FALSE(acceptor->last_call());
  EXPECT_EQ(accepted_.size(), 1u) << "who was connected is in";
  HalfOpenClient late(address_);
  EXPECT_FALSE(acceptor->last_call());
  client.listen();
  EXPECT_TRUE(acceptor->last_call()) << "and who came too late is not waited for";
  EXPECT_EQ(accepted_.size(), 2u);
  acceptor->stop();
  write_all(accepted_[1].get(), "x");
  pollfd readable{.fd = client.fileno(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&readable, 1, static_cast<int>(kDeadline.count() * 1000)), 1);
  EXPECT_EQ(read_available(client.fileno()), "x") << "not reset";
}

TEST_P(AcceptorLastCall, GoesNoFurtherWhenAPlaceIsGivenBackAfterIt) {
  Acceptor::Options options;
  ConnectionLimits limits;
  limits.total = 1;
  const auto admission = std::make_shared<internal::Admission>(limits, 1);
  options.admission = admission;
  options.gate = [admission](AcceptedConnection& connection, bool last_call) {
    return admission->enter(1, {}, last_call, connection.place);
  };
  const std::unique_ptr<Acceptor> acceptor = accept_and_keep(std::move(options));
  const HalfOpenClient client(address_);
  connect(2);
  run_until_accepted(1);
  run_turns(3);
  EXPECT_EQ(counters_->waits.get(), 1u);
  EXPECT_FALSE(acceptor->last_call());
  const uint64_t handlers = loop_->metrics().handlers;
  places_.clear();
  run_turns(3);
  EXPECT_EQ(loop_->metrics().handlers, handlers) << "the socket is not watched again";
}

// ---- And the server

class TCPServerHandshakes : public TcpServerTest {
 protected:
  // Where it does not wait for them.
  void stop_listening_on_a_loop() {
    Event stopping;
    pool_->loop(0).add_callback([&] {
      server_->stop_listening();
      stopping.set();
    });
    EXPECT_TRUE(stopping.wait());
  }
};
GYRE_FOR_EACH_SERVER(TCPServerHandshakes);

TEST_P(TCPServerHandshakes, AClientThatGoesSilentDoesNotKeepTheSocketOpen) {
  serve_echo();
  TcpClient busy = connect();
  expect_echo(busy);
  const HalfOpenClient silent(server_->address());
  server_->stop_listening();
  EXPECT_FALSE(TcpClient(server_->address()).connected());
  expect_echo(busy, "still there");
  EXPECT_TRUE(server_->drain(hours(1)).finished);
}

// Whoever was connected is served, at whatever moment the socket closes: nobody is reset.
TEST_P(TCPServerHandshakes, AreNoReasonToResetAnybody) {
  serve_echo();
  std::atomic<int> served{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 3; ++i) {
    clients.emplace_back([&, address = server_->address()] {
      for (;;) {
        TcpClient client(address);
        if (!client.connected()) return;
        EXPECT_TRUE(client.send("x"));
        const std::string answer = client.receive(1);
        EXPECT_EQ(answer, "x") << "after " << served.load() << " connections";
        if (answer != "x") return;
        served.fetch_add(1);
      }
    });
  }
  EXPECT_TRUE(comes_true([&] { return served.load() > 100; }));
  server_->stop_listening();
  for (std::thread& client : clients) client.join();
}

TEST_P(TCPServerHandshakes, AreLeftWhenTheServerIsDestroyed) {
  serve_echo();
  const HalfOpenClient silent(server_->address());
  stop_listening_on_a_loop();
  server_.reset();
}

TEST_P(TCPServerHandshakes, AreLeftWhenThePoolIsStopped) {
  serve_echo();
  const HalfOpenClient silent(server_->address());
  stop_listening_on_a_loop();
  pool_->stop();
  server_.reset();
}

}  // namespace
}  // namespace gyre::testing
