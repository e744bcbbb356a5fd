#ifndef GYRE_NET_READ_REQUEST_H_
#define GYRE_NET_READ_REQUEST_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"

namespace gyre::internal {

// How many bytes of the input are the answer; unset: not enough yet.
using ReadMatcher = absl::AnyInvocable<std::optional<size_t>(std::string_view input)>;

// What a reader waits for.
struct ReadBytes {
  size_t count;
  bool partial;  // some are enough
};
struct ReadInto {
  char* data;
  size_t size;
  bool partial;
  size_t filled = 0;

  bool answered() const { return filled == size || (partial && filled > 0); }
};
struct ReadUntil {
  std::string delimiter;
  size_t max_bytes;
  size_t searched = 0;  // the delimiter does not begin before this
};
struct ReadUntilMatch {
  ReadMatcher matcher;
  size_t max_bytes;
};
struct ReadUntilClose {};
// One that was refused before it was asked.
struct ReadRefused {
  absl::Status status;
};
using ReadRequest =
    std::variant<ReadBytes, ReadInto, ReadUntil, ReadUntilMatch, ReadUntilClose, ReadRefused>;

// InvalidArgument, with the operand's name, for what no input can answer.
absl::Status check(const ReadRequest& request, size_t max_buffer_size);

struct ReadMatch {
  // How many bytes answer the request; unset: not enough yet.
  std::optional<size_t> bytes = std::nullopt;
  // What is looked for does not come within max_bytes.
  bool unsatisfiable = false;
};

// Looks whether `input`, which only grew at its end since the last call, answers the request. Pure;
// over all calls linear in the bytes, but for what a ReadMatcher does. Not for a ReadInto, which
// is filled instead.
ReadMatch match(ReadRequest& request, std::string_view input);

// Whether no bytes at all are the answer.
bool wants_nothing(const ReadRequest& request);

// Whether a request that `input` bytes have not answered cannot be answered by more, since it has a
// max_bytes.
bool is_exhausted(const ReadRequest& request, size_t input);

// Moves the front of `input` to where the reader wants it, unless it is there already. Gives how
// many bytes it took.
size_t fill(ReadInto& request, std::string_view input);

}  // namespace gyre::internal

#endif  // GYRE_NET_READ_REQUEST_H_
