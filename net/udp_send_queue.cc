#include "gyre/net/udp_send_queue.h"

namespace gyre::internal {

bool UdpSendQueue::push(std::string_view bytes, const SocketAddress& to) {
  if (drop_oldest_ && bytes.size() <= max_bytes_) {
    for (; !has_room(bytes.size()); ++dropped_) pop(1);
  }
  if (!has_room(bytes.size())) return false;
  bytes_.append(bytes);
  datagrams_.push_back({bytes.size(), to});
  return true;
}

UdpSendQueue::Run UdpSendQueue::run_at(size_t first, size_t offset,
                                       size_t max_segment_bytes) const {
  const Datagram& model = datagrams_[first];
  size_t count = 1, bytes = model.bytes;
  // A shorter one can only be the last, and an empty one is none.
  bool open = model.bytes > 0 && model.bytes <= max_segment_bytes;
  while (open && first + count < datagrams_.size() && count < kMaxSegments) {
    const Datagram& next = datagrams_[first + count];
    if (next.bytes == 0 || next.bytes > model.bytes || bytes + next.bytes > kMaxMessageBytes ||
        !(next.to == model.to)) {
      break;
    }
    open = next.bytes == model.bytes;
    bytes += next.bytes;
    ++count;
  }
  return {count, bytes_.view().substr(offset, bytes), count > 1 ? model.bytes : 0, &model.to};
}

size_t UdpSendQueue::front(std::span<Run> runs, size_t max_segment_bytes) const {
  size_t count = 0, first = 0, offset = 0;
  for (; count < runs.size() && first < datagrams_.size(); ++count) {
    runs[count] = run_at(first, offset, max_segment_bytes);
    first += runs[count].datagrams;
    offset += runs[count].bytes.size();
  }
  return count;
}

void UdpSendQueue::pop(size_t datagrams) {
  size_t bytes = 0;
  for (; datagrams > 0; --datagrams) {
    bytes += datagrams_.front().bytes;
    datagrams_.pop_front();
  }
  bytes_.consume(bytes);
}

void UdpSendQueue::clear() {
  bytes_.clear();
  datagrams_.clear();
}

}  // namespace gyre::internal
