#ifndef GYRE_TESTING_SIMULATED_KERNEL_H_
#define GYRE_TESTING_SIMULATED_KERNEL_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/poller/poller.h"
#include "gyre/testing/manual_clock.h"

namespace gyre::testing {

// A kernel of the test's own making, for one loop: virtual file descriptors, and time that jumps to
// where the loop would sleep to. So nothing sleeps, and what depends on time is exact.
//
//   SimulatedKernel kernel;
//   std::unique_ptr<IOLoop> loop = *IOLoop::create(kernel.options());
//   const int fd = kernel.open();
//   loop->add_handler(fd, handler, IOLoop::READ);
//   loop->call_later(1h, [&] { kernel.set_ready(fd, IOLoop::READ); });
//
// A virtual fd is a number that the loop may watch; read(2) and write(2) know nothing of it. Other
// threads may post to the loop while it runs, but time does not wait for them: where the order
// matters, let the loop's own callbacks drive the test.
//
// It has to outlive the loop. The loop's thread only, except where it says otherwise.
class SimulatedKernel {
 public:
  SimulatedKernel() = default;
  SimulatedKernel(const SimulatedKernel&) = delete;
  SimulatedKernel& operator=(const SimulatedKernel&) = delete;

  // Options of a loop that lives in this kernel. It does not become current.
  IOLoopOptions options(IOLoopOptions base = {});

  // A new virtual fd, ready for nothing. Numbers are not used again; none is one of the process's.
  int open();
  // The kernel forgets the fd, as the real ones do, also while the loop still watches it.
  void close(int fd);
  // What the fd is ready for from now on: IOLoop::READ, WRITE, ERROR.
  void set_ready(int fd, uint32_t events);

  // What the loop watches the fd for; nullopt: not at all.
  std::optional<uint32_t> watched(int fd) const;

  ManualClock clock;

  // ---- Seen from below: for tests of a loop's dealings with its poller

  std::vector<std::chrono::nanoseconds> waits;  // the timeout of each; negative: none
  std::atomic<int> wakes = 0;                   // wake-ups written
  std::map<int, uint64_t> tokens;               // of what is registered
  // Runs in each wait. May add events, or an errno that the wait fails with.
  std::function<void(std::vector<Poller::Event>& events, int& error)> during_wait;
  // Runs where a wait would never end: no timeout, nothing ready. Unset: the wait fails with
  // EDEADLK, so that the loop's start() says so instead of hanging.
  std::function<void()> on_deadlock;
  // What the next registrations fail with.
  absl::Status add_status;
  // Whether any number may be registered, or only what open() gave.
  bool any_fd = false;

 private:
  friend class SimulatedPoller;

  struct File {
    uint32_t ready = 0;
    bool news = false;  // since the last edge-triggered report
    bool watched = false;
    uint32_t interest = 0;
    Trigger trigger = Trigger::kLevel;
  };

  absl::Status watch(int fd, uint32_t interest, uint64_t token, Trigger trigger);
  void collect(std::vector<Poller::Event>& events);

  std::map<int, File> files_;
  int last_fd_ = 1 << 20;
  int next_reported_ = 0;  // more are ready than fit in a wait: the next begins here
};

}  // namespace gyre::testing

#endif  // GYRE_TESTING_SIMULATED_KERNEL_H_
