#include "gyre/net/socket_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

TEST(SocketAddress, ADefaultOneIsOfNoFamily) {
  const SocketAddress address;
  EXPECT_EQ(address.family(), AF_UNSPEC);
  EXPECT_EQ(address.port(), 0);
  EXPECT_EQ(address.host(), "");
  EXPECT_EQ(address.to_string(), "(no address)");
  EXPECT_EQ(address.size(), 0u);
  EXPECT_EQ(address, SocketAddress());
}

TEST(SocketAddress, ParsesWhatItFormats) {
  const struct {
    const char* host;
    int family;
    socklen_t size;
    const char* text;
  } kCases[] = {
      {"127.0.0.1", AF_INET, sizeof(sockaddr_in), "127.0.0.1:80"},
      {"0.0.0.0", AF_INET, sizeof(sockaddr_in), "0.0.0.0:80"},
      {"255.255.255.255", AF_INET, sizeof(sockaddr_in), "255.255.255.255:80"},
      {"::1", AF_INET6, sizeof(sockaddr_in6), "[::1]:80"},
      {"::", AF_INET6, sizeof(sockaddr_in6), "[::]:80"},
      {"2001:db8::ff00:42:8329", AF_INET6, sizeof(sockaddr_in6), "[2001:db8::ff00:42:8329]:80"},
      {"::ffff:192.0.2.1", AF_INET6, sizeof(sockaddr_in6), "[::ffff:192.0.2.1]:80"},
  };
  for (const auto& c : kCases) {
    const absl::StatusOr<SocketAddress> address = SocketAddress::parse(c.host, 80);
    ASSERT_TRUE(address.ok()) << c.host << ": " << address.status();
    EXPECT_EQ(address->family(), c.family) << c.host;
    EXPECT_EQ(address->size(), c.size) << c.host;
    EXPECT_EQ(address->host(), c.host);
    EXPECT_EQ(address->port(), 80) << c.host;
    EXPECT_EQ(address->to_string(), c.text);
  }
}

TEST(SocketAddress, FormatsTheShortestFormOfAnIPv6Address) {
  EXPECT_EQ(SocketAddress::parse("2001:0DB8:0000:0000:0000:0000:0000:0001", 1)->host(),
            "2001:db8::1");
}

TEST(SocketAddress, ParsesNumericAddressesOnlyAndNamesWhatIsNone) {
  for (const char* host : {"", "localhost", "127.0.0", "127.0.0.256", "127.0.0.1.1", "127.0.0.1 ",
                           " 127.0.0.1", "0x7f.0.0.1", "127.0.0.1:80", "[::1]",
                           "::1::", ":::", "12345::", "g::1", "fe80::1%nosuch"}) {
    const absl::Status status = SocketAddress::parse(host, 80).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << host;
    EXPECT_THAT(std::string(status.message()), HasSubstr("\"" + std::string(host) + "\""));
  }
}

