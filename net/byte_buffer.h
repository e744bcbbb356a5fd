#ifndef GYRE_NET_BYTE_BUFFER_H_
#define GYRE_NET_BYTE_BUFFER_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>

namespace gyre::internal {

// Bytes in a row, appended behind and consumed in front. Empty it holds no memory.
//
//     [ consumed | content | room ]
//              begin_     end_    capacity_
class ByteBuffer {
 public:
  ByteBuffer() = default;
  ByteBuffer(ByteBuffer&& other) noexcept { swap(other); }
  ByteBuffer& operator=(ByteBuffer&& other) noexcept {
    swap(other);
    return *this;
  }

  size_t size() const { return end_ - begin_; }
  bool empty() const { return begin_ == end_; }
  std::string_view view() const { return {data_.get() + begin_, size()}; }

  void append(std::string_view bytes) {
    if (bytes.empty()) return;
    if (capacity_ - end_ < bytes.size()) make_room(bytes.size());
    std::memcpy(data_.get() + end_, bytes.data(), bytes.size());
    end_ += bytes.size();
  }

  // `count` at most size().
  void consume(size_t count) {
    begin_ += count;
    if (begin_ == end_) clear();
  }

  void clear() {
    data_.reset();
    begin_ = end_ = capacity_ = 0;
  }

  void swap(ByteBuffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(begin_, other.begin_);
    std::swap(end_, other.end_);
    std::swap(capacity_, other.capacity_);
  }

 private:
  // Moves the content to the front if at least half of the memory was consumed, else doubles: every
  // byte is moved a bounded number of times.
  void make_room(size_t count) {
    const size_t used = size();
    if (begin_ >= capacity_ / 2 && used + count <= capacity_) {
      std::memmove(data_.get(), data_.get() + begin_, used);
    } else {
      const size_t capacity = std::max({kLeast, capacity_ * 2, used + count});
      std::unique_ptr<char[]> data(new char[capacity]);
      if (used > 0) std::memcpy(data.get(), data_.get() + begin_, used);
      data_ = std::move(data);
      capacity_ = capacity;
    }
    begin_ = 0;
    end_ = used;
  }

  static constexpr size_t kLeast = 256;

  std::unique_ptr<char[]> data_;
  size_t begin_ = 0;
  size_t end_ = 0;
  size_t capacity_ = 0;
};

}  // namespace gyre::internal

#endif  // GYRE_NET_BYTE_BUFFER_H_
