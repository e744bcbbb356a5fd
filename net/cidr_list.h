#ifndef GYRE_NET_CIDR_LIST_H_
#define GYRE_NET_CIDR_LIST_H_

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "gyre/net/socket_address.h"

namespace gyre {

// A set of networks: "10.0.0.0/8", "2001:db8::/32", "192.0.2.7" (just that address), "unix" (every
// Unix socket). A value; an empty one contains nothing.
class CidrList {
 public:
  CidrList() = default;

  // InvalidArgument names the entry that is none: what is no address, a length that is too long,
  // bits that are set behind the length.
  static absl::StatusOr<CidrList> parse(std::span<const std::string> entries);
  // The same, separated by commas; spaces around them are left out.
  static absl::StatusOr<CidrList> parse(std::string_view entries);

  // Ports play no part. An IPv4 address that is mapped into IPv6 (::ffff:192.0.2.7) is one of IPv4.
  bool contains(const SocketAddress& address) const;
  bool empty() const { return networks_.empty() && !unix_; }

 private:
  struct Network {
    std::array<uint8_t, 16> bytes;  // IPv4 as a mapped one
    int bits;                       // of 128
  };

  absl::Status add(std::string_view entry);

  std::vector<Network> networks_;
  bool unix_ = false;
};

}  // namespace gyre

#endif  // GYRE_NET_CIDR_LIST_H_
