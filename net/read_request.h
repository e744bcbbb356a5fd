#ifndef GYRE_NET_READ_REQUEST_H_
#define GYRE_NET_READ_REQUEST_H_

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace gyre::internal {

// What a reader waits for.
struct ReadBytes {
  size_t count;
  bool partial;  // some are enough
};
struct ReadUntil {
  std::string delimiter;
  size_t max_bytes;
  size_t searched = 0;  // the delimiter does not begin before this
};
struct ReadUntilClose {};
using ReadRequest = std::variant<ReadBytes, ReadUntil, ReadUntilClose>;

struct ReadMatch {
  // How many bytes answer the request; unset: not enough yet.
  std::optional<size_t> bytes = std::nullopt;
  // The delimiter does not come within max_bytes.
  bool unsatisfiable = false;
};

// Looks whether `input`, which only grew at its end since the last call, answers the request. Pure;
// over all calls linear in the bytes.
ReadMatch match(ReadRequest& request, std::string_view input);

}  // namespace gyre::internal

#endif  // GYRE_NET_READ_REQUEST_H_
