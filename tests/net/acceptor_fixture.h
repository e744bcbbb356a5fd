#ifndef GYRE_TESTS_NET_ACCEPTOR_FIXTURE_H_
#define GYRE_TESTS_NET_ACCEPTOR_FIXTURE_H_

#include <sys/socket.h>

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "gyre/loop/unique_fd.h"
#include "gyre/net/acceptor.h"
#include "gyre/net/listen_socket.h"
#include "gyre/net/socket_address.h"
#include "gyre/tests/net/stream_fixture.h"

namespace gyre::testing {

// A socket that listens, for an acceptor, and clients for it.
class AcceptorTest : public StreamTest {
 protected:
  AcceptorTest() : socket_(ListenSocket::bind(SocketAddress::parse("127.0.0.1", 0).value())) {
    EXPECT_TRUE(socket_.ok()) << socket_.status();
    address_ = socket_->address();
  }

  std::unique_ptr<Acceptor> accept_with(Acceptor::Sink sink) {
    absl::StatusOr<std::unique_ptr<Acceptor>> acceptor =
        Acceptor::create(*loop_, *std::move(socket_), std::move(sink));
    EXPECT_TRUE(acceptor.ok()) << acceptor.status();
    return acceptor.ok() ? *std::move(acceptor) : nullptr;
  }
  // Keeps the connections, and how many came together.
  std::unique_ptr<Acceptor> accept_and_keep() { return accept_with(keeping_sink()); }
  Acceptor::Sink keeping_sink() {
    return [this](std::vector<internal::AcceptedConnection>& connections) {
      batches_.push_back(connections.size());
      for (internal::AcceptedConnection& connection : connections) {
        accepted_.push_back(std::move(connection.fd));
        places_.push_back(std::move(connection.place));
      }
    };
  }
  std::unique_ptr<Acceptor> accept_and_keep(Acceptor::Options options) {
    options.counters = counters_;
    absl::StatusOr<std::unique_ptr<Acceptor>> acceptor =
        Acceptor::create(*loop_, std::make_shared<ListenSocket>(*std::move(socket_)),
                         keeping_sink(), std::move(options));
    EXPECT_TRUE(acceptor.ok()) << acceptor.status();
    return acceptor.ok() ? *std::move(acceptor) : nullptr;
  }

  // Connected by the kernel, whether or not somebody accepts.
  void connect(int count = 1) {
    for (int i = 0; i < count; ++i) {
      UniqueFd fd(::socket(AF_INET, SOCK_STREAM, 0));
      EXPECT_EQ(::connect(fd.get(), address_.data(), address_.size()), 0);
      clients_.push_back(std::move(fd));
    }
  }
  void run_until_accepted(size_t count) {
    run_until([&] { return accepted_.size() >= count; });
    EXPECT_EQ(accepted_.size(), count);
  }
  bool can_connect() const {
    const UniqueFd fd(::socket(AF_INET, SOCK_STREAM, 0));
    return ::connect(fd.get(), address_.data(), address_.size()) == 0;
  }

  absl::StatusOr<ListenSocket> socket_;
  SocketAddress address_;
  std::vector<UniqueFd> clients_;
  std::vector<UniqueFd> accepted_;
  std::vector<internal::Place> places_;
  std::vector<size_t> batches_;
  std::shared_ptr<internal::AcceptCounters> counters_ =
      std::make_shared<internal::AcceptCounters>();
};

}  // namespace gyre::testing

#endif  // GYRE_TESTS_NET_ACCEPTOR_FIXTURE_H_
