#include "gyre/net/cidr_list.h"

#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"

namespace gyre {
namespace {

constexpr int kMappedBits = 96;  // in front of an IPv4 address in IPv6

// As IPv6; IPv4 is mapped.
std::array<uint8_t, 16> bytes_of(const SocketAddress& address) {
  std::array<uint8_t, 16> bytes{};
  if (address.family() == AF_INET6) {
    sockaddr_in6 v6;
    std::memcpy(&v6, address.data(), sizeof(v6));
    std::memcpy(bytes.data(), &v6.sin6_addr, bytes.size());
  } else {
    sockaddr_in v4;
    std::memcpy(&v4, address.data(), sizeof(v4));
    bytes[10] = bytes[11] = 0xff;
    std::memcpy(bytes.data() + 12, &v4.sin_addr, 4);
  }
  return bytes;
}

// The bits of byte `i` that are within the first `bits`.
uint8_t mask(int bits, size_t i) {
  const int within = std::clamp(bits - static_cast<int>(i) * 8, 0, 8);
  return static_cast<uint8_t>(0xff00 >> within);
}

}  // namespace

absl::StatusOr<CidrList> CidrList::parse(std::span<const std::string> entries) {
  CidrList list;
  for (const std::string& entry : entries) {
    if (absl::Status status = list.add(entry); !status.ok()) return status;
  }
  return list;
}

absl::StatusOr<CidrList> CidrList::parse(std::string_view entries) {
  CidrList list;
  if (absl::StripAsciiWhitespace(std::string(entries)).empty()) return list;
  const std::vector<std::string> split = absl::StrSplit(std::string(entries), ',');
  for (const std::string& entry : split) {
    std::string stripped = entry;
    absl::StripAsciiWhitespace(&stripped);
    if (absl::Status status = list.add(stripped); !status.ok()) return status;
  }
  return list;
}

absl::Status CidrList::add(std::string_view entry) {
  const auto invalid = [&](const std::string& why) {
    return absl::InvalidArgumentError(
        absl::StrFormat("\"%s\" is no network: %s", absl::CHexEscape(std::string(entry)), why));
  };
  if (entry == "unix") {
    unix_ = true;
    return absl::OkStatus();
  }
  const size_t slash = entry.find('/');
  const absl::StatusOr<SocketAddress> address = SocketAddress::parse(entry.substr(0, slash), 0);
  if (!address.ok() || address->is_unix()) return invalid("the address is not numeric");
  const int width = address->family() == AF_INET ? 32 : 128;
  int bits = width;
  if (slash != std::string_view::npos) {
    const std::string_view digits = entry.substr(slash + 1);
    const char* end = digits.data() + digits.size();
    const auto [last, error] = std::from_chars(digits.data(), end, bits);
    if (digits.empty() || error != std::errc() || last != end || bits < 0 || bits > width) {
      return invalid(absl::StrFormat("behind the slash stands a number from 0 to %d", width));
    }
  }
  Network network{bytes_of(*address), bits + (width == 32 ? kMappedBits : 0)};
  for (size_t i = 0; i < network.bytes.size(); ++i) {
    if ((network.bytes[i] & ~mask(network.bits, i)) != 0) {
      return invalid(absl::StrFormat("bits behind the first %d are set", bits));
    }
  }
  networks_.push_back(network);
  return absl::OkStatus();
}

bool CidrList::contains(const SocketAddress& address) const {
  if (address.is_unix()) return unix_;
  if (address.family() != AF_INET && address.family() != AF_INET6) return false;
  const std::array<uint8_t, 16> bytes = bytes_of(address);
  return std::any_of(networks_.begin(), networks_.end(), [&](const Network& network) {
    for (size_t i = 0; i < bytes.size(); ++i) {
      if (((bytes[i] ^ network.bytes[i]) & mask(network.bits, i)) != 0) return false;
    }
    return true;
  });
}

}  // namespace gyre
