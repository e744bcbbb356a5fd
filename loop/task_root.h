#ifndef GYRE_LOOP_TASK_ROOT_H_
#define GYRE_LOOP_TASK_ROOT_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <concepts>
#include <condition_variable>
#include <coroutine>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "gyre/loop/mutex.h"

namespace gyre {

class IOLoop;

namespace internal {

class TaskRegistry;

// A chain of coroutines that was spawned or run as one: what the loop knows of it. The outermost
// coroutine awaits the next, and so on; at most the innermost runs.
//
//     created --> running <--> suspended (epoch n)  --> finished | destroyed
//
// Whoever is to resume the chain holds the root and the epoch of the suspension. A resumption that
// comes late, after the chain went on or was destroyed, finds another epoch and does nothing.
//
// A root is bound to the loop that runs it or on which it is suspended; resume_on moves it. Used on
// that loop's thread, but for what says otherwise.
class TaskRoot : public std::enable_shared_from_this<TaskRoot> {
 public:
  TaskRoot(const TaskRoot&) = delete;
  TaskRoot& operator=(const TaskRoot&) = delete;
  virtual ~TaskRoot() = default;

  IOLoop& loop() const { return *loop_; }

  // Binds the root to its loop and runs the outermost coroutine until it suspends. Once.
  void start(std::coroutine_handle<> outermost);

  // Called by an awaiter that suspends `innermost`: gives the epoch to resume it with.
  uint64_t suspend(std::coroutine_handle<> innermost) {
    suspended_ = innermost;
    return ++epoch_;
  }
  void resume(uint64_t epoch) {
    if (!gone_ && epoch == epoch_) run(suspended_);
  }

  // Goes on with `next` when the coroutine that runs now has suspended: every step starts from the
  // same place on the stack, so that a chain of any length needs none (g++ makes no tail calls at
  // -O0).
  void run_next(std::coroutine_handle<> next) { next_ = next; }
  void finish_when_suspended() { finished_ = true; }
  // *refused is set if `target` is closed; the coroutine goes on either way.
  void hop_when_suspended(std::coroutine_handle<> coroutine, IOLoop& target, bool* refused) {
    hop_ = {coroutine, &target, refused};
  }

  // Destroys the chain where it is suspended, and waits for that, while it does what other loops
  // ask of this one in the same way. From the thread of `caller`, the loop that the root was
  // started on. (Which loop it leases is not known before, so the analysis cannot follow.)
  void abandon(IOLoop& caller) ABSL_NO_THREAD_SAFETY_ANALYSIS;

 protected:
  explicit TaskRoot(IOLoop& loop) : loop_(&loop) {}

  // The outermost coroutine has ended: fetch its result. On the loop where it ended.
  virtual void on_finished() = 0;
  // Destroys the outermost coroutine, and what it awaits with it.
  virtual void destroy_frames() = 0;
  // After both, where the chain has ended by itself: tell who waits for it. Not before: who waits
  // may go on in another thread, and destroy what the coroutine's parameters refer to.
  virtual void on_gone() {}

 private:
  friend class TaskRegistry;

  struct Hop {
    std::coroutine_handle<> coroutine;
    IOLoop* target = nullptr;
    bool* refused = nullptr;
  };

  void run(std::coroutine_handle<> coroutine);
  bool leave_for_target();
  void finish();
  void destroy();
  void mark_gone();
  bool bound_to(const IOLoop& loop);

  std::coroutine_handle<> suspended_;
  std::coroutine_handle<> next_;
  Hop hop_;
  uint64_t epoch_ = 0;
  bool finished_ = false;
  bool running_ = false;  // on its loop's stack

  // Held while the binding changes, and by abandon() while it looks at a loop that is not its own.
  Mutex mutex_;
  std::condition_variable_any gone_changed_;
  IOLoop* loop_;
  bool gone_ = false;  // finished or destroyed

  // The registry's list, under the registry's mutex. It owns the root.
  TaskRoot* previous_ = nullptr;
  TaskRoot* following_ = nullptr;
  std::shared_ptr<TaskRoot> self_;
};

// The roots that are bound to one loop. Any thread: a root that hops here comes from another.
class TaskRegistry {
 public:
  // False: the loop is closed.
  bool add(TaskRoot& root);
  // Gives the ownership back; null if it is not in the list (any more).
  std::shared_ptr<TaskRoot> remove(TaskRoot& root);
  // Another loop wants the chain destroyed: destroy_asked() does, on this loop's thread.
  void ask_to_destroy(std::shared_ptr<TaskRoot> root);
  void destroy_asked(IOLoop& loop);
  // Destroys every chain, on the calling thread, and refuses what comes later.
  void close();
  // Chains that have not ended. Takes as long as there are many.
  size_t count();

 private:
  Mutex mutex_;
  TaskRoot* first_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::vector<std::shared_ptr<TaskRoot>> asked_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

// What each coroutine of a chain knows.
struct TaskPromiseBase {
  TaskRoot* root = nullptr;
  std::coroutine_handle<> continuation;  // who awaits this one; none: it is the outermost
};

template <class P>
concept TaskPromise = std::derived_from<P, TaskPromiseBase>;

}  // namespace internal
}  // namespace gyre

#endif  // GYRE_LOOP_TASK_ROOT_H_
