#include "gyre/loop/executor.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>

#include "gyre/loop/callback_guard.h"
#include "gyre/loop/log.h"

namespace gyre {
namespace {

class DefaultExecutor final : public Executor {
 public:
  bool execute(Callback work) override {
    std::unique_lock<std::mutex> lock(mutex_);
    queue_.push_back(std::move(work));
    if (idle_ < queue_.size() && threads_ < max_threads()) start_thread();
    if (threads_ == 0) {
      // Not even one thread can be had: nobody would ever run it.
      queue_.pop_back();
      return false;
    }
    lock.unlock();
    ready_.notify_one();
    return true;
  }

 private:
  static size_t max_threads() { return std::max(4u, std::thread::hardware_concurrency()); }

  void start_thread() {
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
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      ++idle_;
      ready_.wait(lock, [this] { return !queue_.empty(); });
      --idle_;
      Callback work = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      guard_.run(work);
      work = nullptr;  // its captures go before the next wait
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<Callback> queue_;
  size_t threads_ = 0;
  size_t idle_ = 0;
  internal::CallbackGuard guard_{"default executor"};
};

}  // namespace

Executor& default_executor() {
  // Never destroyed: its threads run until the process ends.
  static auto* executor = new DefaultExecutor;
  return *executor;
}

}  // namespace gyre
