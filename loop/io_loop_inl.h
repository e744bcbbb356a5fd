#ifndef GYRE_LOOP_IO_LOOP_INL_H_
#define GYRE_LOOP_IO_LOOP_INL_H_

// The templates of io_loop.h. Included by it, and by nothing else.

#include "gyre/loop/function_handler.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/run_sync.h"

namespace gyre {

namespace internal {

inline void LoopAccess::assert_here(const IOLoop& loop, const char* what) {
  loop.affinity_.assert_here(what);
}

template <class F>
void LoopAccess::call(IOLoop& loop, F&& f) {
  loop.guard_.run(std::forward<F>(f));
}

template <class T>
template <class F>
void SyncRun<T>::begin(F& func) {
  if (over()) return;
  using R = std::invoke_result_t<F&>;
  if constexpr (IsTask<R>::value || IsFuture<R>::value) {
    // What the function itself throws; what its Task throws comes with the result.
    std::optional<R> awaited;
    error_ = exception_of([&] { awaited.emplace(func()); });
    if (error_ != nullptr) return finish();
    if constexpr (IsTask<R>::value) {
      root_ = start_task(
          loop_, *std::move(awaited),
          [run = this->shared_from_this()](auto& promise) {
            run->store([&]() -> T { return promise.take(); });
          },
          [run = this->shared_from_this()] { finish_elsewhere(run); });
    } else {
      loop_.add_future(*std::move(awaited), [run = this->shared_from_this()](Future<T> future) {
        if (run->over()) return;
        run->store([&]() -> T { return future.get(); });
        run->finish();
      });
    }
  } else {
    store(func);
    finish();
  }
}

}  // namespace internal

template <class F>
void IOLoop::call(CallSite site, const char* what, F&& f) {
  iteration_clock_.expire();
  if (stall_monitor_ == nullptr) [[likely]]
    return guard_.run(f);
  call_watched(site, what, f);
}

template <class T, class H>
absl::Status IOLoop::add_handler(std::shared_ptr<T> object, H handler, uint32_t events,
                                 CallSite site) {
  GYRE_CHECK(object != nullptr, "add_handler: the object is null");
  const int fd = object->fileno();
  auto owned =
      std::make_unique<internal::ObjectHandler<T, H>>(std::move(object), std::move(handler), site);
  absl::Status status = register_handler(fd, *owned, events, Trigger::kLevel);
  if (status.ok()) static_cast<void>(owned.release());  // deletes itself when it is released
  return status;
}

template <class F, class... A>
IOLoop::Timeout IOLoop::schedule(TimePoint when, CallSite site, F&& f, A&&... args) {
  static_assert(internal::CallableOnce<F, A...>,
                "the callback of a timeout cannot be called like this");
  static_assert(!internal::ReturnsTask<F, A...>,
                "nobody would run the Task of this timeout: call spawn_callback in it");
  if (closed() || internal::fork_generation() != fork_generation_) return {};
  affinity_.assert_here("call_at");
  return Timeout(timers_.add(when, site, std::forward<F>(f), std::forward<A>(args)...));
}

template <class F, class... A>
bool IOLoop::spawn(CallSite site, F&& f, A&&... args) {
  using Bound = internal::Bound<std::decay_t<F>, std::decay_t<A>...>;
  GYRE_CHECK(!internal::is_null_callable(f), "spawn_callback: the callback is null");
  if constexpr (internal::ReturnsTask<F, A...>) {
    return queue_->post(
        site, [this, bound = Bound(std::forward<F>(f), std::forward<A>(args)...)]() mutable {
          internal::start_spawned(*this, std::move(bound));
        });
  } else {
    return queue_->post(site, std::forward<F>(f), std::forward<A>(args)...);
  }
}

template <class T, class F>
void IOLoop::add_future(Future<T> future, F callback) {
  static_assert(std::is_invocable_v<F, Future<T>>,
                "add_future: the callback is called with the future");
  future.check_valid("add_future");
  std::shared_ptr<internal::FutureState<T>> state = future.state_;
  state->post_when_done(
      queue_, internal::new_heap_node(CallSite(), std::move(callback), std::move(future)));
}

template <class F>
auto IOLoop::run_in_executor(F func) -> Future<std::invoke_result_t<F>> {
  using Result = std::invoke_result_t<F>;
  Promise<Result> promise;
  Future<Result> future = promise.get_future();
  Executor* executor = executor_.load(std::memory_order_acquire);
  // Refused: the work is destroyed, its promise with it, and the future throws.
  static_cast<void>((executor != nullptr ? *executor : default_executor())
                        .execute([func = std::move(func), promise = std::move(promise)]() mutable {
                          if (std::exception_ptr error = internal::exception_of([&] {
                                if constexpr (std::is_void_v<Result>) {
                                  func();
                                  promise.set_value();
                                } else {
                                  promise.set_value(func());
                                }
                              })) {
                            promise.set_exception(std::move(error));
                          }
                        }));
  return future;
}

template <class F>
auto IOLoop::run_sync(F&& func, std::optional<Duration> timeout) {
  using Value = internal::AwaitedValue<std::invoke_result_t<F&>>;
  auto run = std::make_shared<internal::SyncRun<Value>>(*this);
  if (absl::Status status = check_usable("run_sync"); !status.ok()) return run->failed(status);
  if (running()) {
    return run->failed(absl::FailedPreconditionError("run_sync inside a running loop"));
  }
  queue_->post(CallSite(), [run, &func] { run->begin(func); });
  Timeout limit;
  if (timeout.has_value()) limit = call_later(*timeout, [run] { run->time_out(); });
  absl::Status status = start();
  remove_timeout(limit);
  run->end();
  return status.ok() ? run->result() : run->failed(status);
}

}  // namespace gyre

#endif  // GYRE_LOOP_IO_LOOP_INL_H_
