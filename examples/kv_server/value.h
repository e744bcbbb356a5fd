#ifndef GYRE_EXAMPLES_KV_SERVER_VALUE_H_
#define GYRE_EXAMPLES_KV_SERVER_VALUE_H_

#include <deque>
#include <memory>
#include <string>
#include <type_traits>
#include <variant>

#include "gyre/examples/kv_server/indexed_set.h"
#include "gyre/examples/kv_server/sorted_set.h"
#include "gyre/examples/kv_server/string_map.h"

namespace gyre::kv {

using List = std::deque<std::string>;
using Hash = StringMap<std::string>;

// What a key can hold. Strings lie in the table itself, up to 15 bytes without an allocation; the
// other kinds are behind a pointer, so that they do not make every slot of the table wide.
using Value = std::variant<std::string, std::unique_ptr<List>, std::unique_ptr<IndexedSet>,
                           std::unique_ptr<Hash>, std::unique_ptr<SortedSet>>;

// The T in a value, or nullptr if it is of another kind.
template <class T>
T* value_as(Value& value) {
  if constexpr (std::is_same_v<T, std::string>) {
    return std::get_if<std::string>(&value);
  } else {
    const auto* pointer = std::get_if<std::unique_ptr<T>>(&value);
    return pointer != nullptr ? pointer->get() : nullptr;
  }
}

template <class T>
Value new_value() {
  if constexpr (std::is_same_v<T, std::string>) {
    return std::string();
  } else {
    return std::make_unique<T>();
  }
}

}  // namespace gyre::kv

#endif  // GYRE_EXAMPLES_KV_SERVER_VALUE_H_
