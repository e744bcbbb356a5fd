#ifndef GYRE_LOOP_RUN_SYNC_H_
#define GYRE_LOOP_RUN_SYNC_H_

// The parts of IOLoop::run_sync. Included by io_loop.h.

#include "gyre/loop/cxx20.h"  // before all else

#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gyre/loop/callback.h"
#include "gyre/loop/future.h"
#include "gyre/loop/task_root.h"

namespace gyre::internal {

// What awaiting an R gives: T for Task<T> and Future<T>, else R itself.
template <class R>
struct Awaited {
  using type = std::decay_t<R>;
};
template <>
struct Awaited<void> {
  using type = void;
};
template <class T>
struct Awaited<Task<T>> {
  using type = T;
};
template <class T>
struct Awaited<Future<T>> {
  using type = T;
};
template <class R>
using AwaitedValue = typename Awaited<R>::type;

// How run_sync gives a T.
template <class T>
struct StatusFor {
  using type = absl::StatusOr<T>;
};
template <>
struct StatusFor<void> {
  using type = absl::Status;
};
template <>
struct StatusFor<absl::Status> {
  using type = absl::Status;
};
template <class T>
struct StatusFor<absl::StatusOr<T>> {
  using type = absl::StatusOr<T>;
};

// What f throws, or nullptr.
template <class F>
std::exception_ptr exception_of(F&& f) {
#if defined(__cpp_exceptions)
  try {
    f();
  } catch (...) {
    return std::current_exception();
  }
#else
  f();
#endif
  return nullptr;
}

// Runs the Task that `bound` returns to its end; in task.h, which who returns Tasks includes.
template <class Bound>
void start_spawned(IOLoop& loop, Bound bound);

// Starts a chain of coroutines; take(promise) fetches its result, and tell() comes when nothing of
// it is left. In task.h as well.
template <class T, class Take, class Tell>
std::shared_ptr<TaskRoot> start_task(IOLoop& loop, Task<T> task, Take take, Tell tell);

// One run_sync. On the loop's thread, but for finish_elsewhere.
class SyncRunBase {
 public:
  explicit SyncRunBase(IOLoop& loop);

  void time_out();
  // run_sync is about to return: whatever has not happened by now never will.
  void end();

 protected:
  bool over() const { return over_; }
  void finish();
  // From the loop where a Task ended, which may be another.
  static void finish_elsewhere(const std::shared_ptr<SyncRunBase>& run);
  // Why there is no result, or OK. Rethrows what the function threw.
  absl::Status outcome();

  IOLoop& loop_;
  const std::shared_ptr<CallbackQueue> queue_;
  std::exception_ptr error_;
  std::shared_ptr<TaskRoot> root_;

 private:
  bool finished_ = false;
  bool timed_out_ = false;
  bool over_ = false;
};

template <class T>
class SyncRun final : public SyncRunBase, public std::enable_shared_from_this<SyncRun<T>> {
 public:
  using Result = typename StatusFor<T>::type;
  using SyncRunBase::SyncRunBase;

  template <class F>
  void begin(F& func);

  Result failed(const absl::Status& status) const { return Result(status); }

  Result result() {
    if (absl::Status status = outcome(); !status.ok()) return Result(status);
    if constexpr (std::is_void_v<T>) {
      return absl::OkStatus();
    } else {
      return Result(std::move(*value_));
    }
  }

 private:
  // Stores what f gives, or throws.
  template <class F>
  void store(F&& f) {
    error_ = exception_of([&] {
      if constexpr (std::is_void_v<T>) {
        f();
      } else {
        value_.emplace(f());
      }
    });
  }

  std::optional<Stored<T>> value_;
};

}  // namespace gyre::internal

#endif  // GYRE_LOOP_RUN_SYNC_H_
