#ifndef GYRE_TESTING_LOOP_FIXTURE_H_
#define GYRE_TESTING_LOOP_FIXTURE_H_

#include <chrono>
#include <memory>
#include <optional>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "gyre/loop/io_loop.h"
#include "gyre/testing/simulated_kernel.h"
#include "gyre/testing/virtual_time.h"

namespace gyre::testing {

// What time a loop on a real backend lives in.
enum class FixtureTime {
  kReal,
  kVirtual,  // jumps to the next deadline as soon as nothing is ready: see VirtualTime
};

struct LoopFixtureOptions {
  // unset: a SimulatedKernel, where nothing sleeps. Otherwise this backend, with real fds.
  std::optional<Backend> backend = std::nullopt;
  // Of a real backend; a simulated kernel has its own.
  FixtureTime time = FixtureTime::kReal;
  // The rest of the loop's options; its backend, clock and poller_factory are the fixture's.
  IOLoopOptions loop = {};
};

// A loop for a test, which runs until something is true, and never for ever. It belongs to no test
// framework. It is the thread's current loop while it lives. One thread only.
//
//   LoopFixture fixture;
//   fixture.loop().call_later(1h, [&] { ++count; });
//   EXPECT_TRUE(fixture.run_until([&] { return count == 1; }, 2h).ok());  // takes no time
//   EXPECT_TRUE(fixture.run_for(24h).ok());
class LoopFixture {
 public:
  using Duration = IOLoop::Duration;

  // Aborts, with the reason, if the kernel gives no loop.
  explicit LoopFixture(LoopFixtureOptions options = {});
  ~LoopFixture();
  LoopFixture(const LoopFixture&) = delete;
  LoopFixture& operator=(const LoopFixture&) = delete;

  IOLoop& loop() { return *loop_; }
  // Of a simulated loop; a checked error on a real backend.
  SimulatedKernel& kernel();
  // Of a loop in virtual time on a real backend; a checked error elsewhere.
  VirtualTime& virtual_time();

  // Runs the loop until condition() is true: it is asked once in each iteration, before the poll,
  // and in real time every few milliseconds besides. DeadlineExceeded after `limit` of the
  // loop's time; FailedPrecondition if nothing is left that could make it true (simulated only), or
  // inside a callback of the loop; Cancelled if someone else stopped the loop. The condition must
  // not throw.
  absl::Status run_until(absl::FunctionRef<bool()> condition,
                         Duration limit = std::chrono::seconds(5));

  // Runs the loop for this long, by its own clock. What is due at the end has run. Fails as
  // run_until does.
  absl::Status run_for(Duration duration);

  // Runs until the loop would sleep: nothing is due, posted or ready. DeadlineExceeded if it still
  // would not after `limit` of the loop's time; the rest as run_until.
  absl::Status run_until_idle(Duration limit = std::chrono::seconds(5));

 private:
  class ObservedPoller;
  struct Watch;

  absl::Status run(Watch& watch);

  std::unique_ptr<SimulatedKernel> kernel_;
  std::unique_ptr<VirtualTime> virtual_time_;
  Watch* watch_ = nullptr;  // of the run that is going on
  std::unique_ptr<IOLoop> loop_;
};

}  // namespace gyre::testing

#endif  // GYRE_TESTING_LOOP_FIXTURE_H_
