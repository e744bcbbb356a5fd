// The PROXY header, versions 1 and 2. Pure: bytes in, a header or an error out.

#include "gyre/net/proxy_protocol.h"

#include <sys/socket.h>

#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/net/crc32c.h"

namespace gyre::testing {
namespace {

using ::testing::HasSubstr;
using State = ProxyHeaderParser::State;
using Command = ProxyHeader::Command;

const std::string kSignature("\r\n\r\n\0\r\nQUIT\n", 12);

// A version 2 header with the bytes of its fields.
std::string v2(uint8_t command, uint8_t protocol, const std::string& block) {
  return kSignature + static_cast<char>(command) + static_cast<char>(protocol) +
         static_cast<char>(block.size() >> 8) + static_cast<char>(block.size()) + block;
}
const std::string kTcp4Block("\xc0\x00\x02\x01\xc0\x00\x02\x02\x10\x00\x01\xbb", 12);

// What a parser has come to, in one value.
struct Outcome {
  State state;
  size_t taken;
  std::string error;
  std::string source, destination;
  size_t tlvs;

  bool operator==(const Outcome&) const = default;
};
Outcome outcome_of(const ProxyHeaderParser& parser) {
  return {parser.state(),
          parser.bytes_taken(),
          std::string(parser.status().message()),
          parser.header().source.to_string(),
          parser.header().destination.to_string(),
          parser.header().tlvs.size()};
}
Outcome parse(std::string_view bytes) {
  ProxyHeaderParser parser;
  parser.feed(bytes);
  return outcome_of(parser);
}
ProxyHeader header_of(std::string_view bytes) {
  ProxyHeaderParser parser;
  EXPECT_EQ(parser.feed(bytes), bytes.size());
  EXPECT_EQ(parser.state(), State::kDone) << parser.status();
  return parser.header();
}

// ---- Version 1

TEST(ProxyProtocolV1, TellsBothAddresses) {
  const ProxyHeader v4 = header_of("PROXY TCP4 192.0.2.1 198.51.100.2 4096 443\r\n");
  EXPECT_EQ(v4.version, 1);
  EXPECT_EQ(v4.command, Command::kProxy);
  EXPECT_EQ(v4.socket_type, SOCK_STREAM);
  EXPECT_EQ(v4.source.to_string(), "192.0.2.1:4096");
  EXPECT_EQ(v4.destination.to_string(), "198.51.100.2:443");
  const ProxyHeader v6 = header_of("PROXY TCP6 2001:db8::1 ::1 0 65535\r\n");
  EXPECT_EQ(v6.source.to_string(), "[2001:db8::1]:0");
  EXPECT_EQ(v6.destination.to_string(), "[::1]:65535");
}

TEST(ProxyProtocolV1, UnknownHasNoAddressWhateverFollows) {
  for (const char* line :
       {"PROXY UNKNOWN\r\n", "PROXY UNKNOWN \r\n", "PROXY UNKNOWN ffff::1 what ever 1\r\n"}) {
    const ProxyHeader header = header_of(line);
    EXPECT_EQ(header.source.size(), 0u);
    EXPECT_EQ(header.command, Command::kProxy);
  }
}

TEST(ProxyProtocolV1, TheLongestLineIsOneOf107Bytes) {
  const std::string longest = "PROXY UNKNOWN " + std::string(91, 'x') + "\r\n";
  ASSERT_EQ(longest.size(), 107u);
  EXPECT_EQ(parse(longest).state, State::kDone);
  const Outcome longer = parse("PROXY UNKNOWN " + std::string(92, 'x') + "\r\n");
  EXPECT_EQ(longer.state, State::kFailed);
  EXPECT_EQ(longer.taken, 107u);
  EXPECT_THAT(longer.error, HasSubstr("107"));
}

TEST(ProxyProtocolV1, WhatIsNoHeaderIsAnErrorThatQuotesIt) {
  const struct {
    const char* line;
    const char* reason;
  } kCases[] = {
      {"GET / HTTP/1.1\r\n", "\"G\""},
      {"PROXX", "\"PROXX\""},
      {"proxy TCP4", "\"p\""},
      {"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n", "without CR"},
      {"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\rX", "without LF"},
      {"PROXY \r\n", "\"\""},
      {"PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n", "TCP5"},
      {"PROXY UNKNOWNS\r\n", "UNKNOWNS"},
      {"PROXY TCP4\r\n", "two addresses"},
      {"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", "two ports"},
      {"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n", "two ports"},
      {"PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n", "two ports"},
      {"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n", "two ports"},
      {"PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n", "\"192.0.2\" is no IPv4 address"},
      {"PROXY TCP4 ::1 192.0.2.2 1 2\r\n", "\"::1\" is no IPv4 address"},
      {"PROXY TCP6 192.0.2.1 ::1 1 2\r\n", "\"192.0.2.1\" is no IPv6 address"},
      {"PROXY TCP4 unix:/a 192.0.2.2 1 2\r\n", "no IPv4 address"},
      {"PROXY TCP4 192.0.2.1 localhost 1 2\r\n", "\"localhost\""},
      {"PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n", "\"65536\" is no port"},
      {"PROXY TCP4 192.0.2.1 192.0.2.2 1 -2\r\n", "\"-2\" is no port"},
      {"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n", "\"01\" is no port"},
      {"PROXY TCP4 192.0.2.1 192.0.2.2 1 \r\n", "\"\" is no port"},
  };
  for (const auto& c : kCases) {
    const Outcome outcome = parse(c.line);
    EXPECT_EQ(outcome.state, State::kFailed) << c.line;
    EXPECT_THAT(outcome.error, HasSubstr(c.reason)) << c.line;
  }
}

// ---- Version 2

TEST(ProxyProtocolV2, TellsIPv4Addresses) {
  const ProxyHeader header = header_of(v2(0x21, 0x11, kTcp4Block));
  EXPECT_EQ(header.version, 2);
  EXPECT_EQ(header.command, Command::kProxy);
  EXPECT_EQ(header.socket_type, SOCK_STREAM);
  EXPECT_EQ(header.source.to_string(), "192.0.2.1:4096");
  EXPECT_EQ(header.destination.to_string(), "192.0.2.2:443");
}

TEST(ProxyProtocolV2, TellsIPv6Addresses) {
  const std::string block = "\x20\x01\x0d\xb8" + std::string(11, '\0') + '\1' +
                            std::string(15, '\0') + '\1' + std::string("\0\x50\x1f\x90", 4);
  const ProxyHeader header = header_of(v2(0x21, 0x22, block));
  EXPECT_EQ(header.socket_type, SOCK_DGRAM);
  EXPECT_EQ(header.source.to_string(), "[2001:db8::1]:80");
  EXPECT_EQ(header.destination.to_string(), "[::1]:8080");
}

TEST(ProxyProtocolV2, TellsUnixAddresses) {
  std::string block = "/run/client";
  block.resize(108);
  block += std::string("\0abstract", 9);
  block.resize(216);
  const ProxyHeader header = header_of(v2(0x21, 0x31, block));
  EXPECT_EQ(header.source.to_string(), "unix:/run/client");
  EXPECT_EQ(header.destination.to_string(), "unix:@abstract");
  EXPECT_EQ(header_of(v2(0x21, 0x31, std::string(216, 'p'))).source.unix_path().size(), 108u);
  EXPECT_EQ(header_of(v2(0x21, 0x31, std::string(216, '\0'))).source.to_string(), "unix:");
}

// HAProxy's health check: 16 bytes and nothing else.
TEST(ProxyProtocolV2, LocalHasNoAddressWhateverFollows) {
  for (const std::string& bytes :
       {v2(0x20, 0x00, ""), v2(0x20, 0x11, kTcp4Block), v2(0x20, 0xff, "garbage")}) {
    const ProxyHeader header = header_of(bytes);
    EXPECT_EQ(header.command, Command::kLocal);
    EXPECT_EQ(header.source.size(), 0u);
    EXPECT_TRUE(header.tlvs.empty());
  }
}

TEST(ProxyProtocolV2, TellsTlvs) {
  const std::string tlvs(
      "\x02\x00\x0b"
      "example.com"
      "\x05\x00\x02id\x04\x00\x00",
      22);
  const ProxyHeader header = header_of(v2(0x21, 0x11, kTcp4Block + tlvs));
  ASSERT_EQ(header.tlvs.size(), 3u);
  EXPECT_EQ(*header.find(ProxyHeader::kAuthority), "example.com");
  EXPECT_EQ(*header.find(ProxyHeader::kUniqueId), "id");
  EXPECT_EQ(*header.find(ProxyHeader::kNoop), "");
  EXPECT_EQ(header.find(ProxyHeader::kSsl), nullptr);
  EXPECT_EQ(header_of(v2(0x21, 0x00, tlvs)).tlvs.size(), 3u) << "of no family";
}

TEST(ProxyProtocolV2, WhatIsNoHeaderIsAnErrorThatSaysWhy) {
  std::string broken_signature = v2(0x21, 0x11, kTcp4Block);
  broken_signature[7] = 'q';
  const struct {
    std::string bytes;
    const char* reason;
    size_t taken;
  } kCases[] = {
      {broken_signature, "how one begins", 8},
      {v2(0x11, 0x11, kTcp4Block), "0x11", 16},
      {v2(0x31, 0x11, kTcp4Block), "0x31", 16},
      {v2(0x22, 0x11, kTcp4Block), "0x22", 16},
      {v2(0x21, 0x41, kTcp4Block), "0x41", 16},
      {v2(0x21, 0x13, kTcp4Block), "0x13", 16},
      {v2(0x21, 0x10, kTcp4Block), "0x10", 16},
      {v2(0x21, 0x01, ""), "0x01", 16},
      {v2(0x21, 0x11, kTcp4Block.substr(1)), "11 bytes are too few", 16},
      {v2(0x21, 0x21, kTcp4Block), "12 bytes are too few", 16},
      {v2(0x21, 0x31, kTcp4Block), "12 bytes are too few", 16},
      {v2(0x21, 0x11, ""), "0 bytes are too few", 16},
      {v2(0x21, 0x11, kTcp4Block + "\x01"), "cut short", 29},
      {v2(0x21, 0x11, kTcp4Block + std::string("\x01\x00", 2)), "cut short", 30},
      {v2(0x21, 0x11, kTcp4Block + std::string("\x01\x00\x02x", 4)), "1 are left", 32},
      {v2(0x21, 0x11, kTcp4Block + std::string("\x05\x00\x81", 3) + std::string(129, 'i')),
       "unique id of 129 bytes", 160},
      {v2(0x21, 0x11, kTcp4Block + std::string("\x03\x00\x01s", 4)), "not 4 bytes", 32},
  };
  for (const auto& c : kCases) {
    const Outcome outcome = parse(c.bytes);
    EXPECT_EQ(outcome.state, State::kFailed) << c.reason;
    EXPECT_THAT(outcome.error, HasSubstr(c.reason));
    EXPECT_EQ(outcome.taken, c.taken) << c.reason;
  }
}

// The check value that everybody quotes for CRC32C.
TEST(ProxyProtocolV2, TheChecksumIsCrc32c) {
  EXPECT_EQ(internal::crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(internal::crc32c(""), 0u);
}

TEST(ProxyProtocolV2, AChecksumIsVerifiedUnlessToldOtherwise) {
  ProxyHeader header = header_of(v2(0x21, 0x11, kTcp4Block));
  header.tlvs.push_back({ProxyHeader::kAuthority, "example.com"});
  const std::string right = header.encode(/*checksum=*/true).value();
  EXPECT_EQ(header_of(right).find(ProxyHeader::kCrc32c)->size(), 4u);
  // In the addresses, and in a value.
  for (const size_t place : {16u, 20u, 24u, 27u, 31u, 41u}) {
    std::string wrong = right;
    wrong[place] = static_cast<char>(wrong[place] ^ 0x40);
    EXPECT_THAT(parse(wrong).error, HasSubstr("checksum")) << place;
  }
  std::string wrong = right;
  wrong[16] ^= 1;
  EXPECT_THAT(parse(wrong).error, HasSubstr("checksum"));
  ProxyHeaderParser trusting(/*verify_checksum=*/false);
  trusting.feed(wrong);
  EXPECT_EQ(trusting.state(), State::kDone);
}

// ---- Whatever comes

TEST(ProxyProtocol, WhatFollowsTheHeaderIsLeft) {
  for (const std::string& header : {std::string("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"),
                                    v2(0x21, 0x11, kTcp4Block), v2(0x20, 0x00, "")}) {
    ProxyHeaderParser parser;
    EXPECT_EQ(parser.feed(header + "GET / HTTP/1.1\r\n"), header.size());
    EXPECT_EQ(parser.state(), State::kDone);
    EXPECT_EQ(parser.feed("more"), 0u);
  }
}

std::vector<std::string> corpus() {
  ProxyHeader header = header_of(v2(0x21, 0x11, kTcp4Block));
  header.tlvs = {{ProxyHeader::kAuthority, "example.com"}, {0xea, std::string(300, 'v')}};
  return {"PROXY TCP4 192.0.2.1 192.0.2.2 1024 443\r\n",
          "PROXY TCP6 2001:db8::1 ::1 1024 443\r\n",
          "PROXY UNKNOWN\r\n",
          v2(0x21, 0x11, kTcp4Block),
          v2(0x20, 0x00, ""),
          v2(0x21, 0x31, std::string(216, 'p')),
          header.encode().value(),
          header.encode(/*checksum=*/true).value()};
}

// Parses the bytes in pieces whose ends are drawn.
Outcome parse_in_pieces(std::string_view bytes, std::mt19937& random, size_t largest) {
  ProxyHeaderParser parser;
  size_t taken = 0;
  while (!bytes.empty() && parser.state() == State::kReading) {
    const size_t size = std::min<size_t>(bytes.size(), 1 + random() % largest);
    taken += parser.feed(bytes.substr(0, size));
    bytes.remove_prefix(size);
  }
  EXPECT_EQ(taken, parser.bytes_taken());
  return outcome_of(parser);
}

// Headers, and headers with a few bytes changed, removed or put in: none crashes the parser, and
// how they are cut makes no difference.
TEST(ProxyProtocol, HowTheBytesAreCutMakesNoDifference) {
  std::mt19937 random(20261126);
  for (const std::string& model : corpus()) {
    for (int round = 0; round < 2000; ++round) {
      std::string bytes = model + "GET /";
      for (int change = round % 4; change > 0 && !bytes.empty(); --change) {
        const size_t at = random() % bytes.size();
        const int kind = static_cast<int>(random() % 3);
        if (kind == 0) bytes[at] = static_cast<char>(random());
        if (kind == 1) bytes.erase(at, 1);
        if (kind == 2) bytes.insert(at, 1, static_cast<char>(random()));
      }
      const Outcome whole = parse(bytes);
      ASSERT_EQ(parse_in_pieces(bytes, random, 1), whole);
      ASSERT_EQ(parse_in_pieces(bytes, random, 40), whole);
      ASSERT_LE(whole.taken, bytes.size());
      if (round % 4 == 0) {
        ASSERT_EQ(whole.state, State::kDone);
        ASSERT_EQ(whole.taken, model.size());
      }
    }
  }
}

TEST(ProxyProtocol, RandomBytesAreNoHeader) {
  std::mt19937 random(7);
  for (int round = 0; round < 20000; ++round) {
    std::string bytes(random() % 64, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    // Half of them begin like a header.
    if (round % 4 == 1) bytes.insert(0, kSignature);
    if (round % 4 == 3) bytes.insert(0, "PROXY ");
    const Outcome whole = parse(bytes);
    ASSERT_EQ(parse_in_pieces(bytes, random, 5), whole);
    if (round % 4 != 1) {
      ASSERT_NE(whole.state, State::kDone);
    }
  }
}

// ---- Writing

TEST(ProxyProtocol, ReadsWhatItWrites) {
  const auto address = [](const char* host, uint16_t port) {
    return SocketAddress::parse(host, port).value();
  };
  std::vector<ProxyHeader> headers;
  for (const int version : {1, 2}) {
    headers.push_back({.version = version,
                       .source = address("192.0.2.1", 1),
                       .destination = address("192.0.2.2", 65535)});
    headers.push_back({.version = version,
                       .source = address("2001:db8::1", 1),
                       .destination = address("::1", 2)});
    headers.push_back({.version = version, .command = Command::kLocal});
  }
  headers.push_back({.source = address("unix:/run/a", 0), .destination = address("unix:@b", 0)});
  for (const ProxyHeader& header : headers) {
    const ProxyHeader read = header_of(header.encode().value());
    EXPECT_EQ(read.version, header.version);
    EXPECT_EQ(read.source, header.source);
    EXPECT_EQ(read.destination, header.destination);
  }
}

TEST(ProxyProtocol, WhatCannotBeWrittenIsAnError) {
  ProxyHeader mixed;
  mixed.source = *SocketAddress::parse("192.0.2.1", 1);
  mixed.destination = *SocketAddress::parse("::1", 1);
  EXPECT_THAT(std::string(mixed.encode().status().message()), HasSubstr("[::1]:1"));
  ProxyHeader large;
  large.tlvs = {{1, std::string(40000, 'x')}, {2, std::string(40000, 'x')}};
  EXPECT_FALSE(large.encode().ok());
  large.tlvs = {{1, std::string(70000, 'x')}};
  EXPECT_FALSE(large.encode().ok());
}

}  // namespace
}  // namespace gyre::testing
