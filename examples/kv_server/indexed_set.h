#ifndef GYRE_EXAMPLES_KV_SERVER_INDEXED_SET_H_
#define GYRE_EXAMPLES_KV_SERVER_INDEXED_SET_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "gyre/examples/kv_server/string_map.h"

namespace gyre::kv {

// A set of strings with a place for each, so that a random one is found at once. A member is kept
// once, in the vector; the table holds its place there, and hashes and compares through it. Does
// not move: the table points back at the vector.
class IndexedSet {
 public:
  IndexedSet() : places_(0, Hash{&members_}, Equal{&members_}) {}
  IndexedSet(const IndexedSet&) = delete;
  IndexedSet& operator=(const IndexedSet&) = delete;

  size_t size() const { return members_.size(); }
  const std::vector<std::string>& members() const { return members_; }
  bool contains(std::string_view member) const { return places_.contains(member); }

  // False: it is there already.
  bool insert(std::string_view member) {
    if (contains(member)) return false;
    members_.emplace_back(member);
    places_.insert(static_cast<uint32_t>(members_.size() - 1));
    return true;
  }
  // Gives the member at `place`, which the last one takes.
  std::string take(size_t place) {
    const auto last = static_cast<uint32_t>(members_.size() - 1);
    places_.erase(static_cast<uint32_t>(place));
    if (place != last) {
      places_.erase(last);
      std::swap(members_[place], members_[last]);
      places_.insert(static_cast<uint32_t>(place));
    }
    std::string member = std::move(members_.back());
    members_.pop_back();
    return member;
  }

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view member) const { return StringHash()(member); }
    size_t operator()(uint32_t place) const { return (*this)((*members)[place]); }
    const std::vector<std::string>* members;
  };
  struct Equal {
    using is_transparent = void;
    bool operator()(uint32_t a, uint32_t b) const { return a == b; }
    bool operator()(uint32_t a, std::string_view b) const { return (*members)[a] == b; }
    const std::vector<std::string>* members;
  };

  std::vector<std::string> members_;
  absl::flat_hash_set<uint32_t, Hash, Equal> places_;
};

}  // namespace gyre::kv

#endif  // GYRE_EXAMPLES_KV_SERVER_INDEXED_SET_H_
