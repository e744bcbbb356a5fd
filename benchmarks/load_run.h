#ifndef GYRE_BENCHMARKS_LOAD_RUN_H_
#define GYRE_BENCHMARKS_LOAD_RUN_H_

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <vector>

#include "gyre/benchmarks/load_worker.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/task.h"
#include "gyre/threading/loop_pool.h"

namespace gyre::benchmarks {

// How long each part of a run takes.
struct LoadTimes {
  std::chrono::milliseconds warm_up{0};
  std::chrono::milliseconds window{1000};
};

// One load, from connecting to closing. It lives on one loop and asks a worker on each loop of a
// pool; nothing is shared between threads but what the workers count.
class LoadRun {
 public:
  // `loop` and `pool` are borrowed; the pool is stopped and joined before this is destroyed.
  LoadRun(IOLoop& loop, LoopPool& pool, const LoadOptions& options, int connections,
          LoadTimes times);

  // Called on `loop` as the window begins and ends.
  std::function<void()> on_window_begin, on_window_end;
  // Called on `loop` every few milliseconds.
  std::function<void(const LoadRun&)> on_progress;

  // Ends early once `interrupted` is true. Bounded: what does not connect within a minute, or is
  // not answered within ten seconds, is counted as missing.
  Task<LoadResult> run(const std::atomic<bool>& interrupted);

  std::chrono::nanoseconds measured() const { return measured_; }
  uint64_t connected() const;
  uint64_t answers() const;

 private:
  using Question = void (*)(LoadWorker&, std::function<void()> done);

  void begin(void (*what)(LoadWorker&));
  Task<bool> ask_all(IOLoop::Duration deadline, Question question,
                     const std::atomic<bool>* interrupted);
  Task<void> wait(IOLoop::Duration duration, const std::atomic<bool>& interrupted);
  Task<LoadResult> collect();
  void show_progress() const {
    if (on_progress) on_progress(*this);
  }

  IOLoop& loop_;
  const LoadTimes times_;
  const Pattern pattern_;
  std::vector<std::unique_ptr<LoadWorker>> workers_;
  std::vector<IOLoop*> loops_;
  std::chrono::nanoseconds measured_{0};
};

}  // namespace gyre::benchmarks

#endif  // GYRE_BENCHMARKS_LOAD_RUN_H_
