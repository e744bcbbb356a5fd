#include "gyre/net/socket_address.h"

#include <arpa/inet.h>
#include <netdb.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <memory>

#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"
#include "gyre/loop/errno_status.h"

namespace gyre {
namespace {

constexpr std::string_view kUnixPrefix = "unix:";
constexpr size_t kUnixNameOffset = offsetof(sockaddr_un, sun_path);
// One byte less than the kernel takes: the path is a C string everywhere.
constexpr size_t kMaxUnixName = sizeof(sockaddr_un::sun_path) - 1;

absl::Status resolve_error(int error, const std::string& name) {
  if (error == EAI_SYSTEM) return internal::errno_status(errno, "host \"" + name + "\"");
  const std::string text = absl::StrFormat(
      "host \"%s\": %s; check how it is spelled, or give its address in numbers", name,
      ::gai_strerror(error));
  return error == EAI_AGAIN ? absl::UnavailableError(text) : absl::NotFoundError(text);
}

}  // namespace

SocketAddress::SocketAddress(const sockaddr* address, socklen_t length)
    : length_(std::min<socklen_t>(length, sizeof(storage_))) {
  std::memcpy(&storage_, address, length_);
}

absl::StatusOr<SocketAddress> SocketAddress::parse(std::string_view host, uint16_t port) {
  SocketAddress address;
  const std::string text(host);
  if (host.starts_with(kUnixPrefix)) return parse_unix(host);
  if (text.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError("a host with a NUL byte");
  }
  if (::inet_pton(AF_INET, text.c_str(), &address.storage_.v4.sin_addr) == 1) {
    address.storage_.v4.sin_family = AF_INET;
    address.length_ = sizeof(sockaddr_in);
  } else if (::inet_pton(AF_INET6, text.c_str(), &address.storage_.v6.sin6_addr) == 1) {
    address.storage_.v6.sin6_family = AF_INET6;
    address.length_ = sizeof(sockaddr_in6);
  } else {
    return absl::InvalidArgumentError(absl::StrFormat("\"%s\" is not a numeric address", text));
  }
  address.set_port(port);
  return address;
}

absl::StatusOr<SocketAddress> SocketAddress::parse_unix(std::string_view text) {
  std::string name(text.substr(kUnixPrefix.size()));
  const auto invalid = [&](const std::string& why) {
    return absl::InvalidArgumentError(
        absl::StrFormat("\"%s\" is no Unix socket: %s", absl::CHexEscape(std::string(text)), why));
  };
  if (name.empty() || name == "@") return invalid("the path is empty");
  if (name.find('\0') != std::string::npos) return invalid("there is a NUL byte in it");
  if (name.size() > kMaxUnixName) {
    return invalid(
        absl::StrFormat("the path has %d bytes, and %d is the most", name.size(), kMaxUnixName));
  }
  const bool abstract = name.front() == '@';
#if !defined(__linux__)
  if (abstract) {
    return absl::UnimplementedError(
        absl::StrFormat("\"%s\": this kernel has no abstract names", std::string(text)));
  }
#endif
  SocketAddress address;
  address.storage_.local.sun_family = AF_UNIX;
  if (abstract) name.front() = '\0';
  std::memcpy(address.storage_.local.sun_path, name.data(), name.size());
  // A path ends with its NUL, an abstract name with its length (unix(7)).
  address.length_ = static_cast<socklen_t>(kUnixNameOffset + name.size() + (abstract ? 0 : 1));
  return address;
}

absl::StatusOr<std::vector<SocketAddress>> SocketAddress::resolve(std::string_view host,
                                                                  uint16_t port) {
  if (absl::StatusOr<SocketAddress> numeric = parse(host, port); numeric.ok()) {
    return std::vector<SocketAddress>{*numeric};
  } else if (host.starts_with(kUnixPrefix)) {
    return numeric.status();
  }
  if (host.find('\0') != std::string_view::npos)
    return absl::InvalidArgumentError("a host with a NUL byte");
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  const std::string name(host), service = std::to_string(port);
  addrinfo* list = nullptr;
  const int error =
      ::getaddrinfo(name.empty() ? nullptr : name.c_str(), service.c_str(), &hints, &list);
  if (error != 0) return resolve_error(error, name);
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(list, &::freeaddrinfo);
  std::vector<SocketAddress> addresses;
  for (const addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
    if (entry->ai_family != AF_INET && entry->ai_family != AF_INET6) continue;
    addresses.emplace_back(entry->ai_addr, entry->ai_addrlen);
  }
  if (addresses.empty()) {
    return absl::NotFoundError(absl::StrFormat("host \"%s\" has no IPv4 or IPv6 address", name));
  }
  return addresses;
}

absl::Status SocketAddress::split(std::string_view text, std::string* host, uint16_t* port) {
  const auto invalid = [&](const char* why) {
    return absl::InvalidArgumentError(absl::StrFormat("\"%s\" is not HOST:PORT: %s", text, why));
  };
  if (text.starts_with(kUnixPrefix)) {
    *host = text;
    *port = 0;
    return absl::OkStatus();
  }
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return invalid("there is no colon");
  std::string_view name = text.substr(0, colon), digits = text.substr(colon + 1);
  if (name.starts_with('[') && name.ends_with(']')) {
    name = name.substr(1, name.size() - 2);
  } else if (name.find(':') != std::string_view::npos) {
    return invalid("an IPv6 address has to stand in brackets");
  }
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), *port);
  if (error != std::errc() || end != digits.data() + digits.size()) {
    return invalid("the port is not a number from 0 to 65535");
  }
  *host = name;
  return absl::OkStatus();
}

