#include "gyre/loop/executor.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <system_error>
#include <thread>

#include "gyre/loop/callback_guard.h"
#include "gyre/loop/log.h"
#include "gyre/loop/mutex.h"

namespace gyre {
namespace {

class DefaultExecutor final : public Executor {
 public:
  bool execute(Callback work) override {
    Callback refused;  // destroyed after the lock: it is the user's
    internal::MutexLock lock(mutex_);
    queue_.push_back(std::move(work));
    if (idle_ < queue_.size() && threads_ < max_threads()) start_thread();
    if (threads_ == 0) {
      // Not even one thread can be had: nobody would ever run it.
      refused = std::move(queue_.back());
      queue_.pop_back();
      return false;
    }
    ready_.notify_one();
    return true;
  }

 private:
  static size_t max_threads() { return std::max(4u, std::thread::hardware_concurrency()); }

  void start_thread() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
#if defined(__cpp_exceptions)
    try {
#endif
      std::thread([this] { run(); }).detach();
      ++threads_;
#if defined(__cpp_exceptions)
    } catch (const std::system_error& error) {
      logf(LogLevel::kWarning, "default executor: no further thread: %s", error.what());
    }
#endif
  }

  [[noreturn]] void run() {
    mutex_.lock();
    for (;;) {
      ++idle_;
      while (queue_.empty()) ready_.wait(mutex_);
      --idle_;
      Callback work = std::move(queue_.front());
      queue_.pop_front();
      mutex_.unlock();
      guard_.run(work);
      work = nullptr;  // its captures go before the next wait
      mutex_.lock();
    }
  }

  internal::Mutex mutex_;
  std::condition_variable_any ready_;
  std::deque<Callback> queue_ ABSL_GUARDED_BY(mutex_);
  size_t threads_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t idle_ ABSL_GUARDED_BY(mutex_) = 0;
  internal::CallbackGuard guard_{"default executor"};
};

}  // namespace

Executor& default_executor() {
  // Never destroyed: its threads run until the process ends.
  static auto* executor = new DefaultExecutor;
  return *executor;
}

}  // namespace gyre
