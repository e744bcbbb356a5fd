#include "gyre/examples/kv_server/request_parser.h"

#include <algorithm>

#include "gyre/examples/kv_server/inline_request.h"

namespace gyre::kv {

RequestParser::Outcome RequestParser::parse(std::string_view bytes) {
  if (complete_) {
    complete_ = false;
    position_ = 0;
    missing_ = kUnknown;
    spans_.clear();
    inline_.clear();
  }
  if (!error_.empty()) return Outcome::kError;
  if (bytes.empty()) return Outcome::kIncomplete;
  return bytes.front() == '*' ? parse_array(bytes) : parse_inline(bytes);
}

RequestParser::Outcome RequestParser::parse_array(std::string_view bytes) {
  if (missing_ == kUnknown) {
    position_ = 0;
    int64_t count = 0;
    const Number found = read_number(bytes, count);
    if (found == Number::kMore) return Outcome::kIncomplete;
    if (found == Number::kWrong || count > limits_.arguments)
      return fail("ERR Protocol error: invalid number of arguments");
    missing_ = std::max<int64_t>(count, 0);  // a null array is as good as an empty one
  }
  for (; missing_ > 0; --missing_) {
    if (bulk_ == kUnknown) {
      if (const Outcome outcome = parse_bulk_header(bytes); outcome != Outcome::kRequest)
        return outcome;
    }
    const size_t end = position_ + bulk_;
    if (bytes.size() < end + 2) return Outcome::kIncomplete;
    if (bytes[end] != '\r' || bytes[end + 1] != '\n')
      return fail("ERR Protocol error: an argument is longer than its announced length");
    spans_.push_back({static_cast<uint32_t>(position_), static_cast<uint32_t>(bulk_)});
    position_ = end + 2;
    bulk_ = kUnknown;
  }
  return complete(bytes);
}

// kRequest: the header was there.
RequestParser::Outcome RequestParser::parse_bulk_header(std::string_view bytes) {
  if (position_ == bytes.size()) return Outcome::kIncomplete;
  if (bytes[position_] != '$') return fail("ERR Protocol error: expected '$' before an argument");
  int64_t size = 0;
  const Number found = read_number(bytes, size);
  if (found == Number::kMore) return Outcome::kIncomplete;
  if (found == Number::kWrong || size < 0 || size > limits_.bulk_bytes)
    return fail("ERR Protocol error: invalid length of an argument");
  if (position_ + size > limits_.request_bytes)
    return fail("ERR Protocol error: the request is too long");
  bulk_ = size;
  return Outcome::kRequest;
}

// The number between the type's byte at position_ and the end of its line; moves behind that line.
// Reads from left to right and looks at nothing behind a mistake, so that it is the same mistake
// however the stream is cut.
RequestParser::Number RequestParser::read_number(std::string_view bytes, int64_t& number) {
  constexpr size_t kMostDigits = 18;  // fits into 64 bits whatever they are
  size_t i = position_ + 1;
  // Most are one digit.
  if (bytes.size() - position_ >= 4 && bytes[i] >= '0' && bytes[i] <= '9' && bytes[i + 1] == '\r' &&
      bytes[i + 2] == '\n') [[likely]] {
    number = bytes[i] - '0';
    position_ = i + 3;
    return Number::kFound;
  }
  const bool negative = i < bytes.size() && bytes[i] == '-';
  if (negative) ++i;
  const size_t first = i;
  for (number = 0; i < bytes.size() && bytes[i] >= '0' && bytes[i] <= '9'; ++i) {
    if (i - first == kMostDigits) return Number::kWrong;
    number = number * 10 + (bytes[i] - '0');
  }
  if (i == bytes.size()) return Number::kMore;
  if (i == first || bytes[i] != '\r') return Number::kWrong;
  if (i + 1 == bytes.size()) return Number::kMore;
  if (bytes[i + 1] != '\n') return Number::kWrong;
  if (negative) number = -number;
  position_ = i + 2;
  return Number::kFound;
}

RequestParser::Outcome RequestParser::parse_inline(std::string_view bytes) {
  const size_t newline = bytes.find('\n', position_);
  position_ = newline == std::string_view::npos ? bytes.size() : newline + 1;
  if (position_ > limits_.inline_bytes) return fail("ERR Protocol error: the line is too long");
  if (newline == std::string_view::npos) return Outcome::kIncomplete;
  std::string_view line = bytes.substr(0, newline);
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (!split_inline(line, inline_, spans_))
    return fail("ERR Protocol error: a quote is not closed, or not followed by a space");
  return complete(bytes);
}

RequestParser::Outcome RequestParser::complete(std::string_view bytes) {
  begin_ = bytes.data();
  complete_ = true;
  return Outcome::kRequest;
}

RequestParser::Outcome RequestParser::fail(std::string_view error) {
  error_ = error;
  return Outcome::kError;
}

}  // namespace gyre::kv
