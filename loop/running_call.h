#ifndef GYRE_LOOP_RUNNING_CALL_H_
#define GYRE_LOOP_RUNNING_CALL_H_

#include <atomic>
#include <cstdint>
#include <string>

#include "gyre/loop/call_site.h"

namespace gyre::internal {

// What a loop called last, in one word: whoever finds the loop stuck can say in what. Written by
// the loop's thread, read by any; one store for each call, and none when it returns: whether it has
// is told by LoopCounters::polling.
//
//     63 62 | 61 ............ 0
//     kind  | where it was posted; of a handler the fd alone, since that is stored most often
class RunningCall {
 public:
  void set_callback(CallSite site) { set(kCallback, site.word()); }
  void set_timeout(CallSite site) { set(kTimeout, site.word()); }
  void set_handler(int fd) { set(kHandler, static_cast<uint32_t>(fd)); }
  void set_idle_timeout() { set(kHandler, kIdleTimeout); }

  // "a callback, posted at net/foo.cc:12"; `fd` is -1 unless it is a handler's. Any thread.
  std::string to_string(int* fd) const;

 private:
  enum Kind : uint64_t { kHandler, kCallback, kTimeout };
  static constexpr int kKindShift = 62;
  // Fds that are none.
  static constexpr uint64_t kIdleTimeout = UINT32_MAX;
  static constexpr uint64_t kNothing = UINT32_MAX - 1;

  void set(Kind kind, uint64_t detail) {
    word_.store(static_cast<uint64_t>(kind) << kKindShift | detail, std::memory_order_relaxed);
  }

  std::atomic<uint64_t> word_{kNothing};
};

}  // namespace gyre::internal

#endif  // GYRE_LOOP_RUNNING_CALL_H_
