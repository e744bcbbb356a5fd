#ifndef GYRE_LOOP_TASK_H_
#define GYRE_LOOP_TASK_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <coroutine>
#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "gyre/loop/io_loop.h"

namespace gyre {

namespace internal {

template <class T, class Take, class Tell>
class TaskRootOf;
template <class Bound>
class SpawnedRoot;

// Where a coroutine that has ended hands over: to who awaits it, or to its root.
struct FinalAwaiter {
  bool await_ready() const noexcept { return false; }
  template <TaskPromise P>
  void await_suspend(std::coroutine_handle<P> coroutine) const noexcept {
    TaskPromiseBase& promise = coroutine.promise();
    if (promise.continuation != nullptr) {
      promise.root->run_next(promise.continuation);
    } else {
      promise.root->finish_when_suspended();
    }
  }
  void await_resume() const noexcept {}
};

template <class T>
class TaskPromiseOf : public TaskPromiseBase {
 public:
  std::suspend_always initial_suspend() const noexcept { return {}; }
  FinalAwaiter final_suspend() const noexcept { return {}; }
  void unhandled_exception() noexcept { error_ = std::current_exception(); }

  // The result, moved out, or the exception.
  T take() {
    rethrow_if_failed();
    return std::move(*value_);
  }
  std::exception_ptr take_error() { return std::exchange(error_, nullptr); }

  template <class U>
  requires std::is_constructible_v<T, U&&>
  void return_value(U&& value) { value_.emplace(std::forward<U>(value)); }

 protected:
  void rethrow_if_failed() const {
    if (error_ != nullptr) std::rethrow_exception(error_);
  }

 private:
  std::optional<T> value_;
  std::exception_ptr error_;
};

template <>
class TaskPromiseOf<void> : public TaskPromiseBase {
 public:
  std::suspend_always initial_suspend() const noexcept { return {}; }
  FinalAwaiter final_suspend() const noexcept { return {}; }
  void unhandled_exception() noexcept { error_ = std::current_exception(); }
  void return_void() const noexcept {}
  void take() const {
    if (error_ != nullptr) std::rethrow_exception(error_);
  }
  std::exception_ptr take_error() { return std::exchange(error_, nullptr); }

 private:
  std::exception_ptr error_;
};

}  // namespace internal

// A coroutine that gives a T (or void). Lazy: it runs when it is awaited by another Task, or given
// to IOLoop::spawn_callback or run_sync. Move-only; destroying it destroys the coroutine, wherever
// it is suspended. It runs on one loop at a time: on the one that runs who awaits it, until
// resume_on.
template <class T = void>
class [[nodiscard]] Task {
 public:
  struct promise_type : internal::TaskPromiseOf<T> {
    Task get_return_object() {
      return Task(std::coroutine_handle<promise_type>::from_promise(*this));
    }
  };
  using value_type = T;

  // Names nothing; only to be assigned to.
  Task() = default;
  Task(Task&& other) noexcept : coroutine_(std::exchange(other.coroutine_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      destroy();
      coroutine_ = std::exchange(other.coroutine_, nullptr);
    }
    return *this;
  }
  ~Task() { destroy(); }

  bool valid() const { return coroutine_ != nullptr; }

  // In a coroutine: runs the task, and gives its result or throws its exception. Once.
  auto operator co_await() {
    check_awaitable();
    return Awaiter{coroutine_};
  }

 private:
  template <class U, class Take, class Tell>
  friend class internal::TaskRootOf;
  template <class Bound>
  friend class internal::SpawnedRoot;

  struct Awaiter {
    std::coroutine_handle<promise_type> task;

    bool await_ready() const noexcept { return false; }
    template <internal::TaskPromise P>
    void await_suspend(std::coroutine_handle<P> awaiting) const noexcept {
      promise_type& promise = task.promise();
      promise.root = awaiting.promise().root;
      promise.continuation = awaiting;
      promise.root->run_next(task);
    }
    T await_resume() const { return task.promise().take(); }
  };

