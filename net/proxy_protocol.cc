#include "gyre/net/proxy_protocol.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <optional>

#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "gyre/net/crc32c.h"

namespace gyre {
namespace {

constexpr std::string_view kV1Signature = "PROXY ";
constexpr std::string_view kV2Signature("\r\n\r\n\0\r\nQUIT\n", 12);

// proxy-protocol.txt, 2.2: the upper four bits are the family, the lower four the socket's type.
enum : uint8_t { kUnspec = 0x0, kInet = 0x1, kInet6 = 0x2, kUnix = 0x3 };
constexpr uint8_t kStream = 0x1, kDatagram = 0x2;
constexpr uint8_t kVersion2 = 0x20;
constexpr size_t kUnixPathBytes = 108;
// The type and the length.
constexpr size_t kTlvPrefixBytes = 3;
constexpr size_t kMaxUniqueIdBytes = 128;

uint8_t byte_at(std::string_view bytes, size_t i) { return static_cast<uint8_t>(bytes[i]); }
size_t number_at(std::string_view bytes, size_t i) {
  return byte_at(bytes, i) << 8 | byte_at(bytes, i + 1);
}
void append_number(std::string& bytes, size_t number) {
  bytes += static_cast<char>(number >> 8);
  bytes += static_cast<char>(number);
}

absl::Status invalid(const std::string& why) {
  return absl::InvalidArgumentError("PROXY header: " + why);
}

// A decimal number without sign, spaces or leading zeros.
std::optional<uint16_t> parse_port(std::string_view text) {
  uint16_t port = 0;
  const char* end = text.data() + text.size();
  const auto [last, error] = std::from_chars(text.data(), end, port);
  if (text.empty() || error != std::errc() || last != end) return std::nullopt;
  if (text.size() > 1 && text.front() == '0') return std::nullopt;
  return port;
}

absl::StatusOr<SocketAddress> parse_v1_address(int family, const std::string& host,
                                               const std::string& port_text) {
  const std::optional<uint16_t> port = parse_port(port_text);
  if (!port.has_value()) {
    return invalid(absl::StrFormat("\"%s\" is no port", absl::CHexEscape(port_text)));
  }
  absl::StatusOr<SocketAddress> address = SocketAddress::parse(host, *port);
  if (!address.ok() || address->family() != family) {
    return invalid(absl::StrFormat("\"%s\" is no %s address", absl::CHexEscape(host),
                                   family == AF_INET ? "IPv4" : "IPv6"));
  }
  return address;
}

SocketAddress unix_address(std::string_view path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  // An abstract name ends with its last byte that is not NUL: its length is not in the header.
  const size_t size = path.starts_with('\0') ? path.find_last_not_of('\0') + 1
                                             : std::min(path.find('\0'), path.size());
  std::memcpy(address.sun_path, path.data(), std::min(size, sizeof(address.sun_path)));
  return SocketAddress(reinterpret_cast<const sockaddr*>(&address),
                       static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + size));
}

SocketAddress inet_address(std::string_view bytes, std::string_view port) {
  if (bytes.size() == 4) {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    std::memcpy(&v4.sin_addr, bytes.data(), 4);
    std::memcpy(&v4.sin_port, port.data(), 2);
    return SocketAddress(reinterpret_cast<const sockaddr*>(&v4), sizeof(v4));
  }
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  std::memcpy(&v6.sin6_addr, bytes.data(), 16);
  std::memcpy(&v6.sin6_port, port.data(), 2);
  return SocketAddress(reinterpret_cast<const sockaddr*>(&v6), sizeof(v6));
}

size_t address_block_bytes(uint8_t family) {
  constexpr std::array<size_t, 4> kBytes{0, 2 * (4 + 2), 2 * (16 + 2), 2 * kUnixPathBytes};
  return kBytes[family];
}

void read_addresses(uint8_t family, std::string_view block, ProxyHeader& header) {
  if (family == kUnix) {
    header.source = unix_address(block.substr(0, kUnixPathBytes));
    header.destination = unix_address(block.substr(kUnixPathBytes, kUnixPathBytes));
  } else if (family != kUnspec) {
    const size_t bytes = family == kInet ? 4 : 16;
    header.source = inet_address(block.substr(0, bytes), block.substr(2 * bytes, 2));
    header.destination = inet_address(block.substr(bytes, bytes), block.substr(2 * bytes + 2, 2));
  }
}

}  // namespace

const std::string* ProxyHeader::find(uint8_t type) const {
  for (const Tlv& tlv : tlvs) {
    if (tlv.type == type) return &tlv.value;
  }
  return nullptr;
}

// ---- Parsing

size_t ProxyHeaderParser::feed(std::string_view bytes) {
  size_t taken = 0;
  while (taken < bytes.size() && state_ == State::kReading) {
    if (v2_bytes_ > taken_.size() + 1) {
      // Nothing is looked at before the last byte.
      const size_t count = std::min(bytes.size() - taken, v2_bytes_ - 1 - taken_.size());
      taken_.append(bytes.substr(taken, count));
      taken += count;
    } else {
      take_byte(bytes[taken++]);
    }
  }
  return taken;
}

