#ifndef GYRE_NET_SOURCE_COUNTS_H_
#define GYRE_NET_SOURCE_COUNTS_H_

#include <cstddef>
#include <cstdint>
#include <unordered_map>

#include "gyre/net/socket_address.h"

namespace gyre::internal {

// Who a connection comes from: an IPv4 address, or the first 64 bits of an IPv6 one, which is what
// one customer has (RFC 6177); an IPv4 address that is written as IPv6 is the same. 0: nobody that
// could be told from others (a Unix socket).
uint64_t source_of(const SocketAddress& peer);

// How many connections each source has open. Its memory is bounded: sources beyond `max_sources`
// that are connected at the same time are not counted. Pure. One thread at a time.
class SourceCounts {
 public:
  SourceCounts(uint64_t limit, size_t max_sources) : limit_(limit), max_sources_(max_sources) {}

  // At its limit.
  bool full(uint64_t source) const;
  // False: there is no room to count it, or it is nobody; else leave() has to follow.
  bool enter(uint64_t source);
  void leave(uint64_t source);

  size_t size() const { return counts_.size(); }

 private:
  const uint64_t limit_;
  const size_t max_sources_;
  // Only of those that have a connection, so that it shrinks by itself.
  std::unordered_map<uint64_t, uint64_t> counts_;
};

}  // namespace gyre::internal

#endif  // GYRE_NET_SOURCE_COUNTS_H_
