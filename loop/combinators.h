#ifndef GYRE_LOOP_COMBINATORS_H_
#define GYRE_LOOP_COMBINATORS_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <chrono>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gyre/loop/cancellation.h"
#include "gyre/loop/run_sync.h"
#include "gyre/loop/task.h"

// Tasks side by side. A task that is not waited for any more is destroyed where it is suspended,
// and with it what it awaits: that is how gyre cancels. Loop thread only.

namespace gyre {

namespace internal {

// Several tasks that one coroutine waits for. Each is a chain of its own; the coroutine goes on
// when enough of them have ended, and the others are destroyed with the group.
template <class T>
class TaskGroup {
 public:
  explicit TaskGroup(std::vector<Task<T>> tasks) : tasks_(std::move(tasks)) {}
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;
  ~TaskGroup() {
    if (shared_ != nullptr) end();
  }

  // Starts them in the order given. True: `needed` of them have ended, nothing to wait for.
  bool start(const std::shared_ptr<TaskRoot>& parent, uint64_t epoch, size_t needed) {
    shared_ = std::make_shared<Shared>(parent, epoch, needed, tasks_.size());
    loop_ = &parent->loop();
    for (size_t i = 0; i < tasks_.size() && shared_->needed > 0; ++i) {
      roots_.push_back(start_task(
          *loop_, std::move(tasks_[i]),
          // On the loop where the task ended; the group's own is told after that.
          [shared = shared_, i](auto& promise) {
            shared->results[i].error = exception_of([&] {
              if constexpr (std::is_void_v<T>) {
                promise.take();
                shared->results[i].value.emplace();
              } else {
                shared->results[i].value.emplace(promise.take());
              }
            });
          },
          [shared = shared_, i] { ended(shared, i); }));
    }
    shared_->starting = false;
    return shared_->needed == 0;
  }

  // Resumes the parent, which is suspended, now, whatever has ended.
  void interrupt() {
    if (shared_->needed == 0) return;
    shared_->needed = 0;
    shared_->resume_parent();
  }

  // The parent waits no longer: nothing resumes it.
  void release_parent() { shared_->needed = 0; }

  // No task runs after this.
  void end() {
    shared_->needed = 0;
    for (const std::shared_ptr<TaskRoot>& root : std::exchange(roots_, {})) root->abandon(*loop_);
  }

  struct Result {
    std::optional<Stored<T>> value;
    std::exception_ptr error;
    bool ended = false;

    T take() {
      if (error != nullptr) std::rethrow_exception(error);
      if constexpr (!std::is_void_v<T>) return *std::move(value);
    }
  };
  Result& result(size_t i) { return shared_->results[i]; }
  std::optional<size_t> first() const { return shared_->first; }

 private:
  struct Shared {
    Shared(std::shared_ptr<TaskRoot> p, uint64_t e, size_t n, size_t size)
        : parent(std::move(p)),
          queue(LoopAccess::queue(parent->loop())),
          epoch(e),
          needed(n),
          results(size) {}

    // Later: a task of the group may be on the stack, and the parent is about to destroy it.
    void resume_parent() {
      queue->post(CallSite(), [root = parent, at = epoch] { root->resume(at); });
    }

    const std::shared_ptr<TaskRoot> parent;
    const std::shared_ptr<CallbackQueue> queue;
    const uint64_t epoch;
    size_t needed;
    std::vector<Result> results;
    std::optional<size_t> first;
    bool starting = true;
  };

  static void ended(const std::shared_ptr<Shared>& shared, size_t i) {
    if (!shared->queue->running_here()) {
      shared->queue->post(CallSite(), [shared, i] { count(*shared, i); });
      return;
    }
    count(*shared, i);
  }
  static void count(Shared& shared, size_t i) {
    shared.results[i].ended = true;
    if (!shared.first.has_value()) shared.first = i;
    if (shared.needed == 0 || --shared.needed > 0 || shared.starting) return;
    shared.resume_parent();
  }

  std::vector<Task<T>> tasks_;
  std::vector<std::shared_ptr<TaskRoot>> roots_;
  std::shared_ptr<Shared> shared_;
  IOLoop* loop_ = nullptr;
};

// co_await: runs the group until `needed` of its tasks have ended, or `limit`, or the token.
template <class T>
class GroupAwaiter {
 public:
  GroupAwaiter(TaskGroup<T>& group, size_t needed,
               std::optional<IOLoop::Duration> limit = std::nullopt, CancellationToken token = {})
      : group_(group), needed_(needed), limit_(limit), token_(std::move(token)) {}
  GroupAwaiter(const GroupAwaiter&) = delete;
  GroupAwaiter& operator=(const GroupAwaiter&) = delete;
  ~GroupAwaiter() { disarm(); }

  bool await_ready() const noexcept { return false; }
  template <TaskPromise P>
  bool await_suspend(std::coroutine_handle<P> coroutine) {
    const std::shared_ptr<TaskRoot> root = coroutine.promise().root->shared_from_this();
    if (group_.start(root, root->suspend(coroutine), needed_)) return false;
    // By one of the tasks, or before. The parent goes on by itself, and may be with another loop
    // when a post to this one would come to it.
    if (token_.cancelled()) {
      status_ = absl::CancelledError("cancelled");
      group_.release_parent();
      return false;
    }
    if (limit_.has_value()) {
      loop_ = &root->loop();
      timeout_ = loop_->call_later(*limit_, [this] {
        status_ = absl::DeadlineExceededError("with_timeout: the time is over");
        group_.interrupt();
      });
    }
    listener_ = token_.on_cancel([this] {
      status_ = absl::CancelledError("cancelled");
      group_.interrupt();
    });
    return true;
  }
  absl::Status await_resume() {
    disarm();
    return std::move(status_);
  }