  explicit Task(std::coroutine_handle<promise_type> coroutine) : coroutine_(coroutine) {}

  void destroy() {
    if (coroutine_ != nullptr) std::exchange(coroutine_, nullptr).destroy();
  }
  void check_awaitable() const {
    GYRE_CHECK(coroutine_ != nullptr,
               "co_await of a task that names nothing (default-constructed or moved from)");
    GYRE_CHECK(coroutine_.promise().root == nullptr, "co_await of a task that was awaited already");
  }

  std::coroutine_handle<promise_type> coroutine_;
};

namespace internal {

// The root of a chain whose outermost coroutine is a Task<T>. take(promise) fetches its result, and
// tell() comes once nothing of the chain is left.
template <class T, class Take, class Tell>
class TaskRootOf : public TaskRoot {
 public:
  TaskRootOf(IOLoop& loop, Task<T> task, Take take, Tell tell)
      : TaskRoot(loop), task_(std::move(task)), take_(std::move(take)), tell_(std::move(tell)) {}

  void begin() {
    GYRE_CHECK(task_.valid(), "the task that was returned names nothing");
    task_.coroutine_.promise().root = this;
    start(task_.coroutine_);
  }

 protected:
  void on_finished() override { take_(task_.coroutine_.promise()); }
  void destroy_frames() override { task_ = Task<T>(); }
  void on_gone() override { tell_(); }

 private:
  Task<T> task_;
  Take take_;
  Tell tell_;
};

template <class T, class Take, class Tell>
std::shared_ptr<TaskRoot> start_task(IOLoop& loop, Task<T> task, Take take, Tell tell) {
  auto root = std::make_shared<TaskRootOf<T, Take, Tell>>(loop, std::move(task), std::move(take),
                                                          std::move(tell));
  root->begin();
  return root;
}

// Hands the exception of a spawned Task to the loop that spawned it, wherever it ended.
void report_task_error(IOLoop& home, const std::shared_ptr<CallbackQueue>& home_queue,
                       std::exception_ptr error);

// A spawned chain, with the function that made it: a coroutine lambda's captures live in it.
template <class Bound>
class SpawnedRoot final : public TaskRoot {
 public:
  using TaskType = std::invoke_result_t<Bound&>;

  SpawnedRoot(IOLoop& loop, Bound bound)
      : TaskRoot(loop),
        home_(loop),
        home_queue_(LoopAccess::queue(loop)),
        bound_(std::move(bound)) {}

  void begin() {
    task_ = bound_();
    GYRE_CHECK(task_.valid(), "the task that was returned names nothing");
    task_.coroutine_.promise().root = this;
    start(task_.coroutine_);
  }

 protected:
  void on_finished() override {
    if (std::exception_ptr error = task_.coroutine_.promise().take_error(); error != nullptr) {
      report_task_error(home_, home_queue_, std::move(error));
    }
  }
  void destroy_frames() override { task_ = TaskType(); }

 private:
  IOLoop& home_;
  const std::shared_ptr<CallbackQueue> home_queue_;
  Bound bound_;
  TaskType task_;
};

template <class Bound>
void start_spawned(IOLoop& loop, Bound bound) {
  std::make_shared<SpawnedRoot<Bound>>(loop, std::move(bound))->begin();
}

template <class T>
template <TaskPromise P>
void FutureAwaiter<T>::await_suspend(std::coroutine_handle<P> coroutine) {
  std::shared_ptr<TaskRoot> root = coroutine.promise().root->shared_from_this();
  const uint64_t epoch = root->suspend(coroutine);
  std::shared_ptr<CallbackQueue> queue = LoopAccess::queue(root->loop());
  waiting_ = true;
  state_->post_when_done(
      std::move(queue),
      new_heap_node(CallSite(), [root = std::move(root), epoch] { root->resume(epoch); }));
}

}  // namespace internal
}  // namespace gyre

#include "gyre/loop/awaitables.h"  // IWYU pragma: export

#endif  // GYRE_LOOP_TASK_H_
