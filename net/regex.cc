#include "gyre/net/regex.h"

#include <re2/re2.h>

#include <optional>
#include <utility>

#include "absl/strings/str_format.h"

namespace gyre {
namespace {

// The bytes in front of the first match, and the match.
std::optional<size_t> end_of_match(const re2::RE2& pattern, std::string_view input) {
  const re2::StringPiece text(input.data(), input.size());
  re2::StringPiece match;
  if (!pattern.Match(text, 0, text.size(), re2::RE2::UNANCHORED, &match, 1)) return std::nullopt;
  return match.data() + match.size() - input.data();
}

internal::ReadRequest refused(std::string message) {
  return internal::ReadRefused{absl::InvalidArgumentError(std::move(message))};
}

internal::ReadRequest request(std::shared_ptr<const re2::RE2> pattern, size_t max_bytes) {
  if (pattern == nullptr) return refused("read_until_regex: the pattern is null");
  if (!pattern->ok()) {
    return refused(absl::StrFormat("read_until_regex: the pattern \"%s\": %s", pattern->pattern(),
                                   pattern->error()));
  }
  return internal::ReadUntilMatch{[pattern = std::move(pattern)](std::string_view input) {
                                    return end_of_match(*pattern, input);
                                  },
                                  max_bytes};
}

}  // namespace

internal::ReadAwaiter<std::string> read_until_regex(IOStream& stream, std::string_view pattern,
                                                    size_t max_bytes) {
  re2::RE2::Options quiet;
  quiet.set_log_errors(false);
  return read_until_regex(
      stream,
      std::make_shared<const re2::RE2>(re2::StringPiece(pattern.data(), pattern.size()), quiet),
      max_bytes);
}

internal::ReadAwaiter<std::string> read_until_regex(IOStream& stream,
                                                    std::shared_ptr<const re2::RE2> pattern,
                                                    size_t max_bytes) {
  return {stream, request(std::move(pattern), max_bytes)};
}

}  // namespace gyre
