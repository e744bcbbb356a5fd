#include "gyre/net/read_request.h"

#include <algorithm>

namespace gyre::internal {
namespace {

ReadMatch match_one(const ReadBytes& request, std::string_view input) {
  if (input.size() >= request.count) return {.bytes = request.count};
  if (request.partial && !input.empty()) return {.bytes = input.size()};
  return {};
}

ReadMatch match_one(ReadUntil& request, std::string_view input) {
  const size_t length = request.delimiter.size();
  const size_t found = input.find(request.delimiter, request.searched);
  if (found != std::string_view::npos) {
    const size_t bytes = found + length;
    if (bytes > request.max_bytes) return {.bytes = std::nullopt, .unsatisfiable = true};
    return {.bytes = bytes};
  }
  // The delimiter may have begun in the last bytes.
  const size_t tail = length > 0 ? length - 1 : 0;
  if (input.size() > tail) request.searched = std::max(request.searched, input.size() - tail);
  return {.bytes = std::nullopt, .unsatisfiable = input.size() >= request.max_bytes};
}

ReadMatch match_one(const ReadUntilClose&, std::string_view) { return {}; }

}  // namespace

ReadMatch match(ReadRequest& request, std::string_view input) {
  return std::visit([&](auto& kind) { return match_one(kind, input); }, request);
}

}  // namespace gyre::internal