TEST(SocketAddress, ANulByteDoesNotCutAHostShort) {
  const std::string_view host("127.0.0.1\0.example", 18);
  EXPECT_EQ(SocketAddress::parse(host, 80).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(SocketAddress::resolve(host, 80).status().code(), StatusCode::kInvalidArgument);
}

TEST(SocketAddress, EveryPortIsKeptInNetworkOrder) {
  for (const char* host : {"127.0.0.1", "::1"}) {
    for (const uint16_t port : {0, 1, 80, 255, 256, 32768, 65535}) {
      SocketAddress address = SocketAddress::parse(host, port).value();
      EXPECT_EQ(address.port(), port) << host;
      address.set_port(static_cast<uint16_t>(port + 1));
      EXPECT_EQ(address.port(), static_cast<uint16_t>(port + 1)) << host;
    }
  }
  const SocketAddress address = SocketAddress::parse("127.0.0.1", 0x1234).value();
  sockaddr_in raw;
  std::memcpy(&raw, address.data(), sizeof(raw));
  EXPECT_EQ(raw.sin_port, htons(0x1234));
}

TEST(SocketAddress, AreEqualIfFamilyHostAndPortAre) {
  const auto of = [](const char* host, uint16_t port) {
    return SocketAddress::parse(host, port).value();
  };
  EXPECT_EQ(of("127.0.0.1", 80), of("127.0.0.1", 80));
  EXPECT_EQ(of("::1", 80), of("0:0::1", 80));
  EXPECT_FALSE(of("127.0.0.1", 80) == of("127.0.0.2", 80));
  EXPECT_FALSE(of("127.0.0.1", 80) == of("127.0.0.1", 81));
  EXPECT_FALSE(of("::1", 80) == of("::2", 80));
  EXPECT_FALSE(of("0.0.0.0", 80) == of("::", 80));
  EXPECT_FALSE(of("0.0.0.0", 0) == SocketAddress());
}

TEST(SocketAddress, ACopyOfAKernelsAddressIsTheSame) {
  const SocketAddress address = SocketAddress::parse("::1", 8080).value();
  EXPECT_EQ(SocketAddress(address.data(), address.size()), address);
}

// ---- Resolving

TEST(SocketAddress, ResolvesANumericHostToItself) {
  for (const char* host : {"127.0.0.1", "::1"}) {
    const absl::StatusOr<std::vector<SocketAddress>> addresses = SocketAddress::resolve(host, 80);
    ASSERT_TRUE(addresses.ok()) << addresses.status();
    ASSERT_EQ(addresses->size(), 1u);
    EXPECT_EQ(addresses->front(), SocketAddress::parse(host, 80).value());
  }
}

TEST(SocketAddress, ResolvesLocalhostToTheLoopback) {
  const absl::StatusOr<std::vector<SocketAddress>> addresses =
      SocketAddress::resolve("localhost", 8080);
  ASSERT_TRUE(addresses.ok()) << addresses.status();
  ASSERT_FALSE(addresses->empty());
  for (const SocketAddress& address : *addresses) {
    EXPECT_TRUE(address.host() == "127.0.0.1" || address.host() == "::1") << address.to_string();
    EXPECT_EQ(address.port(), 8080);
  }
}

TEST(SocketAddress, ResolvesNoHostToEveryLocalAddress) {
  const absl::StatusOr<std::vector<SocketAddress>> addresses = SocketAddress::resolve("", 8080);
  ASSERT_TRUE(addresses.ok()) << addresses.status();
  for (const SocketAddress& address : *addresses) {
    EXPECT_TRUE(address.host() == "0.0.0.0" || address.host() == "::") << address.to_string();
    EXPECT_EQ(address.port(), 8080);
  }
}

TEST(SocketAddress, AnUnknownHostIsNotFoundAndNamed) {
  // Not a name by RFC 1035 (a label of more than 63 bytes), so no server is asked for it.
  const std::string host = std::string(70, 'x') + ".invalid";
  const absl::Status status = SocketAddress::resolve(host, 80).status();
  EXPECT_EQ(status.code(), StatusCode::kNotFound) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(host));
}

// ---- HOST:PORT

TEST(SocketAddress, SplitsHostAndPort) {
  const struct {
    const char* text;
    const char* host;
    uint16_t port;
  } kCases[] = {
      {"127.0.0.1:80", "127.0.0.1", 80},
      {"[::1]:80", "::1", 80},
      {"example.com:65535", "example.com", 65535},
      {":0", "", 0},
      {"[]:1", "", 1},
      {"host:0080", "host", 80},
  };
  for (const auto& c : kCases) {
    std::string host = "before";
    uint16_t port = 7;
    const absl::Status status = SocketAddress::split(c.text, &host, &port);
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_EQ(host, c.host) << c.text;
    EXPECT_EQ(port, c.port) << c.text;
  }
}

TEST(SocketAddress, WhatCannotBeSplitIsQuotedWithTheReason) {
  const struct {
    const char* text;
    const char* reason;
  } kCases[] = {
      {"", "no colon"},
      {"127.0.0.1", "no colon"},
      {"::1", "brackets"},
      {"2001:db8::1:80", "brackets"},
      {"host:", "port"},
      {"host:65536", "port"},
      {"host:-1", "port"},
      {"host:+1", "port"},
      {"host: 80", "port"},
      {"host:80 ", "port"},
      {"host:http", "port"},
      {"host:0x50", "port"},
      {"host:99999999999999999999", "port"},
      {"[::1]80", "brackets"},
      {"[::1]", "brackets"},
  };
  for (const auto& c : kCases) {
    std::string host;
    uint16_t port = 0;
    const absl::Status status = SocketAddress::split(c.text, &host, &port);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << c.text;
    EXPECT_THAT(std::string(status.message()), HasSubstr("\"" + std::string(c.text) + "\""));
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.reason)) << c.text;
  }
}

// ---- Of sockets

TEST(SocketAddress, OneSocketsPeerIsTheOthersLocalAddress) {
  const FdPair pair = tcp_pair();
  const absl::StatusOr<SocketAddress> local = SocketAddress::local_of(pair.a.get());
  ASSERT_TRUE(local.ok()) << local.status();
  EXPECT_EQ(local->host(), "127.0.0.1");
  EXPECT_NE(local->port(), 0);
  EXPECT_EQ(SocketAddress::peer_of(pair.b.get()).value(), *local);
}

TEST(SocketAddress, OfAnotherFamilyIsUnimplementedAndNamesTheFamily) {
  const UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0));
  ASSERT_TRUE(fd);
  const absl::Status status = SocketAddress::local_of(fd.get()).status();
  EXPECT_EQ(status.code(), StatusCode::kUnimplemented) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("family " + std::to_string(AF_NETLINK)));
}