void ProxyHeaderParser::take_byte(char byte) {
  taken_ += byte;
  const size_t size = taken_.size();
  const bool v2 = taken_.front() == kV2Signature.front();
  const std::string_view signature = v2 ? kV2Signature : kV1Signature;
  if (size <= signature.size()) {
    if (byte != signature[size - 1]) {
      end_with(invalid("\"" + absl::CHexEscape(taken_) + "\" is not how one begins"));
    }
  } else if (!v2) {
    if (byte == '\n') return finish_v1();
    if (taken_[size - 2] == '\r') return end_with(invalid("a CR without LF"));
    if (size == kMaxV1Bytes) end_with(invalid("no CRLF within 107 bytes"));
  } else if (size == kV2PrefixBytes) {
    check_v2_prefix();
  } else if (size == v2_bytes_) {
    finish_v2();
  }
}

void ProxyHeaderParser::end_with(absl::Status status) {
  state_ = status.ok() ? State::kDone : State::kFailed;
  status_ = std::move(status);
}

void ProxyHeaderParser::finish_v1() {
  if (!std::string_view(taken_).ends_with("\r\n")) return end_with(invalid("an LF without CR"));
  const std::string line =
      taken_.substr(kV1Signature.size(), taken_.size() - 2 - kV1Signature.size());
  header_.version = 1;
  // What stands behind UNKNOWN is of no meaning.
  if (line == "UNKNOWN" || line.starts_with("UNKNOWN ")) return end_with(absl::OkStatus());
  const std::vector<std::string> words = absl::StrSplit(line, ' ');
  const int family = words[0] == "TCP4" ? AF_INET : words[0] == "TCP6" ? AF_INET6 : AF_UNSPEC;
  if (family == AF_UNSPEC || words.size() != 5) {
    return end_with(invalid(absl::StrFormat("\"%s\" is not TCP4 or TCP6, two addresses, two ports",
                                            absl::CHexEscape(line))));
  }
  const absl::StatusOr<SocketAddress> source = parse_v1_address(family, words[1], words[3]);
  if (!source.ok()) return end_with(source.status());
  const absl::StatusOr<SocketAddress> destination = parse_v1_address(family, words[2], words[4]);
  if (!destination.ok()) return end_with(destination.status());
  header_.socket_type = SOCK_STREAM;
  header_.source = *source;
  header_.destination = *destination;
  end_with(absl::OkStatus());
}

void ProxyHeaderParser::check_v2_prefix() {
  const uint8_t command = byte_at(taken_, 12), protocol = byte_at(taken_, 13);
  const size_t length = number_at(taken_, 14);
  if (command != kVersion2 && command != (kVersion2 | 1)) {
    return end_with(invalid(absl::StrFormat("0x%02x is no version 2 and command", command)));
  }
  header_.command =
      (command & 1) != 0 ? ProxyHeader::Command::kProxy : ProxyHeader::Command::kLocal;
  // Of LOCAL the family and the block are ignored, whatever they are.
  if (header_.command == ProxyHeader::Command::kProxy) {
    const uint8_t family = protocol >> 4, type = protocol & 0xf;
    if (family > kUnix || type > kDatagram || (family == kUnspec) != (type == 0)) {
      return end_with(invalid(absl::StrFormat("0x%02x is no family and socket type", protocol)));
    }
    if (length < address_block_bytes(family)) {
      return end_with(invalid(absl::StrFormat("%d bytes are too few: the addresses alone have %d",
                                              length, address_block_bytes(family))));
    }
  }
  v2_bytes_ = kV2PrefixBytes + length;
  if (length == 0) finish_v2();
}

void ProxyHeaderParser::finish_v2() {
  header_.version = 2;
  if (header_.command == ProxyHeader::Command::kLocal) return end_with(absl::OkStatus());
  end_with(parse_v2_block(std::string_view(taken_).substr(kV2PrefixBytes)));
}

absl::Status ProxyHeaderParser::parse_v2_block(std::string_view block) {
  const uint8_t protocol = byte_at(taken_, 13);
  const uint8_t family = protocol >> 4, type = protocol & 0xf;
  read_addresses(family, block, header_);
  header_.socket_type = type == kStream ? SOCK_STREAM : type == kDatagram ? SOCK_DGRAM : 0;
  return parse_tlvs(block.substr(address_block_bytes(family)));
}

