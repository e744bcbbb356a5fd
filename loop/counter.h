#ifndef GYRE_LOOP_COUNTER_H_
#define GYRE_LOOP_COUNTER_H_

#include <atomic>
#include <cstdint>

namespace gyre::internal {

// Written by one thread, read by any: a plain load and a plain store, no read-modify-write, which
// would lock the line. Relaxed: a reader that was told of an event (by a lock, a post) finds it
// counted, and nothing else is promised of the order in which two counters change.
class Counter {
 public:
  void add(uint64_t n) {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  void set(uint64_t value) { value_.store(value, std::memory_order_relaxed); }
  void raise_to(uint64_t value) {
    if (value > get()) set(value);
  }
  uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

}  // namespace gyre::internal

#endif  // GYRE_LOOP_COUNTER_H_
