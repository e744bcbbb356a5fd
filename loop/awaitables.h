#ifndef GYRE_LOOP_AWAITABLES_H_
#define GYRE_LOOP_AWAITABLES_H_

// What a coroutine may wait for beside tasks and futures. Included by task.h.

#include "gyre/loop/cxx20.h"  // before all else

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/task_root.h"

namespace gyre {

namespace internal {

class SleepAwaiter {
 public:
  explicit SleepAwaiter(IOLoop::Duration delay) : delay_(delay) {}
  SleepAwaiter(const SleepAwaiter&) = delete;
  SleepAwaiter& operator=(const SleepAwaiter&) = delete;
  ~SleepAwaiter() {
    if (loop_ != nullptr) loop_->remove_timeout(timeout_);
  }

  bool await_ready() const noexcept { return false; }
  template <TaskPromise P>
  void await_suspend(std::coroutine_handle<P> coroutine) {
    TaskRoot& root = *coroutine.promise().root;
    const uint64_t epoch = root.suspend(coroutine);
    loop_ = &root.loop();
    timeout_ =
        loop_->call_later(delay_, [root = root.shared_from_this(), epoch] { root->resume(epoch); });
  }
  void await_resume() { loop_ = nullptr; }

 private:
  const IOLoop::Duration delay_;
  IOLoop* loop_ = nullptr;  // where it waits
  IOLoop::Timeout timeout_;
};

class FdAwaiter {
 public:
  FdAwaiter(int fd, uint32_t event) : fd_(fd), event_(event) {}
  FdAwaiter(const FdAwaiter&) = delete;
  FdAwaiter& operator=(const FdAwaiter&) = delete;
  ~FdAwaiter() {
    if (root_ != nullptr) LoopAccess::fd_waiters(root_->loop()).cancel(fd_, event_, *root_);
  }

  bool await_ready() const noexcept { return false; }
  template <TaskPromise P>
  bool await_suspend(std::coroutine_handle<P> coroutine) {
    TaskRoot& root = *coroutine.promise().root;
    const uint64_t epoch = root.suspend(coroutine);
    status_ = LoopAccess::fd_waiters(root.loop()).wait(fd_, event_, root.shared_from_this(), epoch);
    if (status_.ok()) root_ = &root;
    return status_.ok();
  }
  absl::Status await_resume() {
    root_ = nullptr;
    return std::move(status_);
  }

 private:
  const int fd_;
  const uint32_t event_;
  TaskRoot* root_ = nullptr;  // while it waits
  absl::Status status_;
};

class HopAwaiter {
 public:
  explicit HopAwaiter(IOLoop& target) : target_(target) {}

  bool await_ready() const noexcept { return false; }
  template <TaskPromise P>
  bool await_suspend(std::coroutine_handle<P> coroutine) {
    TaskRoot& root = *coroutine.promise().root;
    if (&root.loop() == &target_) return false;  // here already
    root.hop_when_suspended(coroutine, target_, &refused_);
    return true;
  }
  bool await_resume() const noexcept { return !refused_; }

 private:
  IOLoop& target_;
  bool refused_ = false;
};

}  // namespace internal

// co_await sleep_for(d): goes on after at least `d`. Always suspends, for zero too. Gives nothing.
template <class Rep, class Period>
internal::SleepAwaiter sleep_for(std::chrono::duration<Rep, Period> delay) {
  return internal::SleepAwaiter(internal::saturating_nanoseconds(delay));
}

// co_await readable(fd), writable(fd): goes on when fd is ready, or has an error or hang-up. Gives
// an absl::Status: AlreadyExists if another coroutine waits for the same, or fd has a handler;
// InvalidArgument for an fd that cannot be watched. fd is not registered any more when it goes on.
inline internal::FdAwaiter readable(int fd) { return internal::FdAwaiter(fd, IOLoop::READ); }
inline internal::FdAwaiter writable(int fd) { return internal::FdAwaiter(fd, IOLoop::WRITE); }

// co_await resume_on(loop): goes on in `loop`'s thread. Gives false, and stays, if it is closed.
inline internal::HopAwaiter resume_on(IOLoop& loop) { return internal::HopAwaiter(loop); }

}  // namespace gyre

#endif  // GYRE_LOOP_AWAITABLES_H_
