#ifndef GYRE_EXAMPLES_KV_SERVER_ARGS_H_
#define GYRE_EXAMPLES_KV_SERVER_ARGS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace gyre::kv {

// Where an argument lies in the bytes of its request. 32 bits: a request is smaller than 4 GiB.
struct Span {
  uint32_t offset;
  uint32_t size;
};

// The arguments of one request, its name first: a view of bytes that somebody else keeps.
class Args {
 public:
  Args(const char* bytes, std::span<const Span> spans) : bytes_(bytes), spans_(spans) {}

  size_t size() const { return spans_.size(); }
  bool empty() const { return spans_.empty(); }
  std::string_view operator[](size_t i) const {
    return {bytes_ + spans_[i].offset, spans_[i].size};
  }

  // The name and `count` arguments (one or two) from `first` on. The result is a view of `storage`.
  Args piece(size_t first, size_t count, std::array<Span, 3>& storage) const {
    storage[0] = spans_[0];
    for (size_t i = 0; i < count; ++i) storage[1 + i] = spans_[first + i];
    return {bytes_, std::span(storage).first(1 + count)};
  }

 private:
  const char* bytes_;
  std::span<const Span> spans_;
};

}  // namespace gyre::kv

#endif  // GYRE_EXAMPLES_KV_SERVER_ARGS_H_
