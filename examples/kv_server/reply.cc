#include "gyre/examples/kv_server/reply.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace gyre::kv {
namespace {

constexpr size_t kLeastCapacity = 1024;
constexpr size_t kMostKept = 256 * 1024;
// A type's byte, a 64-bit number and its sign, the end of the line.
constexpr size_t kMostHeader = 1 + 20 + 2;

// Writes "TYPE NUMBER \r\n" and gives its end.
char* write_header(char* to, char type, int64_t number) {
  *to++ = type;
  if (number >= 0 && number < 10) {
    *to++ = static_cast<char>('0' + number);
  } else {
    to = std::to_chars(to, to + kMostHeader, number).ptr;
  }
  *to++ = '\r';
  *to++ = '\n';
  return to;
}

}  // namespace

void Reply::bulk(std::string_view bytes) {
  char* const begin = room(kMostHeader + bytes.size() + 2);
  char* to = write_header(begin, '$', static_cast<int64_t>(bytes.size()));
  std::memcpy(to, bytes.data(), bytes.size());
  to += bytes.size();
  *to++ = '\r';
  *to++ = '\n';
  size_ += to - begin;
}

void Reply::bulk(double number) {
  constexpr double kMostExact = 1e15;  // whole numbers up to here have all of their digits
  char text[32];
  const bool whole = std::abs(number) < kMostExact && number == std::trunc(number);
  char* const end = whole
                        ? std::to_chars(text, text + sizeof(text), static_cast<int64_t>(number)).ptr
                        : std::to_chars(text, text + sizeof(text), number).ptr;
  bulk(std::string_view(text, end - text));
}

void Reply::clear() {
  size_ = 0;
  if (capacity_ <= kMostKept) return;
  bytes_.reset();
  capacity_ = 0;
}

void Reply::line(char type, std::string_view text) {
  char* to = room(1 + text.size() + 2);
  *to++ = type;
  std::memcpy(to, text.data(), text.size());
  std::memcpy(to + text.size(), "\r\n", 2);
  size_ += 1 + text.size() + 2;
}

void Reply::header(char type, int64_t number) {
  char* const begin = room(kMostHeader);
  size_ += write_header(begin, type, number) - begin;
}

void Reply::grow(size_t count) {
  const size_t capacity = std::max({capacity_ * 2, size_ + count, kLeastCapacity});
  std::unique_ptr<char[]> bytes(new char[capacity]);
  if (size_ > 0) std::memcpy(bytes.get(), bytes_.get(), size_);
  bytes_ = std::move(bytes);
  capacity_ = capacity;
}

}  // namespace gyre::kv
