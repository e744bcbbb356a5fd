#ifndef GYRE_EXAMPLES_KV_SERVER_KEYSPACE_H_
#define GYRE_EXAMPLES_KV_SERVER_KEYSPACE_H_

#include <chrono>
#include <cstddef>
#include <random>
#include <string>
#include <string_view>
#include <utility>

#include "absl/container/btree_set.h"
#include "gyre/examples/kv_server/string_map.h"
#include "gyre/examples/kv_server/value.h"
#include "gyre/loop/clock.h"

namespace gyre::kv {

// The keys of one shard, their values and when they expire. Pure data but for its clock. One thread
// at a time.
//
// A key that is past its time is gone for whoever asks; its memory goes when somebody does, or with
// sweep().
class Keyspace {
 public:
  using Duration = std::chrono::milliseconds;
  using Time = std::chrono::time_point<std::chrono::steady_clock, Duration>;
  static constexpr Time kNever = Time::max();

  struct Entry {
    Value value;
    Time expires = kNever;
  };

  // `clock` is borrowed.
  explicit Keyspace(const MonotonicClock& clock = MonotonicClock::steady()) : clock_(clock) {}

  // Valid until the next change of any key; nullptr: there is no such key.
  Entry* find(std::string_view key);
  // Whatever the key held before.
  void set_string(std::string_view key, std::string_view value, Time expires = kNever);
  bool erase(std::string_view key);
  void clear();
  // Also those that are past their time and not swept yet.
  size_t size() const { return entries_.size(); }

  // The T that a key holds. value == nullptr: there is no such key, or it holds something else.
  template <class T>
  struct Found {
    T* value;
    bool wrong_type;
  };
  template <class T>
  Found<T> find(std::string_view key) {
    Entry* entry = find(key);
    if (entry == nullptr) return {nullptr, false};
    T* value = value_as<T>(entry->value);
    return {value, value == nullptr};
  }
  // An empty T if there is no such key. nullptr: it holds something else.
  template <class T>
  T* find_or_create(std::string_view key) {
    if (Entry* entry = find(key)) return value_as<T>(entry->value);
    Entry& entry = entries_[key];
    entry.value = new_value<T>();
    return value_as<T>(entry.value);
  }

  // When a key that lives for so long from now expires; kNever if that is beyond the clock's range.
  Time after(Duration time_to_live) const;
  Duration until(Time time) const { return time - now(); }
  // kNever: it does not. The key has to exist.
  void set_expiry(std::string_view key, Time time);

  // Erases up to `most` keys that are past their time, the oldest first; gives how many.
  size_t sweep(size_t most);

  // A number from 0 to below `end`, for what is to be picked at random.
  size_t random_below(size_t end) {
    return std::uniform_int_distribution<size_t>(0, end - 1)(random_);
  }

 private:
  using Entries = StringMap<Entry>;

  Time now() const { return std::chrono::floor<Duration>(clock_.now()); }
  void change_expiry(Entries::iterator found, Time time);

  const MonotonicClock& clock_;
  Entries entries_;
  absl::btree_set<std::pair<Time, std::string>> expiries_;  // of the keys that have one
  std::minstd_rand random_{std::random_device()()};
};

}  // namespace gyre::kv

#endif  // GYRE_EXAMPLES_KV_SERVER_KEYSPACE_H_
