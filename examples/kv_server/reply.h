#ifndef GYRE_EXAMPLES_KV_SERVER_REPLY_H_
#define GYRE_EXAMPLES_KV_SERVER_REPLY_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>

namespace gyre::kv {

// Replies in RESP2, one behind the other.
class Reply {
 public:
  void ok() { raw("+OK\r\n"); }
  // One line.
  void status(std::string_view text) { line('+', text); }
  // "CODE and what is wrong", one line.
  void error(std::string_view text) { line('-', text); }
  void wrong_type() { error("WRONGTYPE the key holds a value of another kind"); }
  void syntax_error() { error("ERR syntax error"); }
  void not_an_integer() { error("ERR value is not an integer or out of range"); }
  void not_a_count() { error("ERR value is out of range, a count is not negative"); }
  void invalid_expiry() { error("ERR invalid expire time"); }

  void integer(int64_t number) { header(':', number); }
  void bulk(std::string_view bytes);
  // A number as a bulk string; whole numbers without a fraction or an exponent.
  void bulk(double number);
  void null() { raw("$-1\r\n"); }
  // `count` replies are to follow.
  void array(size_t count) { header('*', static_cast<int64_t>(count)); }
  void null_array() { raw("*-1\r\n"); }
  // What is a reply already.
  void raw(std::string_view bytes) {
    std::memcpy(room(bytes.size()), bytes.data(), bytes.size());
    size_ += bytes.size();
  }

  size_t size() const { return size_; }
  std::string_view view() const { return {bytes_.get(), size_}; }
  // Keeps the memory for the next ones, unless it is much.
  void clear();

 private:
  void line(char type, std::string_view text);
  void header(char type, int64_t number);

  char* room(size_t count) {
    if (capacity_ - size_ < count) [[unlikely]]
      grow(count);
    return bytes_.get() + size_;
  }
  void grow(size_t count);

  std::unique_ptr<char[]> bytes_;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

}  // namespace gyre::kv

#endif  // GYRE_EXAMPLES_KV_SERVER_REPLY_H_