absl::Status ProxyHeaderParser::parse_tlvs(std::string_view bytes) {
  while (!bytes.empty()) {
    if (bytes.size() < kTlvPrefixBytes) return invalid("a TLV is cut short");
    const uint8_t type = byte_at(bytes, 0);
    const size_t length = number_at(bytes, 1);
    bytes.remove_prefix(kTlvPrefixBytes);
    if (length > bytes.size()) {
      return invalid(
          absl::StrFormat("TLV 0x%02x has %d bytes, and %d are left", type, length, bytes.size()));
    }
    if (type == ProxyHeader::kUniqueId && length > kMaxUniqueIdBytes) {
      return invalid(absl::StrFormat("a unique id of %d bytes: 128 is the most", length));
    }
    header_.tlvs.push_back({type, std::string(bytes.substr(0, length))});
    bytes.remove_prefix(length);
  }
  const std::string* checksum = header_.find(ProxyHeader::kCrc32c);
  return checksum != nullptr && verify_checksum_ ? check_checksum(*checksum) : absl::OkStatus();
}

// Of the whole header, with zeros in its own place.
absl::Status ProxyHeaderParser::check_checksum(const std::string& expected) const {
  if (expected.size() != 4) return invalid("a CRC32C that has not 4 bytes");
  size_t place = kV2PrefixBytes + address_block_bytes(byte_at(taken_, 13) >> 4);
  while (byte_at(taken_, place) != ProxyHeader::kCrc32c) {
    place += kTlvPrefixBytes + number_at(taken_, place + 1);
  }
  std::string zeroed = taken_;
  zeroed.replace(place + kTlvPrefixBytes, 4, 4, '\0');
  const uint32_t sum = internal::crc32c(zeroed);
  std::string bytes;
  append_number(bytes, sum >> 16);
  append_number(bytes, sum & 0xffff);
  return bytes == expected ? absl::OkStatus() : invalid("the checksum is wrong");
}

// ---- Writing

namespace {

std::string encode_v1(const ProxyHeader& header) {
  const int family = header.source.family();
  if (header.command == ProxyHeader::Command::kLocal || (family != AF_INET && family != AF_INET6)) {
    return "PROXY UNKNOWN\r\n";
  }
  return absl::StrFormat("PROXY %s %s %s %d %d\r\n", family == AF_INET ? "TCP4" : "TCP6",
                         header.source.host(), header.destination.host(), header.source.port(),
                         header.destination.port());
}

uint8_t family_code(const SocketAddress& address) {
  switch (address.family()) {
    case AF_INET:
      return kInet;
    case AF_INET6:
      return kInet6;
    case AF_UNIX:
      return kUnix;
    default:
      return kUnspec;
  }
}

void append_bytes(std::string& block, const SocketAddress& address) {
  if (address.family() == AF_INET) {
    sockaddr_in v4;
    std::memcpy(&v4, address.data(), sizeof(v4));
    block.append(reinterpret_cast<const char*>(&v4.sin_addr), 4);
  } else if (address.family() == AF_INET6) {
    sockaddr_in6 v6;
    std::memcpy(&v6, address.data(), sizeof(v6));
    block.append(reinterpret_cast<const char*>(&v6.sin6_addr), 16);
  } else {
    sockaddr_un local{};
    std::memcpy(&local, address.data(), std::min<size_t>(address.size(), sizeof(local)));
    std::string path(local.sun_path, std::min(sizeof(local.sun_path), kUnixPathBytes));
    path.resize(kUnixPathBytes);
    block += path;
  }
}

void append_tlv(std::string& block, uint8_t type, std::string_view value) {
  block += static_cast<char>(type);
  append_number(block, value.size());
  block += value;
}

}  // namespace

absl::StatusOr<std::string> ProxyHeader::encode(bool checksum) const {
  if (source.family() != destination.family()) {
    return invalid(absl::StrFormat("%s and %s are of different families", source.to_string(),
                                   destination.to_string()));
  }
  if (version == 1) return encode_v1(*this);
  const uint8_t family = family_code(source);
  std::string block;
  if (family != kUnspec) {
    append_bytes(block, source);
    append_bytes(block, destination);
  }
  if (family == kInet || family == kInet6) {
    append_number(block, source.port());
    append_number(block, destination.port());
  }
  for (const Tlv& tlv : tlvs) {
    if (tlv.value.size() > 0xffff) return invalid("a TLV of more than 65535 bytes");
    append_tlv(block, tlv.type, tlv.value);
  }
  if (checksum) append_tlv(block, kCrc32c, std::string_view("\0\0\0\0", 4));
  if (block.size() > 0xffff) return invalid("more than 65535 bytes");
  std::string bytes(kV2Signature);
  bytes += static_cast<char>(kVersion2 | (command == Command::kProxy ? 1 : 0));
  const uint8_t type = socket_type == SOCK_DGRAM ? kDatagram : kStream;
  bytes += static_cast<char>(family == kUnspec ? 0 : family << 4 | type);
  append_number(bytes, block.size());
  bytes += block;
  if (checksum) {
    const uint32_t sum = internal::crc32c(bytes);
    bytes.resize(bytes.size() - 4);
    append_number(bytes, sum >> 16);
    append_number(bytes, sum & 0xffff);
  }
  return bytes;
}

}  // namespace gyre
