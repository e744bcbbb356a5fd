#include "gyre/net/source_counts.h"

#include <netinet/in.h>

#include <cstring>

namespace gyre::internal {
namespace {

// What no IPv6 peer has: ::/8 is not assigned (RFC 4291, 2.4).
constexpr uint64_t kIPv4 = uint64_t{1} << 32;

uint64_t of_ipv4(const void* address) {
  uint32_t bits;
  std::memcpy(&bits, address, sizeof(bits));
  return kIPv4 | bits;
}

}  // namespace

uint64_t source_of(const SocketAddress& peer) {
  if (peer.family() == AF_INET) {
    return of_ipv4(&reinterpret_cast<const sockaddr_in*>(peer.data())->sin_addr);
  }
  if (peer.family() == AF_INET6) {
    const in6_addr& address = reinterpret_cast<const sockaddr_in6*>(peer.data())->sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(&address)) return of_ipv4(&address.s6_addr[12]);
    uint64_t prefix;
    std::memcpy(&prefix, address.s6_addr, sizeof(prefix));
    return prefix != 0 ? prefix : kIPv4 << 1;  // ::1
  }
  return 0;
}

bool SourceCounts::full(uint64_t source) const {
  const auto found = counts_.find(source);
  return found != counts_.end() && found->second >= limit_;
}

bool SourceCounts::enter(uint64_t source) {
  if (source == 0) return false;
  if (const auto found = counts_.find(source); found != counts_.end()) {
    ++found->second;
    return true;
  }
  if (counts_.size() >= max_sources_) return false;
  counts_.emplace(source, 1);
  return true;
}

void SourceCounts::leave(uint64_t source) {
  const auto found = counts_.find(source);
  if (found != counts_.end() && --found->second == 0) counts_.erase(found);
}

}  // namespace gyre::internal
