#include "gyre/net/in_turn.h"

#include <utility>

namespace gyre::internal {

uint64_t InTurn::take() {
  MutexLock lock(mutex_);
  return taken_++;
}

void InTurn::ready(uint64_t turn, Callback then) {
  {
    MutexLock lock(mutex_);
    ready_.emplace(turn, std::move(then));
    if (std::exchange(running_, true)) return;
  }
  while (Callback next = take_next()) {
    next();
  }
}

Callback InTurn::take_next() {
  MutexLock lock(mutex_);
  auto first = ready_.begin();
  running_ = first != ready_.end() && first->first == begun_;
  if (!running_) return nullptr;
  ++begun_;
  Callback next = std::move(first->second);
  ready_.erase(first);
  return next;
}

}  // namespace gyre::internal
