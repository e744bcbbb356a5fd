#ifndef GYRE_TESTING_VIRTUAL_TIME_H_
#define GYRE_TESTING_VIRTUAL_TIME_H_

#include <atomic>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "gyre/loop/io_loop.h"
#include "gyre/testing/manual_clock.h"

namespace gyre::testing {

// Virtual time above a real kernel: loops with real fds, whose clock jumps to the next deadline as
// soon as all of them that run are asleep, with no fd ready and nothing posted. So a timeout takes
// no time, and comes exactly when it is due.
//
//   VirtualTime time;
//   std::unique_ptr<IOLoop> loop = *time.create_loop({.backend = Backend::kEpoll});
//
// What this process has written to a socket pair or a pipe is there at once, so it comes before any
// timeout. What is still on its way does not: the work of a thread that runs no loop, the answer of
// another process, a segment of TCP that the kernel has yet to deliver, an fd that a loop of
// another thread is about to wake for. A Hold keeps time from running ahead of those.
//
// It has to outlive its loops. Any thread, but for create_loop().
class VirtualTime {
 public:
  // Keeps time where it is while it lives: the loops sleep for real, until something comes. May be
  // released in another thread than the one that it was made in.
  class Hold {
   public:
    explicit Hold(VirtualTime& time) : time_(&time) { time.holds_.fetch_add(1); }
    ~Hold() { release(); }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

    // Lets time go on before the end of its life. Idempotent; one thread at a time.
    void release() {
      if (time_ != nullptr) std::exchange(time_, nullptr)->holds_.fetch_sub(1);
    }

   private:
    VirtualTime* time_;
  };

  VirtualTime() = default;
  VirtualTime(const VirtualTime&) = delete;
  VirtualTime& operator=(const VirtualTime&) = delete;

  // IOLoop::create, for a loop that lives in this time: on options.backend, or on what
  // options.poller_factory makes. One thread at a time.
  absl::StatusOr<std::unique_ptr<IOLoop>> create_loop(IOLoopOptions options = {});

  // The loops' clock. A test may turn it as well: a loop that sleeps notices within a millisecond.
  ManualClock clock;

 private:
  friend class LoopFixture;
  class JumpingPoller;

  // The two halves of create_loop(), for those who put a poller of their own around ours.
  IOLoopOptions options(IOLoopOptions base);
  void attach(IOLoop& loop);

  // Turns the clock to the poller's deadline if nobody is in the way. True: the deadline has come.
  bool try_jump(const JumpingPoller& poller);

  std::atomic<int> holds_ = 0;
  std::mutex mutex_;
  std::vector<JumpingPoller*> pollers_;  // of the loops that live; under mutex_, with their state
};

}  // namespace gyre::testing

#endif  // GYRE_TESTING_VIRTUAL_TIME_H_
