#include "gyre/net/read_request.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_format.h"

namespace gyre::internal {
namespace {

absl::Status check_max_bytes(size_t max_bytes, size_t least) {
  if (max_bytes >= least) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "read_until: max_bytes is %d, and the shortest answer has %d", max_bytes, least));
}

absl::Status check_one(const ReadBytes& request, size_t max_buffer_size) {
  if (request.partial || request.count <= max_buffer_size) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("read_bytes(%d): max_buffer_size is %d", request.count, max_buffer_size));
}

absl::Status check_one(const ReadInto& request, size_t) {
  if (request.data != nullptr || request.size == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("read_into: the buffer of %d bytes is null", request.size));
}

absl::Status check_one(const ReadUntil& request, size_t) {
  if (request.delimiter.empty()) {
    return absl::InvalidArgumentError("read_until: the delimiter is empty");
  }
  return check_max_bytes(request.max_bytes, request.delimiter.size());
}

absl::Status check_one(const ReadUntilMatch& request, size_t) {
  return check_max_bytes(request.max_bytes, 1);
}

absl::Status check_one(const ReadUntilClose&, size_t) { return absl::OkStatus(); }

absl::Status check_one(const ReadRefused& request, size_t) { return request.status; }

// Where `what` begins in `text`, from `from` on; npos. std::string_view::find goes back for every
// beginning that looked alike; memmem(3) is linear.
size_t find(std::string_view text, std::string_view what, size_t from) {
  if (text.size() < from + what.size()) return std::string_view::npos;
  const void* found =
      what.size() == 1 ? std::memchr(text.data() + from, what[0], text.size() - from)
                       : ::memmem(text.data() + from, text.size() - from, what.data(), what.size());
  if (found == nullptr) return std::string_view::npos;
  return static_cast<const char*>(found) - text.data();
}

ReadMatch within(size_t bytes, size_t max_bytes) {
  if (bytes > max_bytes) return {.bytes = std::nullopt, .unsatisfiable = true};
  return {.bytes = bytes};
}

ReadMatch match_one(const ReadBytes& request, std::string_view input) {
  if (input.size() >= request.count) return {.bytes = request.count};
  if (request.partial && !input.empty()) return {.bytes = input.size()};
  return {};
}

ReadMatch match_one(ReadUntil& request, std::string_view input) {
  const size_t length = request.delimiter.size();
  if (length == 0) return {.bytes = 0};
  const size_t found = find(input, request.delimiter, request.searched);
  if (found != std::string_view::npos) return within(found + length, request.max_bytes);
  // The delimiter may have begun in the last bytes.
  if (input.size() >= length) {
    request.searched = std::max(request.searched, input.size() - (length - 1));
  }
  return {.bytes = std::nullopt, .unsatisfiable = input.size() >= request.max_bytes};
}

ReadMatch match_one(ReadUntilMatch& request, std::string_view input) {
  const std::optional<size_t> bytes = request.matcher(input);
  if (bytes.has_value()) return within(std::min(*bytes, input.size()), request.max_bytes);
  return {.bytes = std::nullopt, .unsatisfiable = input.size() >= request.max_bytes};
}

ReadMatch match_one(const ReadInto&, std::string_view) { return {}; }
ReadMatch match_one(const ReadUntilClose&, std::string_view) { return {}; }
ReadMatch match_one(const ReadRefused&, std::string_view) { return {}; }

}  // namespace

absl::Status check(const ReadRequest& request, size_t max_buffer_size) {
  return std::visit([&](const auto& kind) { return check_one(kind, max_buffer_size); }, request);
}

ReadMatch match(ReadRequest& request, std::string_view input) {
  return std::visit([&](auto& kind) { return match_one(kind, input); }, request);
}

bool wants_nothing(const ReadRequest& request) {
  if (const auto* bytes = std::get_if<ReadBytes>(&request)) return bytes->count == 0;
  const auto* into = std::get_if<ReadInto>(&request);
  return into != nullptr && into->size == 0;
}

bool is_exhausted(const ReadRequest& request, size_t input) {
  if (const auto* until = std::get_if<ReadUntil>(&request)) return input >= until->max_bytes;
  if (const auto* until = std::get_if<ReadUntilMatch>(&request)) return input >= until->max_bytes;
  return false;
}

size_t fill(ReadInto& request, std::string_view input) {
  const size_t count = std::min(input.size(), request.size - request.filled);
  char* const to = request.data + request.filled;
  if (count > 0 && input.data() != to) std::memcpy(to, input.data(), count);
  request.filled += count;
  return count;
}

}  // namespace gyre::internal