 private:
  void disarm() {
    if (loop_ != nullptr) std::exchange(loop_, nullptr)->remove_timeout(timeout_);
    token_.forget(std::exchange(listener_, 0));
  }

  TaskGroup<T>& group_;
  const size_t needed_;
  const std::optional<IOLoop::Duration> limit_;
  const CancellationToken token_;
  IOLoop* loop_ = nullptr;
  IOLoop::Timeout timeout_;
  uint64_t listener_ = 0;
  absl::Status status_;
};

template <class T>
std::vector<Task<T>> one_task(Task<T> task) {
  std::vector<Task<T>> tasks;
  tasks.push_back(std::move(task));
  return tasks;
}

template <class T>
Task<T> await_future(Future<T> future) {
  co_return co_await future;
}

// The one task of a group, as run_sync would give it.
template <class T>
Task<typename StatusFor<T>::type> run_limited(Task<T> task, std::optional<IOLoop::Duration> limit,
                                              CancellationToken token) {
  using Result = typename StatusFor<T>::type;
  if (token.cancelled()) co_return Result(absl::CancelledError("cancelled"));
  TaskGroup<T> group(one_task(std::move(task)));
  GroupAwaiter<T> awaiter(group, 1, limit, std::move(token));
  const absl::Status status = co_await awaiter;
  if (!group.result(0).ended) {
    group.end();
    co_return Result(status);
  }
  if constexpr (std::is_void_v<T>) {
    group.result(0).take();
    co_return absl::OkStatus();
  } else {
    co_return Result(group.result(0).take());
  }
}

}  // namespace internal

// co_await with_timeout(d, task or future): its result as absl::StatusOr<T> (absl::Status for
// void), or DeadlineExceeded after `d`, and then the task is destroyed. Its exception is thrown.
template <class Rep, class Period, class T>
Task<typename internal::StatusFor<T>::type> with_timeout(std::chrono::duration<Rep, Period> limit,
                                                         Task<T> task) {
  return internal::run_limited(std::move(task), internal::saturating_nanoseconds(limit),
                               CancellationToken());
}
template <class Rep, class Period, class T>
Task<typename internal::StatusFor<T>::type> with_timeout(std::chrono::duration<Rep, Period> limit,
                                                         Future<T> future) {
  return with_timeout(limit, internal::await_future(std::move(future)));
}

// The same until the token is cancelled: Cancelled.
template <class T>
Task<typename internal::StatusFor<T>::type> with_cancellation(CancellationToken token,
                                                              Task<T> task) {
  return internal::run_limited(std::move(task), std::optional<IOLoop::Duration>(),
                               std::move(token));
}
template <class T>
Task<typename internal::StatusFor<T>::type> with_cancellation(CancellationToken token,
                                                              Future<T> future) {
  return with_cancellation(std::move(token), internal::await_future(std::move(future)));
}

// co_await when_all(tasks): runs them side by side; their results in order. When all have ended,
// the first exception, in that order, is thrown.
template <class T>
requires(!std::is_void_v<T>) Task<std::vector<T>> when_all(std::vector<Task<T>> tasks) {
  const size_t count = tasks.size();
  internal::TaskGroup<T> group(std::move(tasks));
  if (count > 0) {
    internal::GroupAwaiter<T> awaiter(group, count);
    static_cast<void>(co_await awaiter);
  }
  std::vector<T> results;
  results.reserve(count);
  for (size_t i = 0; i < count; ++i) results.push_back(group.result(i).take());
  co_return results;
}
inline Task<void> when_all(std::vector<Task<void>> tasks) {
  const size_t count = tasks.size();
  internal::TaskGroup<void> group(std::move(tasks));
  if (count > 0) {
    internal::GroupAwaiter<void> awaiter(group, count);
    static_cast<void>(co_await awaiter);
  }
  for (size_t i = 0; i < count; ++i) group.result(i).take();
}

// What when_any gives: which task was first, and its result.
template <class T>
struct FirstOf {
  size_t index;
  internal::Stored<T> value;
};

// co_await when_any(tasks), at least one: runs them side by side until one has ended, and destroys
// the others. Throws if that one threw.
template <class T>
Task<FirstOf<T>> when_any(std::vector<Task<T>> tasks) {
  GYRE_CHECK(!tasks.empty(), "when_any of no task would wait for ever");
  internal::TaskGroup<T> group(std::move(tasks));
  internal::GroupAwaiter<T> awaiter(group, 1);
  static_cast<void>(co_await awaiter);
  group.end();
  const size_t index = *group.first();
  if constexpr (std::is_void_v<T>) {
    group.result(index).take();
    co_return FirstOf<T>{index, {}};
  } else {
    co_return FirstOf<T>{index, group.result(index).take()};
  }
}

}  // namespace gyre

#endif  // GYRE_LOOP_COMBINATORS_H_
