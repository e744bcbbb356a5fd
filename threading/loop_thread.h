#ifndef GYRE_THREADING_LOOP_THREAD_H_
#define GYRE_THREADING_LOOP_THREAD_H_

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gyre/loop/io_loop.h"

namespace gyre {

// Makes a loop as IOLoop::create does, and fails as it does. Called once for each loop, by one
// thread at a time; the loop is given to another thread then.
using LoopFactory = std::function<absl::StatusOr<std::unique_ptr<IOLoop>>(IOLoopOptions)>;

struct LoopThreadOptions {
  // Of the thread, and of its loop in logs and metrics.
  std::string name = "gyre";
  Backend backend = Backend::kDefault;
  // Binds the thread to this CPU; unset: the kernel moves it about.
  std::optional<int> cpu = std::nullopt;
  // For what nobody waits for at once: see batch_this_thread().
  bool batch = false;
  // See IOLoopOptions.
  std::chrono::nanoseconds spin{0};
  // Makes the loop, instead of IOLoop::create (nullptr); in the thread that calls create(). For
  // tests in a time of their own, see gyre/testing/virtual_time.h.
  LoopFactory make_loop = nullptr;
};

// One thread that runs one loop. Owns both. Any thread, but not its own for join() and the
// destructor.
class LoopThread {
 public:
  // Returns once the loop runs. Fails as IOLoop::create does, ResourceExhausted without a thread,
  // InvalidArgument for a CPU that the thread cannot be bound to, Unimplemented where none can be.
  static absl::StatusOr<std::unique_ptr<LoopThread>> create(LoopThreadOptions options = {});

  // stop() and join(), then the loop is closed; its fds stay open.
  ~LoopThread();
  LoopThread(const LoopThread&) = delete;
  LoopThread& operator=(const LoopThread&) = delete;

  // Valid until the LoopThread is destroyed.
  IOLoop& loop() { return *loop_; }

  // Asks the thread to end after its current iteration; what is queued does not run any more.
  // Idempotent. Signal-safe.
  void stop();
  // Waits until the thread has ended. Idempotent; by one thread at a time.
  void join();

 private:
  explicit LoopThread(std::unique_ptr<IOLoop> loop) : loop_(std::move(loop)) {}
  void run(const LoopThreadOptions& options);

  std::unique_ptr<IOLoop> loop_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace gyre

#endif  // GYRE_THREADING_LOOP_THREAD_H_
