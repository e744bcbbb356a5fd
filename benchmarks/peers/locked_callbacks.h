#ifndef GYRE_BENCHMARKS_PEERS_LOCKED_CALLBACKS_H_
#define GYRE_BENCHMARKS_PEERS_LOCKED_CALLBACKS_H_

#include <functional>
#include <mutex>
#include <utility>
#include <vector>

namespace gyre::bench {

// libuv, libevent and libev can only say that there is something to do; what it is, their users
// keep in a queue beside it.
class LockedCallbacks {
 public:
  void prepare(int, int) {}
  void enter(int) {}

 protected:
  template <class F>
  void put(F f) {
    std::lock_guard lock(mutex_);
    posted_.emplace_back(std::move(f));
  }
  void run_all() {
    {
      std::lock_guard lock(mutex_);
      batch_.swap(posted_);
    }
    for (std::function<void()>& f : batch_) f();
    batch_.clear();
  }

 private:
  std::mutex mutex_;
  std::vector<std::function<void()>> posted_;
  std::vector<std::function<void()>> batch_;
};

}  // namespace gyre::bench

#endif  // GYRE_BENCHMARKS_PEERS_LOCKED_CALLBACKS_H_
