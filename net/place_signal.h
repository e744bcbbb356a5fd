#ifndef GYRE_NET_PLACE_SIGNAL_H_
#define GYRE_NET_PLACE_SIGNAL_H_

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "gyre/loop/io_loop.h"
#include "gyre/loop/mutex.h"

namespace gyre::internal {

// Tells acceptors that wait that a connection has ended. Any thread.
//
// No wake-up is lost: who waits calls wait() and then looks again whether there is a place; who
// makes one gives it back and then calls notify(). Both stores and both loads are seq_cst, so that
// at least one of the two sees the other.
class PlaceSignal {
 public:
  // Runs `retry` on the loop of `queue` after the next notify(), once.
  void wait(std::shared_ptr<CallbackQueue> queue, std::function<void()> retry) {
    MutexLock lock(mutex_);
    waiters_.push_back({std::move(queue), std::move(retry)});
    waiting_.store(true, std::memory_order_seq_cst);
  }

  // One load, unless somebody waits.
  bool has_waiters() const { return waiting_.load(std::memory_order_seq_cst); }
  void notify() {
    if (has_waiters()) post_all();
  }

 private:
  struct Waiter {
    std::shared_ptr<CallbackQueue> queue;
    std::function<void()> retry;
  };

  void post_all() {
    std::vector<Waiter> waiters;
    {
      MutexLock lock(mutex_);
      waiters.swap(waiters_);
      waiting_.store(false, std::memory_order_seq_cst);
    }
    // A loop that is closed refuses: its acceptor is gone.
    for (Waiter& waiter : waiters) waiter.queue->post(CallSite(), std::move(waiter.retry));
  }

  std::atomic<bool> waiting_{false};
  Mutex mutex_;
  std::vector<Waiter> waiters_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace gyre::internal

#endif  // GYRE_NET_PLACE_SIGNAL_H_
