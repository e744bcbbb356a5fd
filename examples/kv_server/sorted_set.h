#ifndef GYRE_EXAMPLES_KV_SERVER_SORTED_SET_H_
#define GYRE_EXAMPLES_KV_SERVER_SORTED_SET_H_

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/container/btree_set.h"
#include "gyre/examples/kv_server/string_map.h"

namespace gyre::kv {

// Strings, each with a score, in order of score and then bytes. A member is kept once, in the
// table's node, which the order points to.
class SortedSet {
 public:
  using Member = std::pair<const std::string, double>;

  size_t size() const { return scores_.size(); }
  std::optional<double> score(std::string_view member) const {
    const auto found = scores_.find(member);
    if (found == scores_.end()) return std::nullopt;
    return found->second;
  }
  // Adds the member, or gives it another score. True: it is new.
  bool set(std::string_view member, double score) {
    const auto [found, added] = scores_.try_emplace(member, score);
    if (!added) {
      if (found->second == score) return false;
      order_.erase(&*found);
      found->second = score;
    }
    order_.insert(&*found);
    return added;
  }
  // The member with the lowest score; there has to be one.
  const Member& lowest() const { return **order_.begin(); }
  void erase_lowest() {
    const Member* member = *order_.begin();
    order_.erase(order_.begin());
    scores_.erase(scores_.find(member->first));
  }

 private:
  struct Before {
    bool operator()(const Member* a, const Member* b) const {
      return a->second != b->second ? a->second < b->second : a->first < b->first;
    }
  };

  StringNodeMap<double> scores_;
  absl::btree_set<const Member*, Before> order_;
};

}  // namespace gyre::kv

#endif  // GYRE_EXAMPLES_KV_SERVER_SORTED_SET_H_
