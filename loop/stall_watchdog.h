#ifndef GYRE_LOOP_STALL_WATCHDOG_H_
#define GYRE_LOOP_STALL_WATCHDOG_H_

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <thread>

#include "gyre/loop/call_site.h"

namespace gyre::internal {

// What one loop tells the watchdog: what it calls, and since when. Written by the loop's thread,
// read by the watchdog's.
class StallMonitor {
 public:
  StallMonitor(const std::string& loop_name, std::chrono::nanoseconds threshold)
      : loop_name_(loop_name), threshold_(threshold) {}
  StallMonitor(const StallMonitor&) = delete;
  StallMonitor& operator=(const StallMonitor&) = delete;

  // The loop's thread, around each call.
  void begin_call(CallSite site) {
    thread_.store(::pthread_self(), std::memory_order_relaxed);
    site_.store(site.word(), std::memory_order_relaxed);
    // With the two above; pairs with the watchdog's load.
    since_.store(now(), std::memory_order_release);
  }
  // Afterwards the thread may end: nobody sends it a signal any more.
  void end_call() {
    // Sequentially consistent with try_hold(): one of the two sees the other's store.
    since_.store(0, std::memory_order_seq_cst);
    while (held_.load(std::memory_order_seq_cst)) [[unlikely]] std::this_thread::yield();
  }

  std::chrono::nanoseconds threshold() const { return threshold_; }

  // The watchdog's thread. Since when the loop is in a call that is to be reported at `now`; 0: in
  // none. Each call once, and a second at least between two reports.
  int64_t due(int64_t now);

 private:
  friend class StallWatchdog;

  // The real clock, also where the loop has another: a thread blocks in real time.
  static int64_t now() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

  // Keeps the thread in the call that began at `since` until release(). False: it has left it.
  bool try_hold(int64_t since) {
    held_.store(true, std::memory_order_seq_cst);
    if (since_.load(std::memory_order_seq_cst) == since) return true;
    release();
    return false;
  }
  void release() { held_.store(false, std::memory_order_seq_cst); }

  const std::string loop_name_;
  const std::chrono::nanoseconds threshold_;
  std::atomic<int64_t> since_{0};  // 0: in no call
  std::atomic<uint64_t> site_{0};
  std::atomic<pthread_t> thread_{};
  std::atomic<bool> held_{false};
  int64_t reported_ = 0;     // the watchdog's: the call that was reported last
  int64_t next_report_ = 0;  // and when the next may be
  bool reporting_ = false;   // it is being said; under the watchdog's lock
};

// A thread that looks at the loops that asked for it. Finds one of them in a call for longer than
// its threshold, it logs where the call was posted and the stack of the blocked thread; at most
// once for a call, and once in a second for a loop.
//
// The stack comes from the thread itself, by a signal, SIGURG: ignored unless somebody asks for it,
// and sent by nobody unless F_SETOWN was set. So a system call of a blocked callback may end with
// EINTR.
class StallWatchdog {
 public:
  // Any thread. The monitor has to live until unwatch() returned.
  static void watch(StallMonitor& monitor);
  static void unwatch(StallMonitor& monitor);

 private:
  struct State;
  static State& state();
  static std::string add(StallMonitor& monitor);
  static void run(State& state);
  static std::string look(StallMonitor& monitor, int64_t now);
  static bool ask_for_stack(StallMonitor& monitor, int64_t since);
  static std::string stack();
};

}  // namespace gyre::internal

#endif  // GYRE_LOOP_STALL_WATCHDOG_H_
