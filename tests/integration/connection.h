#ifndef GYRE_TESTS_INTEGRATION_CONNECTION_H_
#define GYRE_TESTS_INTEGRATION_CONNECTION_H_

#include <sys/socket.h>
#include <sys/time.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "gyre/loop/unique_fd.h"
#include "gyre/net/socket_address.h"
#include "gyre/tests/integration/process.h"

namespace gyre::testing {

// A blocking connection to a program that a test runs. No read waits for longer than 30 s.
class Connection {
 public:
  explicit Connection(uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const timeval limit{.tv_sec = 30, .tv_usec = 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    const absl::StatusOr<SocketAddress> address = SocketAddress::parse("127.0.0.1", port);
    EXPECT_EQ(::connect(fd_.get(), address->data(), address->size()), 0);
  }

  void send(std::string_view bytes) {
    EXPECT_EQ(::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  void end() { ::shutdown(fd_.get(), SHUT_WR); }

  // As many bytes, or fewer if the peer ended before.
  std::string receive(size_t size) {
    std::string bytes(size, '\0');
    size_t have = 0;
    while (have < size) {
      const ssize_t n = ::recv(fd_.get(), bytes.data() + have, size - have, 0);
      if (n <= 0) break;
      have += n;
    }
    bytes.resize(have);
    return bytes;
  }
  // Up to and with the newline.
  std::string line() {
    std::string line;
    while (line.empty() || line.back() != '\n') {
      const std::string byte = receive(1);
      if (byte.empty()) break;
      line += byte;
    }
    return line;
  }
  std::string until_end() {
    std::string all;
    for (std::string some = receive(4096); !some.empty(); some = receive(4096)) all += some;
    return all;
  }

 private:
  UniqueFd fd_;
};

// The port of a server that has printed "listening on 127.0.0.1:PORT".
inline uint16_t listening_port(Process& server) {
  EXPECT_TRUE(server.wait_for_output("\n")) << server.err();
  const std::string& line = server.out();
  const size_t colon = line.rfind(':');
  EXPECT_TRUE(line.starts_with("listening on 127.0.0.1:")) << line << server.err();
  return colon == std::string::npos ? 0 : static_cast<uint16_t>(std::stoi(line.substr(colon + 1)));
}

}  // namespace gyre::testing

#endif  // GYRE_TESTS_INTEGRATION_CONNECTION_H_
