#ifndef GYRE_EXAMPLES_KV_SERVER_WORDS_H_
#define GYRE_EXAMPLES_KV_SERVER_WORDS_H_

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"

namespace gyre::kv {

// Whether an argument is this word, which is in lower case, in any case.
inline bool is_word(std::string_view argument, std::string_view word) {
  return std::equal(argument.begin(), argument.end(), word.begin(), word.end(),
                    [](char a, char b) { return absl::ascii_tolower(a) == b; });
}

// The number that is written exactly so: no space, no plus, no zeros in front.
inline std::optional<int64_t> parse_integer(std::string_view text) {
  int64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || stop != end) return std::nullopt;
  const std::string_view digits = text.substr(number < 0 || text.front() == '-');
  const bool padded = digits.front() == '0' && text.size() > 1;
  return padded ? std::nullopt : std::optional(number);
}

// A count of things: not negative.
inline std::optional<size_t> parse_count(std::string_view text) {
  const std::optional<int64_t> number = parse_integer(text);
  return number && *number >= 0 ? std::optional<size_t>(*number) : std::nullopt;
}

// With "inf" and "-inf"; not a number is none.
inline std::optional<double> parse_double(std::string_view text) {
  double number = 0;
  if (!absl::SimpleAtod(absl::string_view(text.data(), text.size()), &number) || std::isnan(number))
    return std::nullopt;
  return number;
}

// A number of `unit`s; none where their milliseconds do not fit into 64 bits.
template <class Unit>
std::optional<std::chrono::milliseconds> parse_duration(std::string_view text, Unit unit) {
  const std::optional<int64_t> number = parse_integer(text);
  const int64_t factor = std::chrono::milliseconds(unit).count();
  int64_t product;
  if (!number || __builtin_mul_overflow(*number, factor, &product)) return std::nullopt;
  return std::chrono::milliseconds(product);
}

}  // namespace gyre::kv

#endif  // GYRE_EXAMPLES_KV_SERVER_WORDS_H_
