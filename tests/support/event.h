#ifndef GYRE_TESTS_SUPPORT_EVENT_H_
#define GYRE_TESTS_SUPPORT_EVENT_H_

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace gyre::testing {

// How long a test waits for what has to come. Only a failing test waits that long, so it is
// generous: the machine may be busy, and sanitizers are slow.
inline constexpr std::chrono::seconds kDeadline{20};

// For a test that asks again and again, where nobody announces what has to come:
//
//   for (Patience patience; !done && patience.left();) std::this_thread::yield();
class Patience {
 public:
  // `deadline`: as above.
  explicit Patience(std::chrono::nanoseconds deadline = kDeadline)
      : end_(std::chrono::steady_clock::now() + deadline) {}

  bool left() const { return std::chrono::steady_clock::now() < end_; }

 private:
  const std::chrono::steady_clock::time_point end_;
};

// Something that happens in one thread and that another waits for. Any thread.
class Event {
 public:
  void set() {
    std::lock_guard<std::mutex> lock(mutex_);
    ++times_;
    changed_.notify_all();  // under the lock: who waits may destroy the event at once
  }

  // True once it was set that many times; false at the deadline.
  [[nodiscard]] bool wait(int times = 1, std::chrono::nanoseconds deadline = kDeadline) {
    std::unique_lock<std::mutex> lock(mutex_);
    // system_clock: gcc 12's ThreadSanitizer does not know pthread_cond_clockwait.
    return changed_.wait_until(lock, std::chrono::system_clock::now() + deadline,
                               [&] { return times_ >= times; });
  }

  int times() {
    std::lock_guard<std::mutex> lock(mutex_);
    return times_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int times_ = 0;
};

}  // namespace gyre::testing

#endif  // GYRE_TESTS_SUPPORT_EVENT_H_