// The kernel says how long the address is, also where it is longer than what was asked for.
absl::StatusOr<SocketAddress> SocketAddress::checked() const {
  if (family() == AF_INET || family() == AF_INET6) return *this;
  if (is_unix() && length_ <= sizeof(storage_)) return *this;
  return absl::UnimplementedError(absl::StrFormat("an address of family %d", family()));
}

absl::StatusOr<SocketAddress> SocketAddress::local_of(int fd) {
  SocketAddress address;
  address.length_ = sizeof(address.storage_);
  if (::getsockname(fd, &address.storage_.generic, &address.length_) != 0) {
    return internal::errno_status(errno, "getsockname");
  }
  return address.checked();
}

absl::StatusOr<SocketAddress> SocketAddress::peer_of(int fd) {
  SocketAddress address;
  address.length_ = sizeof(address.storage_);
  if (::getpeername(fd, &address.storage_.generic, &address.length_) != 0) {
    return internal::errno_status(errno, "getpeername");
  }
  return address.checked();
}

uint16_t SocketAddress::port() const {
  if (family() == AF_INET) return ntohs(storage_.v4.sin_port);
  if (family() == AF_INET6) return ntohs(storage_.v6.sin6_port);
  return 0;
}

void SocketAddress::set_port(uint16_t port) {
  if (family() == AF_INET) storage_.v4.sin_port = htons(port);
  if (family() == AF_INET6) storage_.v6.sin6_port = htons(port);
}

std::string_view SocketAddress::unix_name() const {
  if (!is_unix() || length_ <= kUnixNameOffset) return {};
  const char* name = storage_.local.sun_path;
  const size_t size = std::min<size_t>(length_ - kUnixNameOffset, sizeof(storage_.local.sun_path));
  if (name[0] == '\0') return {name, size};
  return {name, ::strnlen(name, size)};
}

std::string_view SocketAddress::unix_path() const {
  const std::string_view name = unix_name();
  return name.starts_with('\0') ? std::string_view() : name;
}

std::string SocketAddress::host() const {
  if (is_unix()) {
    const std::string_view name = unix_name();
    if (!name.starts_with('\0')) return std::string(kUnixPrefix) + std::string(name);
    return std::string(kUnixPrefix) + "@" + absl::CHexEscape(std::string(name.substr(1)));
  }
  char text[INET6_ADDRSTRLEN] = "";
  if (family() == AF_INET) ::inet_ntop(AF_INET, &storage_.v4.sin_addr, text, sizeof(text));
  if (family() == AF_INET6) ::inet_ntop(AF_INET6, &storage_.v6.sin6_addr, text, sizeof(text));
  return text;
}

std::string SocketAddress::to_string() const {
  if (length_ == 0) return "(no address)";
  if (is_unix()) return host();
  if (family() == AF_INET6) return absl::StrFormat("[%s]:%d", host(), port());
  return absl::StrFormat("%s:%d", host(), port());
}

bool SocketAddress::operator==(const SocketAddress& other) const {
  if (family() != other.family() || port() != other.port()) return false;
  if (family() == AF_INET) return storage_.v4.sin_addr.s_addr == other.storage_.v4.sin_addr.s_addr;
  if (family() == AF_INET6) {
    return std::memcmp(&storage_.v6.sin6_addr, &other.storage_.v6.sin6_addr, sizeof(in6_addr)) == 0;
  }
  if (is_unix()) return unix_name() == other.unix_name();
  return true;
}

}  // namespace gyre
