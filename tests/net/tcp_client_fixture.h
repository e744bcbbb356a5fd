#ifndef GYRE_TESTS_NET_TCP_CLIENT_FIXTURE_H_
#define GYRE_TESTS_NET_TCP_CLIENT_FIXTURE_H_

#include <netinet/in.h>
#include <sys/socket.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "gyre/net/listen_socket.h"
#include "gyre/net/resolver.h"
#include "gyre/net/socket_address.h"
#include "gyre/net/tcp_client.h"
#include "gyre/testing/inline_executor.h"
#include "gyre/tests/net/stream_fixture.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {

using Connected = absl::StatusOr<std::shared_ptr<IOStream>>;

inline SocketAddress address_of(const std::string& host, uint16_t port = 0) {
  return SocketAddress::parse(host, port).value();
}

// A port where nobody listens, and where nobody else will meanwhile: it is bound.
class ClosedPort {
 public:
  explicit ClosedPort(const std::string& host = "127.0.0.1")
      : fd_(::socket(address_of(host).family(), SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const SocketAddress address = address_of(host);
    EXPECT_EQ(::bind(fd_.get(), address.data(), address.size()), 0);
  }
  uint16_t port() const { return SocketAddress::local_of(fd_.get())->port(); }

 private:
  UniqueFd fd_;
};

// A listener whose queue is full: the kernel lets whoever connects wait.
class SilentServer {
 public:
  SilentServer() : listener_(ListenSocket::bind(address_of("127.0.0.1"), options()).value()) {
    for (int i = 0; i < 8; ++i) {
      UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
      ::connect(fd.get(), listener_.address().data(), listener_.address().size());
      waiting_.push_back(std::move(fd));
    }
  }
  uint16_t port() const { return listener_.address().port(); }

 private:
  static ListenOptions options() {
    ListenOptions options;
    options.backlog = 0;
    return options;
  }
  ListenSocket listener_;
  std::vector<UniqueFd> waiting_;
};

class TCPClientTest : public StreamTest {
 protected:
  TCPClientTest() : StreamTest(TestTime::kVirtual) {}

  // The addresses of "example.test", whatever the port.
  std::shared_ptr<Resolver> resolver(const std::vector<std::string>& hosts) {
    ResolverOptions options;
    options.executor = &executor_;
    options.lookup = [hosts](const std::string&) -> ResolvedAddresses {
      std::vector<SocketAddress> addresses;
      for (const std::string& host : hosts) addresses.push_back(address_of(host));
      return addresses;
    };
    return std::make_shared<Resolver>(std::move(options));
  }
  Connected connect(TCPClient& client, std::string_view host, uint16_t port,
                    ConnectOptions options = {}) {
    return loop_->run_sync(
        [&]() -> Task<Connected> { co_return co_await client.connect(host, port, options); },
        kDeadline);
  }
  UniqueFd accept(const ListenSocket& listener) {
    UniqueFd fd;
    run_until([&] {
      fd = UniqueFd(::accept(listener.fileno(), nullptr, nullptr));
      return static_cast<bool>(fd);
    });
    make_nonblocking(fd.get());
    return fd;
  }

  // The kernel connects in its own time: no delay passes meanwhile, unless a test is about that.
  std::optional<VirtualTime::Hold> hold_{std::in_place, virtual_time_};
  InlineExecutor executor_;
  ListenSocket listener_ = ListenSocket::bind(address_of("127.0.0.1")).value();
};

}  // namespace gyre::testing

#endif  // GYRE_TESTS_NET_TCP_CLIENT_FIXTURE_H_
