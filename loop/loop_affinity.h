#ifndef GYRE_LOOP_LOOP_AFFINITY_H_
#define GYRE_LOOP_LOOP_AFFINITY_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"

namespace gyre::internal {

// Which thread a loop belongs to at the moment, as a capability of clang's thread-safety analysis:
// what is guarded by it may be used only after assert_here().
//
//     idle <--> running (a thread is in start())
//     idle <--> leased  (close(), or a task that is abandoned from elsewhere)
//
// While a loop is idle any one thread may use it, so assert_here() lets every thread pass then.
class ABSL_LOCKABLE LoopAffinity {
 public:
  explicit LoopAffinity(const std::string& loop_name) : loop_name_(loop_name) {}

  // Any thread. True in the thread that runs the loop.
  bool here() const { return owner_.load(std::memory_order_relaxed) == thread_id(); }

  // Any thread.
  bool running() const { return owner_.load(std::memory_order_relaxed) > 0; }

  // Prints the loop's name, its thread and the caller's, and aborts, if another thread runs the
  // loop.
  void assert_here(const char* what) const ABSL_ASSERT_EXCLUSIVE_LOCK() {
    const int64_t owner = owner_.load(std::memory_order_relaxed);
    if (owner > 0 && owner != thread_id_) [[unlikely]]
      check_here(what, owner);
  }

  // idle -> running. False: a thread runs it already. Waits while it is leased.
  bool try_run() ABSL_EXCLUSIVE_TRYLOCK_FUNCTION(true);
  void end_run() ABSL_UNLOCK_FUNCTION();

  // idle -> leased. False: a thread runs it. Waits while another thread leases it.
  bool try_lease() ABSL_EXCLUSIVE_TRYLOCK_FUNCTION(true);
  // Does not wait: false if it is leased, too.
  bool try_lease_now();
  void end_lease() ABSL_UNLOCK_FUNCTION();

 private:
  static constexpr int64_t kIdle = 0;
  static constexpr int64_t kLeased = -1;

  // The calling thread's: never 0. In a child of fork() it is the parent's, which does no harm: its
  // loops refuse every call there.
  static int64_t thread_id() {
    if (thread_id_ == 0) [[unlikely]]
      thread_id_ = read_thread_id();
    return thread_id_;
  }
  static int64_t read_thread_id();
  static constinit inline thread_local int64_t thread_id_ = 0;

  bool try_take(int64_t owner);
  // The same, where the thread may not have asked for its id yet.
  void check_here(const char* what, int64_t owner) const;

  // kIdle, kLeased, or the id of the thread that runs. Acquire on taking pairs with release on
  // giving back: one thread's use of the loop comes before the next one's.
  std::atomic<int64_t> owner_{kIdle};
  const std::string& loop_name_;
};

}  // namespace gyre::internal

#endif  // GYRE_LOOP_LOOP_AFFINITY_H_
