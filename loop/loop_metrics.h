#ifndef GYRE_LOOP_LOOP_METRICS_H_
#define GYRE_LOOP_LOOP_METRICS_H_

#include <atomic>
#include <chrono>
#include <cstdint>

namespace gyre {

// What a loop has done since it was made. A snapshot: the counts were read one after the other.
struct LoopMetrics {
  uint64_t iterations = 0;
  uint64_t callbacks = 0;            // run, from add_callback and its kin
  uint64_t timeouts = 0;             // run
  uint64_t events = 0;               // handlers called
  uint64_t wakeups = 0;              // sleeps that a post or a stop from another thread ended
  uint64_t spins = 0;                // waits that began with a look around, see IOLoopOptions::spin
  uint64_t spins_won = 0;            // of these, those that found something
  uint64_t exceptions = 0;           // that callbacks threw
  uint64_t queue_depth = 0;          // callbacks that were queued when the last iteration began
  uint64_t max_queue_depth = 0;      // the most that it was
  std::chrono::nanoseconds busy{0};  // outside the poller
  std::chrono::nanoseconds idle{0};  // waiting in the poller
  bool polling = false;              // in the poller at the moment
};

namespace internal {

// Written by one thread, read by any: no read-modify-write, no line shared with another loop.
class Counter {
 public:
  void add(uint64_t n) {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  void set(uint64_t value) { value_.store(value, std::memory_order_relaxed); }
  uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

struct alignas(64) LoopCounters {
  Counter iterations, callbacks, timeouts, events, wakeups, busy_nanoseconds, idle_nanoseconds;
  Counter polling, spins, spins_won;
};

}  // namespace internal
}  // namespace gyre

#endif  // GYRE_LOOP_LOOP_METRICS_H_
