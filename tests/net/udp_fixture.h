#ifndef GYRE_TESTS_NET_UDP_FIXTURE_H_
#define GYRE_TESTS_NET_UDP_FIXTURE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "gyre/net/socket_address.h"
#include "gyre/net/udp_socket.h"
#include "gyre/tests/net/stream_fixture.h"

namespace gyre::testing {

inline SocketAddress loopback(uint16_t port = 0, const char* host = "127.0.0.1") {
  return SocketAddress::parse(host, port).value();
}

// Sockets on loopback, and what they receive.
class UDPTest : public StreamTest {
 protected:
  using Socket = std::shared_ptr<UDPSocket>;

  Socket bound(UDPOptions options = {}, const char* host = "127.0.0.1") {
    absl::StatusOr<Socket> socket = UDPSocket::bind(*loop_, loopback(0, host), options);
    EXPECT_TRUE(socket.ok()) << socket.status();
    return *std::move(socket);
  }
  Socket connected(const Socket& peer, UDPOptions options = {}) {
    absl::StatusOr<Socket> socket =
        UDPSocket::connect(*loop_, peer->local_address().value(), options);
    EXPECT_TRUE(socket.ok()) << socket.status();
    return *std::move(socket);
  }
  // Of a port where nobody listens.
  SocketAddress nobody() {
    const Socket socket = bound();
    return socket->local_address().value();
  }
  // Receives into a list that lives as long as the test.
  std::vector<std::string>& collect(const Socket& socket) {
    received_.push_back(std::make_unique<std::vector<std::string>>());
    std::vector<std::string>& list = *received_.back();
    EXPECT_TRUE(socket
                    ->set_receive_callback([&list](std::string_view bytes, const SocketAddress&) {
                      list.emplace_back(bytes);
                    })
                    .ok());
    return list;
  }

 private:
  std::vector<std::unique_ptr<std::vector<std::string>>> received_;
};

}  // namespace gyre::testing

#endif  // GYRE_TESTS_NET_UDP_FIXTURE_H_
