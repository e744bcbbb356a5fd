#ifndef GYRE_NET_UDP_SEND_QUEUE_H_
#define GYRE_NET_UDP_SEND_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string_view>

#include "gyre/net/byte_buffer.h"
#include "gyre/net/socket_address.h"

namespace gyre::internal {

// Datagrams that wait to be sent, their bytes in a row: a run of one size to one address lies in
// memory as the kernel takes it for one message. Pure data.
class UdpSendQueue {
 public:
  // UDP_MAX_SEGMENTS of Linux before 6.9, and what UDP over IPv4 can carry.
  static constexpr size_t kMaxSegments = 64;
  static constexpr size_t kMaxMessageBytes = 65507;

  // `drop_oldest`: where there is no room for one, the oldest make it.
  UdpSendQueue(size_t max_bytes, bool drop_oldest)
      : max_bytes_(max_bytes), drop_oldest_(drop_oldest) {}

  bool has_room(size_t bytes) const { return bytes_.size() + bytes <= max_bytes_; }
  // Copies the datagram. False: there is no room for it.
  bool push(std::string_view bytes, const SocketAddress& to);

  // Datagrams that go out as one message: all of segment_bytes, but for the last, which may be
  // shorter. One datagram: segment_bytes is 0.
  struct Run {
    size_t datagrams;
    std::string_view bytes;
    size_t segment_bytes;
    const SocketAddress* to;
  };
  // The first runs, as many as there is room for; gives their number. Datagrams of more than
  // `max_segment_bytes` go alone; 0: all do. Valid until the next push or pop.
  size_t front(std::span<Run> runs, size_t max_segment_bytes) const;
  void pop(size_t datagrams);
  void clear();

  bool empty() const { return datagrams_.empty(); }
  size_t size() const { return datagrams_.size(); }  // datagrams
  size_t bytes() const { return bytes_.size(); }
  size_t front_bytes() const { return datagrams_.front().bytes; }
  const SocketAddress& front_address() const { return datagrams_.front().to; }
  uint64_t dropped() const { return dropped_; }

 private:
  struct Datagram {
    size_t bytes;
    SocketAddress to;
  };

  Run run_at(size_t first, size_t offset, size_t max_segment_bytes) const;

  const size_t max_bytes_;
  const bool drop_oldest_;
  ByteBuffer bytes_;
  std::deque<Datagram> datagrams_;
  uint64_t dropped_ = 0;
};

}  // namespace gyre::internal

#endif  // GYRE_NET_UDP_SEND_QUEUE_H_
