#include "gyre/net/write_queue.h"

#include <algorithm>

namespace gyre::internal {

void WriteQueue::append(std::string_view bytes) {
  if (bytes.empty()) return;
  ByteBuffer* last = segments_.empty() ? nullptr : std::get_if<ByteBuffer>(&segments_.back());
  if (last == nullptr || last->size() >= kLargeSegment) {
    last = &std::get<ByteBuffer>(segments_.emplace_back(ByteBuffer()));
  }
  last->append(bytes);
  total_ += bytes.size();
  memory_ += bytes.size();
}

void WriteQueue::append(SharedBytes bytes, size_t offset) {
  const size_t size = bytes->size() - offset;
  if (size == 0) return;
  segments_.emplace_back(Shared{std::move(bytes), offset});
  total_ += size;
  memory_ += size;
}

void WriteQueue::append(File file) {
  if (file.length == 0) return;
  total_ += file.length;
  segments_.emplace_back(std::move(file));
}

uint64_t WriteQueue::size_of(const Segment& segment) {
  if (const auto* copied = std::get_if<ByteBuffer>(&segment)) return copied->size();
  if (const auto* shared = std::get_if<Shared>(&segment)) return shared->view().size();
  return std::get<File>(segment).length;
}

size_t WriteQueue::gather(std::span<iovec> places) const {
  size_t count = 0;
  for (size_t i = front_; i < segments_.size() && count < places.size(); ++i) {
    std::string_view bytes;
    if (const auto* copied = std::get_if<ByteBuffer>(&segments_[i])) {
      bytes = copied->view();
    } else if (const auto* shared = std::get_if<Shared>(&segments_[i])) {
      bytes = shared->view();
    } else {
      break;
    }
    places[count++] = {const_cast<char*>(bytes.data()), bytes.size()};
  }
  return count;
}

void WriteQueue::consume(uint64_t count) {
  total_ -= count;
  while (count > 0) {
    Segment& front = segments_[front_];
    const uint64_t part = std::min(count, size_of(front));
    count -= part;
    if (auto* copied = std::get_if<ByteBuffer>(&front)) {
      memory_ -= part;
      copied->consume(part);
    } else if (auto* shared = std::get_if<Shared>(&front)) {
      memory_ -= part;
      shared->offset += part;
    } else {
      File& file = std::get<File>(front);
      file.offset += part;
      file.length -= part;
    }
    if (size_of(front) == 0) pop();
  }
}

void WriteQueue::pop() {
  segments_[front_++] = ByteBuffer();
  if (front_ == segments_.size()) return clear();
  // Every segment is moved a bounded number of times.
  if (front_ * 2 < segments_.size()) return;
  segments_.erase(segments_.begin(), segments_.begin() + front_);
  front_ = 0;
}

void WriteQueue::clear() {
  segments_ = std::vector<Segment>();
  front_ = 0;
  total_ = 0;
  memory_ = 0;
}

}  // namespace gyre::internal
