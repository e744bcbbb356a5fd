#ifndef GYRE_NET_WRITE_QUEUE_H_
#define GYRE_NET_WRITE_QUEUE_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "gyre/loop/unique_fd.h"
#include "gyre/net/byte_buffer.h"

namespace gyre {

// Bytes that several streams send without a copy. They may not change as long as one of them does.
using SharedBytes = std::shared_ptr<const std::string>;
// A file that several streams send from.
using SharedFile = std::shared_ptr<const UniqueFd>;

namespace internal {

// What waits to be sent: copied bytes, shared bytes and parts of files, in a row. Empty it holds no
// memory.
//
//     [ copied, up to 64 KiB ] [ shared, from `offset` ] [ file, from `offset` ] [ copied ] ...
//       front
class WriteQueue {
 public:
  struct File {
    SharedFile file;
    uint64_t offset;
    uint64_t length;
  };

  bool empty() const { return total_ == 0; }
  // What there is to send, and how much of it is in memory.
  uint64_t total() const { return total_; }
  size_t memory() const { return memory_; }

  void append(std::string_view bytes);
  void append(SharedBytes bytes, size_t offset);
  void append(File file);

  // The next to send: a file, or (nullptr) the bytes that gather() gives. Not while it is empty.
  const File* front_file() const { return std::get_if<File>(&segments_[front_]); }
  // Bytes from the front, up to a file, in at most places.size() pieces; gives how many.
  size_t gather(std::span<iovec> places) const;
  // At most total().
  void consume(uint64_t count);
  void clear();

 private:
  struct Shared {
    SharedBytes bytes;
    size_t offset;

    std::string_view view() const { return std::string_view(*bytes).substr(offset); }
  };
  using Segment = std::variant<ByteBuffer, Shared, File>;

  static uint64_t size_of(const Segment& segment);
  void pop();

  // From here on another segment begins, so that little has to be moved as it grows.
  static constexpr size_t kLargeSegment = 64 * 1024;

  std::vector<Segment> segments_;
  size_t front_ = 0;  // those before it were sent
  uint64_t total_ = 0;
  size_t memory_ = 0;
};

}  // namespace internal
}  // namespace gyre

#endif  // GYRE_NET_WRITE_QUEUE_H_
