#ifndef GYRE_LOOP_FUTURE_H_
#define GYRE_LOOP_FUTURE_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <atomic>
#include <coroutine>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "gyre/loop/callback_queue.h"
#include "gyre/loop/log.h"
#include "gyre/loop/mutex.h"
#include "gyre/loop/task_root.h"

namespace gyre {

// What a future's get() throws when its promise died without a value.
class BrokenPromise : public std::runtime_error {
 public:
  BrokenPromise() : std::runtime_error("the promise of this future died without a value") {}
};

namespace internal {

// A void that can be stored.
struct Unit {};
template <class T>
using Stored = std::conditional_t<std::is_void_v<T>, Unit, T>;

// What a promise and its future share, less the value. Any thread.
class FutureStateBase {
 public:
  FutureStateBase() = default;
  FutureStateBase(const FutureStateBase&) = delete;
  FutureStateBase& operator=(const FutureStateBase&) = delete;
  ~FutureStateBase();

  bool done() const { return done_.load(std::memory_order_acquire); }

  // Posts `node` to `queue` when the future is done: now, if it is. One at a time.
  void post_when_done(std::shared_ptr<CallbackQueue> queue, CallbackNode* node);
  // Destroys the node, unless it was posted.
  void cancel_post();

  void set_exception(std::exception_ptr error);
  // The promise died: a value that is not there by now never comes.
  void break_promise();

 protected:
  // Makes what the caller stored visible; a second time is a checked error.
  void begin_completion();
  void undo_begin();
  void complete();
  void rethrow_if_failed() const;

 private:
  Mutex mutex_;
  bool claimed_ ABSL_GUARDED_BY(mutex_) = false;  // a value or an exception is being set
  std::atomic<bool> done_{false};
  std::exception_ptr error_;
  bool broken_ = false;
  std::shared_ptr<CallbackQueue> queue_ ABSL_GUARDED_BY(mutex_);
  CallbackNode* node_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

template <class T>
class FutureState : public FutureStateBase {
 public:
  template <class... A>
  void set_value(A&&... a) {
    begin_completion();
    struct Guard {  // the promise may still be set if T's constructor throws
      FutureState* state;
      ~Guard() {
        if (state != nullptr) state->undo_begin();
      }
    } guard{this};
    value_.emplace(std::forward<A>(a)...);
    guard.state = nullptr;
    complete();
  }

  T take() {
    rethrow_if_failed();
    if constexpr (!std::is_void_v<T>) return std::move(*value_);
  }

 private:
  std::optional<Stored<T>> value_;
};

// Suspends a coroutine until a future is done; it goes on where it was, on the loop that ran it.
template <class T>
class FutureAwaiter {
 public:
  explicit FutureAwaiter(std::shared_ptr<FutureState<T>> state) : state_(std::move(state)) {}
  FutureAwaiter(FutureAwaiter&&) = default;
  ~FutureAwaiter() {
    if (waiting_) state_->cancel_post();
  }

  bool await_ready() const { return state_->done(); }
  template <TaskPromise P>
  void await_suspend(std::coroutine_handle<P> coroutine);
  T await_resume() {
    waiting_ = false;
    return state_->take();
  }

 private:
  std::shared_ptr<FutureState<T>> state_;
  bool waiting_ = false;
};

}  // namespace internal

// A value of type T (or void) that comes later, or the exception that came instead. Move-only.
// Any thread, one at a time.
template <class T>
class Future {
 public:
  using value_type = T;

  // Names nothing; only to be assigned to.
  Future() = default;
  Future(Future&&) noexcept = default;
  Future& operator=(Future&&) noexcept = default;

  // False for a default one, and after it was moved from.
  bool valid() const { return state_ != nullptr; }

  // There is a value, an exception, or a promise that died without either.
  bool done() const {
    check_valid("done()");
    return state_->done();
  }

  // The value, moved out: to be called once. Throws the exception that was set, or BrokenPromise.
  // To call it before done() is a checked error: it would have to block.
  T get() {
    check_valid("get()");
    GYRE_CHECK(state_->done(),
               "get() of a future that is not done: await it, or use IOLoop::add_future");
    return state_->take();
  }

  // In a coroutine: waits, and gives what get() gives.
  internal::FutureAwaiter<T> operator co_await() {
    check_valid("co_await");
    return internal::FutureAwaiter<T>(state_);
  }

 private:
  template <class U>
  friend class Promise;
  friend class IOLoop;

  explicit Future(std::shared_ptr<internal::FutureState<T>> state) : state_(std::move(state)) {}
  void check_valid(const char* what) const {
    GYRE_CHECK(state_ != nullptr,
               "%s of a future that names nothing (default-constructed or moved from)", what);
  }

  std::shared_ptr<internal::FutureState<T>> state_;
};

// The other end of a future. Any thread may set the value, once. May outlive every loop.
template <class T>
class Promise {
 public:
  Promise() : state_(std::make_shared<internal::FutureState<T>>()) {}
  Promise(Promise&&) noexcept = default;
  Promise& operator=(Promise&& other) noexcept {
    if (this != &other) {
      abandon();
      state_ = std::move(other.state_);
      future_taken_ = other.future_taken_;
    }
    return *this;
  }
  // Without a value: the future is done, and its get() throws BrokenPromise.
  ~Promise() { abandon(); }

  // Once; a second time is a checked error.
  Future<T> get_future() {
    check_valid("get_future()");
    GYRE_CHECK(!future_taken_, "get_future(): the future of this promise was taken already");
    future_taken_ = true;
    return Future<T>(state_);
  }

  // Constructs the value from the arguments (none for void). Once, or set_exception: a second time
  // is a checked error. Callbacks and coroutines that wait run later, on their loops.
  template <class... A>
  void set_value(A&&... a) {
    check_valid("set_value()");
    state_->set_value(std::forward<A>(a)...);
  }
  void set_exception(std::exception_ptr error) {
    check_valid("set_exception()");
    state_->set_exception(std::move(error));
  }

 private:
  void abandon() {
    if (state_ != nullptr) state_->break_promise();
  }
  void check_valid(const char* what) const {
    GYRE_CHECK(state_ != nullptr, "%s of a promise that was moved from: its future is elsewhere",
               what);
  }

  std::shared_ptr<internal::FutureState<T>> state_;
  bool future_taken_ = false;
};

}  // namespace gyre

#endif  // GYRE_LOOP_FUTURE_H_
