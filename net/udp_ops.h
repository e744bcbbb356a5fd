#ifndef GYRE_NET_UDP_OPS_H_
#define GYRE_NET_UDP_OPS_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "absl/status/statusor.h"
#include "gyre/loop/unique_fd.h"
#include "gyre/net/io_result.h"
#include "gyre/net/socket_address.h"

namespace gyre::internal {

// The system calls of UDP, thin. Batches where the kernel has them (Linux), one call for each
// datagram elsewhere: the difference is in udp_ops.cc and nowhere else.

// Non-blocking, closed on exec.
absl::StatusOr<UniqueFd> new_datagram_socket(int family);

// What a kernel can do for a socket; found out by trying.
struct UdpAbilities {
  bool batches = true;  // recvmmsg, sendmmsg
  bool gso = false;     // several datagrams of one size as one message (UDP_SEGMENT)
  bool gro = false;     // the same for receiving (UDP_GRO)
};

// Switches on what the socket's kernel has of what is `wanted`.
UdpAbilities find_udp_abilities(int fd, const UdpAbilities& wanted);

// A message of the kernel: one datagram, or several of `segment_bytes` each (the last may be
// shorter) in a row.
struct ReceivedMessage {
  std::string_view bytes;
  size_t segment_bytes = 0;  // 0: it is one datagram
  SocketAddress from;
};

// Room for a batch of messages, each as large as UDP allows. One for each thread is enough: its
// content is good until the next receive on that thread. The kernel gives memory as it is touched.
class UdpReceiveBuffer {
 public:
  static constexpr size_t kMessages = 32;
  static constexpr size_t kMessageBytes = 65536;

  static UdpReceiveBuffer& of_this_thread();
  char* slot(size_t i) { return bytes_ + i * kMessageBytes; }

 private:
  UdpReceiveBuffer();
  ~UdpReceiveBuffer();

  char* bytes_;
};

// Receives what is there, at most as many as `messages` has room for; the number in `count`.
IoResult receive_messages(int fd, const UdpAbilities& abilities, UdpReceiveBuffer& buffer,
                          std::span<ReceivedMessage> messages);

// To a connected socket's peer where `to` is nullptr.
struct OutgoingMessage {
  std::string_view bytes;
  size_t segment_bytes = 0;  // 0: it is one datagram
  const SocketAddress* to = nullptr;
};
constexpr size_t kMaxSendBatch = 32;

// Sends the first of `messages`, at most kMaxSendBatch; how many in `count`. An error is the first
// one's.
IoResult send_messages(int fd, const UdpAbilities& abilities,
                       std::span<const OutgoingMessage> messages);

// How many system calls a batch of at most `asked` messages took that gave `result`.
inline uint64_t system_calls(const UdpAbilities& abilities, const IoResult& result, size_t asked) {
  if (abilities.batches) return 1;
  const auto done = static_cast<uint64_t>(result.count);
  return done < asked ? done + 1 : done;  // the last one failed
}

}  // namespace gyre::internal

#endif  // GYRE_NET_UDP_OPS_H_
