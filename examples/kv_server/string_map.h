#ifndef GYRE_EXAMPLES_KV_SERVER_STRING_MAP_H_
#define GYRE_EXAMPLES_KV_SERVER_STRING_MAP_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/container/node_hash_map.h"
#include "absl/hash/hash.h"
#include "absl/strings/string_view.h"

namespace gyre::kv {

// Abseil's own functors want its string_view, which a distribution may have built as a type of its
// own.
struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const {
    return absl::HashOf(absl::string_view(text.data(), text.size()));
  }
};
struct StringEqual {
  using is_transparent = void;
  bool operator()(std::string_view a, std::string_view b) const { return a == b; }
};

// Maps that are asked with a std::string_view, and keep a std::string.
template <class T>
using StringMap = absl::flat_hash_map<std::string, T, StringHash, StringEqual>;
// Its elements stay where they are.
template <class T>
using StringNodeMap = absl::node_hash_map<std::string, T, StringHash, StringEqual>;

}  // namespace gyre::kv

#endif  // GYRE_EXAMPLES_KV_SERVER_STRING_MAP_H_
