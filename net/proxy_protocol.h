#ifndef GYRE_NET_PROXY_PROTOCOL_H_
#define GYRE_NET_PROXY_PROTOCOL_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gyre/net/cidr_list.h"
#include "gyre/net/socket_address.h"

// The PROXY protocol, versions 1 and 2: what a load balancer sends in front of a connection, so
// that the server learns whose it is. https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt

namespace gyre {

struct ProxyHeader {
  // kLocal: of the balancer itself, a health check for instance; there are no addresses.
  enum class Command { kLocal, kProxy };
  // What is in front of a value in version 2 (proxy-protocol.txt, 2.2).
  struct Tlv {
    uint8_t type;
    std::string value;
  };
  static constexpr uint8_t kAlpn = 0x01, kAuthority = 0x02, kCrc32c = 0x03, kNoop = 0x04,
                           kUniqueId = 0x05, kSsl = 0x20, kNetNamespace = 0x30;

  int version = 2;
  Command command = Command::kProxy;
  // SOCK_STREAM or SOCK_DGRAM; 0 if the balancer does not say.
  int socket_type = 0;
  // Whose connection it is, and what it was made to. Of no family where the balancer does not say.
  SocketAddress source = {};
  SocketAddress destination = {};
  std::vector<Tlv> tlvs = {};

  // The first of that type, or nullptr.
  const std::string* find(uint8_t type) const;

  // What a balancer sends. Version 1 has no TLVs, and TCP only: other addresses are UNKNOWN there.
  // Version 2: `checksum` adds a CRC32C. InvalidArgument: addresses of different families, or more
  // TLVs than fit in 65,535 bytes.
  absl::StatusOr<std::string> encode(bool checksum = false) const;
};

// Parses one header as it comes, strictly: whatever is no header is an error at the first byte that
// shows it. How the bytes are cut makes no difference. Pure.
class ProxyHeaderParser {
 public:
  enum class State { kReading, kDone, kFailed };

  // Version 1 is a line of at most so many bytes.
  static constexpr size_t kMaxV1Bytes = 107;
  static constexpr size_t kV2PrefixBytes = 16;

  // A CRC32C that is there and wrong is an error, unless `verify_checksum` is false.
  explicit ProxyHeaderParser(bool verify_checksum = true) : verify_checksum_(verify_checksum) {}

  // Takes what belongs to the header, and gives how many bytes that was: what follows is left.
  size_t feed(std::string_view bytes);

  State state() const { return state_; }
  // Of kDone.
  const ProxyHeader& header() const { return header_; }
  // Of kFailed: InvalidArgument, why.
  const absl::Status& status() const { return status_; }
  size_t bytes_taken() const { return taken_.size(); }

 private:
  void take_byte(char byte);
  void finish_v1();
  void check_v2_prefix();
  void finish_v2();
  absl::Status parse_v2_block(std::string_view block);
  absl::Status parse_tlvs(std::string_view bytes);
  absl::Status check_checksum(const std::string& expected) const;
  void end_with(absl::Status status);

  const bool verify_checksum_;
  State state_ = State::kReading;
  std::string taken_;
  size_t v2_bytes_ = 0;  // of the whole header, once they are known
  ProxyHeader header_;
  absl::Status status_;
};

// How a server treats its connections.
struct ProxyProtocolOptions {
  // Who may, and has to, send a header. A header is never guessed: whoever may send one could claim
  // to be anybody. Empty: nobody.
  CidrList trusted = {};
  // The others are closed; kPassThrough: served as they are, without a header.
  enum class Untrusted { kRefuse, kPassThrough };
  Untrusted untrusted = Untrusted::kRefuse;
  // Within so much time the header has to be there.
  std::chrono::nanoseconds header_timeout = std::chrono::seconds(5);
  bool verify_checksum = true;
};

}  // namespace gyre

#endif  // GYRE_NET_PROXY_PROTOCOL_H_
