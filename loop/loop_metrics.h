#ifndef GYRE_LOOP_LOOP_METRICS_H_
#define GYRE_LOOP_LOOP_METRICS_H_

#include "gyre/loop/cxx20.h"  // before all else

#include <chrono>
#include <cstdint>

#include "gyre/loop/counter.h"
#include "gyre/loop/duration_histogram.h"
#include "gyre/loop/running_call.h"

namespace gyre {

// What a loop has done since it was made. A snapshot, which any thread may take at any time: the
// counts were read one after the other while the loop went on, so each is exact and none goes back,
// but two may be an iteration apart. docs/observability.md says what to do about each.
struct LoopMetrics {
  uint64_t iterations = 0;
  uint64_t callbacks = 0;        // run, from add_callback and its kin
  uint64_t timeouts = 0;         // run
  uint64_t events = 0;           // handlers called
  uint64_t exceptions = 0;       // that callbacks threw
  uint64_t spins = 0;            // waits that began with a look around, see IOLoopOptions::spin
  uint64_t spins_won = 0;        // of these, those that found something
  uint64_t handlers = 0;         // registered, when the last poll began
  uint64_t timers = 0;           // set and not due, likewise; without idle timeouts
  uint64_t queue_depth = 0;      // callbacks that were queued when the last iteration began
  uint64_t max_queue_depth = 0;  // the most that it was

  // Callbacks that came from other threads and from signals; the loop's own posts take another way.
  uint64_t posts_from_outside = 0;
  // Sleeps that a post or a stop from another thread ended: each cost a system call on both sides.
  uint64_t wakeups = 0;
  // Posts from outside that cost none: the loop ran, or somebody else woke it.
  uint64_t wakeups_saved = 0;

  std::chrono::nanoseconds busy{0};  // outside of the poller, in iterations that have ended
  std::chrono::nanoseconds idle{0};  // waiting in the poller
  bool polling = false;              // in the poller at the moment
  // Since it left its poller, of the iteration that goes on; zero while it waits or does not run. A
  // loop that is stuck shows here, and in none of the counts.
  std::chrono::nanoseconds away{0};

  // IOStreams of this loop, whoever made them.
  uint64_t connections = 0;  // open
  uint64_t bytes_received = 0;
  uint64_t bytes_sent = 0;  // taken by the kernel

  // How long the loop stayed away from its poller, for every iteration: so long an fd that becomes
  // ready meanwhile has to wait, and so late the loop may come to a timer.
  DurationHistogram lag;
  // When timeouts ran, minus when they were due; every one, but for idle timeouts, which are coarse
  // by design. The clock is not read for each: of fast ones in a row, up to 64 count as the first.
  DurationHistogram timer_lateness;
  // From a post to its run, whoever posted; a wake-up is in it. One post in 256 on average is
  // timed, drawn at random so that no pattern of posts escapes, or is seen only; on the real clock.
  DurationHistogram post_latency;

  // The share of its time that the loop worked, from 0 to 1; since it was made, or since `earlier`.
  double busy_share() const { return busy_share(LoopMetrics()); }
  double busy_share(const LoopMetrics& earlier) const {
    const auto worked = static_cast<double>((busy - earlier.busy).count());
    const auto all = worked + static_cast<double>((idle - earlier.idle).count());
    return all > 0 ? worked / all : 0;
  }
};

namespace internal {

// The counts behind it that the loop itself keeps, on lines of their own. What changes with each
// event or call comes first, what changes with each iteration then.
struct alignas(64) LoopCounters {
  Counter bytes_received, bytes_sent;  // net/ counts these, and connections
  RunningCall running;

  alignas(64) Counter iterations;
  Counter callbacks, timeouts, events, wakeups, busy_nanoseconds, idle_nanoseconds, polling;
  Counter handlers, timers, spins, spins_won, connections;
  Counter awake_since;  // when the loop came out of its poller last, on its clock

  DurationRecorder lag;
  DurationRecorder timer_lateness;
};

}  // namespace internal
}  // namespace gyre

#endif  // GYRE_LOOP_LOOP_METRICS_H_
