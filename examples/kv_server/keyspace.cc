#include "gyre/examples/kv_server/keyspace.h"

namespace gyre::kv {

Keyspace::Entry* Keyspace::find(std::string_view key) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return nullptr;
  // Most keys never expire, and cost no look at the clock.
  if (found->second.expires != kNever && found->second.expires <= now()) [[unlikely]] {
    change_expiry(found, kNever);
    entries_.erase(found);
    return nullptr;
  }
  return &found->second;
}

void Keyspace::set_string(std::string_view key, std::string_view value, Time expires) {
  const auto found = entries_.try_emplace(key).first;
  constexpr size_t kMostWaste = 64;
  std::string* old = value_as<std::string>(found->second.value);
  // Into the memory that it has, unless that is far too much.
  if (old != nullptr && old->capacity() <= 2 * value.size() + kMostWaste) {
    old->assign(value);
  } else {
    found->second.value = std::string(value);
  }
  if (found->second.expires != expires) change_expiry(found, expires);
}

bool Keyspace::erase(std::string_view key) {
  if (find(key) == nullptr) return false;
  const auto found = entries_.find(key);
  change_expiry(found, kNever);
  entries_.erase(found);
  return true;
}

void Keyspace::clear() {
  entries_.clear();
  expiries_.clear();
}

Keyspace::Time Keyspace::after(Duration time_to_live) const {
  const Time start = now();
  return time_to_live >= kNever - start ? kNever : start + time_to_live;
}

void Keyspace::set_expiry(std::string_view key, Time time) {
  change_expiry(entries_.find(key), time);
}

void Keyspace::change_expiry(Entries::iterator found, Time time) {
  Time& expires = found->second.expires;
  if (expires != kNever) expiries_.erase({expires, found->first});
  if (time != kNever) expiries_.emplace(time, found->first);
  expires = time;
}

size_t Keyspace::sweep(size_t most) {
  size_t swept = 0;
  for (const Time present = now(); swept < most && !expiries_.empty(); ++swept) {
    const auto oldest = expiries_.begin();
    if (oldest->first > present) break;
    entries_.erase(oldest->second);
    expiries_.erase(oldest);
  }
  return swept;
}

}  // namespace gyre::kv