TEST(SocketAddress, OfNoSocketNamesTheCallThatFailed) {
  const int fd = closed_fd();
  EXPECT_THAT(std::string(SocketAddress::local_of(fd).status().message()),
              HasSubstr("getsockname: "));
  EXPECT_THAT(std::string(SocketAddress::peer_of(fd).status().message()),
              HasSubstr("getpeername: "));
}

TEST(SocketAddress, AnUnconnectedSocketHasNoPeer) {
  const UniqueFd fd(::socket(AF_INET, SOCK_STREAM, 0));
  EXPECT_TRUE(SocketAddress::local_of(fd.get()).ok());
  EXPECT_FALSE(SocketAddress::peer_of(fd.get()).ok());
}

// ---- Unix sockets

TEST(SocketAddress, ParsesTheUnixSocketsThatItFormats) {
  const std::string longest = "unix:/" + std::string(sizeof(sockaddr_un::sun_path) - 2, 'p');
  for (const std::string& text : {std::string("unix:/run/app.sock"), std::string("unix:relative"),
                                  std::string("unix:@app"), std::string("unix:./@file"), longest}) {
    const absl::StatusOr<SocketAddress> address = SocketAddress::parse(text, 80);
    ASSERT_TRUE(address.ok()) << address.status();
    EXPECT_TRUE(address->is_unix());
    EXPECT_EQ(address->port(), 0);
    EXPECT_EQ(address->host(), text);
    EXPECT_EQ(address->to_string(), text);
    EXPECT_EQ(SocketAddress(address->data(), address->size()), *address);
  }
}

TEST(SocketAddress, OnlyAUnixSocketWithAFileHasAPath) {
  EXPECT_EQ(SocketAddress::parse("unix:/run/app.sock", 0)->unix_path(), "/run/app.sock");
  EXPECT_EQ(SocketAddress::parse("unix:@app", 0)->unix_path(), "");
  EXPECT_EQ(SocketAddress::parse("127.0.0.1", 1)->unix_path(), "");
}

TEST(SocketAddress, UnixSocketsAreEqualIfTheirNamesAre) {
  const auto of = [](const char* text) { return SocketAddress::parse(text, 0).value(); };
  EXPECT_EQ(of("unix:/a"), of("unix:/a"));
  EXPECT_FALSE(of("unix:/a") == of("unix:/ab"));
  EXPECT_FALSE(of("unix:@a") == of("unix:a"));
}

TEST(SocketAddress, WhatIsNoUnixSocketIsQuotedWithTheReason) {
  const std::string too_long = "unix:/" + std::string(sizeof(sockaddr_un::sun_path) - 1, 'p');
  const struct {
    std::string text;
    const char* reason;
  } kCases[] = {{"unix:", "empty"},
                {"unix:@", "empty"},
                {too_long, "108 bytes, and 107 is the most"},
                {std::string("unix:/a\0b", 9), "NUL"}};
  for (const auto& c : kCases) {
    for (const absl::Status& status :
         {SocketAddress::parse(c.text, 0).status(), SocketAddress::resolve(c.text, 0).status()}) {
      EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr(c.text.substr(0, 6)));
      EXPECT_THAT(std::string(status.message()), HasSubstr(c.reason));
    }
  }
}

TEST(SocketAddress, AUnixSocketIsAllHost) {
  std::string host;
  uint16_t port = 7;
  ASSERT_TRUE(SocketAddress::split("unix:/run/a:80", &host, &port).ok());
  EXPECT_EQ(host, "unix:/run/a:80");
  EXPECT_EQ(port, 0);
}

TEST(SocketAddress, AUnixSocketWithoutAnAddressSaysSo) {
  const FdPair pair = socket_pair();
  const absl::StatusOr<SocketAddress> local = SocketAddress::local_of(pair.a.get());
  ASSERT_TRUE(local.ok()) << local.status();
  EXPECT_TRUE(local->is_unix());
  EXPECT_EQ(local->to_string(), "unix:");
  EXPECT_EQ(local->unix_path(), "");
}

// The kernel picks such a name when a socket is bound to none (autobind of unix(7)).
TEST(SocketAddress, AnAbstractNameThatCannotBePrintedIsEscaped) {
  const char bytes[] = "\0\x01z";
  sockaddr_un raw{};
  raw.sun_family = AF_UNIX;
  std::memcpy(raw.sun_path, bytes, 3);
  const SocketAddress address(reinterpret_cast<const sockaddr*>(&raw),
                              offsetof(sockaddr_un, sun_path) + 3);
  EXPECT_EQ(address.to_string(), "unix:@\\x01z");
}

}  // namespace
}  // namespace gyre::testing
