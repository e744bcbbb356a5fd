#ifndef GYRE_THREADING_LOOP_POOL_H_
#define GYRE_THREADING_LOOP_POOL_H_

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/mutex.h"
#include "gyre/threading/loop_dump.h"
#include "gyre/threading/loop_thread.h"

namespace gyre {

struct LoopPoolOptions {
  // 0: one for each usable CPU (affinity mask, cgroup quota).
  int threads = 0;
  // The threads and their loops are NAME-0, NAME-1, ...
  std::string name = "gyre";
  // Binds thread i to the i-th CPU of the affinity mask, round and round. Off by default: it helps
  // where nothing else runs on the machine, and costs where something does.
  bool pin_cpus = false;
  Backend backend = Backend::kDefault;
  // See IOLoopOptions.
  std::chrono::nanoseconds spin{0};
  // See LoopThreadOptions. It makes the loops of threads that serve the pool, too: a server's
  // acceptor.
  LoopFactory make_loop = nullptr;
};

// Several loops, each in a thread of its own, as one unit. Any thread.
class LoopPool {
 public:
  // Every loop runs on return. InvalidArgument for a negative `threads`, Unimplemented for
  // `pin_cpus` where threads cannot be bound; else as LoopThread::create.
  static absl::StatusOr<std::unique_ptr<LoopPool>> create(LoopPoolOptions options = {});

  // stop() and join(); then the loops are closed. Not from one of its threads.
  ~LoopPool();
  LoopPool(const LoopPool&) = delete;
  LoopPool& operator=(const LoopPool&) = delete;

  size_t size() const { return threads_.size(); }
  // Valid until the pool is destroyed. From 0 to size() - 1; another `i` is a checked error.
  IOLoop& loop(size_t i);
  const IOLoop& loop(size_t i) const;
  // Round robin, exact over all callers.
  IOLoop& next();
  // Posts a call of f to each loop: it may run in several at once, and does not where a loop was
  // stopped. f is destroyed after the last of them, by whichever thread that is.
  void for_each(absl::AnyInvocable<void(IOLoop&) const> f);

  // Every loop with its handlers, connections, timeouts and callbacks, for a person: see
  // dump_loops(). Waits `limit` at most, however stuck the loops are. For a program: LoopMetrics.
  std::string dump(std::chrono::nanoseconds limit = kDumpLimit) const;

  // As in the options; null where they had none.
  const LoopFactory& loop_factory() const { return make_loop_; }

  // Asks every thread to end after its current iteration; what is queued does not run any more.
  // Idempotent; also from the pool's threads. Not signal-safe: post it from a SignalHandler.
  void stop();
  // Waits until stop() was called, and then until every thread has ended: nothing runs after it.
  // Idempotent.
  void join();

 private:
  LoopPool() = default;

  LoopFactory make_loop_;
  std::vector<std::unique_ptr<LoopThread>> threads_;
  std::atomic<size_t> next_{0};

  internal::Mutex mutex_;
  std::condition_variable_any stopped_changed_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  internal::Mutex join_mutex_;  // one joiner at a time; the others find the threads joined
};

}  // namespace gyre

#endif  // GYRE_THREADING_LOOP_POOL_H_
