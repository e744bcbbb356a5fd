#include "gyre/tests/support/loop_fixture.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <utility>

#include "gyre/loop/poller/poller.h"
#include "gyre/loop/poller/poller_factory.h"
#include "gyre/testing/forwarding_poller.h"
#include "gyre/tests/support/kqueue_backend.h"

namespace gyre::testing {

using std::chrono::nanoseconds;

std::vector<Backend> all_backends() {
  const std::vector<Backend> system = available_backends();
  if (std::find(system.begin(), system.end(), Backend::kKqueue) == system.end()) {
    internal::replace_backend(Backend::kKqueue, &create_kqueue_poller);
  }
  return available_backends();
}

namespace {

// Fails the test where the loop would wait for a deadline in real time.
class TimelessPoller final : public ForwardingPoller {
 public:
  TimelessPoller(std::unique_ptr<Poller> poller, ManualClock& clock)
      : ForwardingPoller(std::move(poller)), clock_(clock) {}

  WaitResult wait(nanoseconds timeout) override {
    if (timeout > nanoseconds::zero() && timeout < kDeadline / 2) {
      ADD_FAILURE() << "the loop waits for a deadline in " << timeout.count()
                    << " ns: this test needs TestTime::kVirtual";
    }
    const Patience patience(timeout);
    const WaitResult result = ForwardingPoller::wait(timeout);
    // A limit counts, or a failing test would never end.
    if (timeout > nanoseconds::zero() && !patience.left()) clock_.advance(timeout);
    return result;
  }
  WaitResult wait_for_wake(nanoseconds timeout) override {
    return timeout > nanoseconds::zero() ? wait(timeout) : forward_wait_for_wake(timeout);
  }

 private:
  ManualClock& clock_;
};

// Options of a loop for which time stands still.
IOLoopOptions without_time(ManualClock& clock, IOLoopOptions options) {
  options.clock = &clock;
  options.poller_factory =
      [&clock, backend = options.backend,
       inner = std::move(options.poller_factory)]() -> absl::StatusOr<std::unique_ptr<Poller>> {
    absl::StatusOr<std::unique_ptr<Poller>> poller = inner ? inner() : create_poller(backend);
    if (!poller.ok()) return poller.status();
    return std::make_unique<TimelessPoller>(*std::move(poller), clock);
  };
  return options;
}

}  // namespace

LoopTest::LoopTest(TestTime time) : time_(time) {
  IOLoop::clear_current();
  loop_ = make_loop("test");
}

LoopTest::~LoopTest() {
  loop_.reset();
  IOLoop::clear_current();
}

std::unique_ptr<IOLoop> LoopTest::make_loop(std::string name) {
  IOLoopOptions options;
  options.name = std::move(name);
  options.time_slice = std::chrono::hours(1);
  return make_loop(std::move(options));
}

std::unique_ptr<IOLoop> LoopTest::make_loop(IOLoopOptions options) {
  options.backend = GetParam();
  if (!options.make_current.has_value()) options.make_current = false;
  absl::StatusOr<std::unique_ptr<IOLoop>> loop = nullptr;
  if (options.clock != nullptr || time_ == TestTime::kReal) {
    loop = IOLoop::create(std::move(options));
  } else if (time_ == TestTime::kVirtual) {
    loop = virtual_time_.create_loop(std::move(options));
  } else {
    loop = IOLoop::create(without_time(virtual_time_.clock, std::move(options)));
  }
  EXPECT_TRUE(loop.ok()) << loop.status();
  return loop.ok() ? std::move(*loop) : nullptr;
}

void LoopTest::use_time(TestTime time) {
  time_ = time;
  loop_ = make_loop("test");
}

void LoopTest::run(IOLoop& loop) {
  // On a thread of its own: the loop's clock may be a manual one.
  Event returned;
  std::thread watchdog([&] {
    if (returned.wait()) return;
    ADD_FAILURE() << "nobody stopped the loop";
    loop.stop();
  });
  const absl::Status status = loop.start();
  returned.set();
  watchdog.join();
  EXPECT_TRUE(status.ok()) << status;
}

void LoopTest::run_turns(IOLoop& loop, int polls) {
  std::function<void()> turn = [&] {
    if (polls-- > 0) {
      loop.add_callback(turn);
    } else {
      loop.stop();
    }
  };
  loop.add_callback(turn);
  run(loop);
}

LoopInThread::LoopInThread(IOLoop& loop) : loop_(loop) {
  auto running = std::make_shared<Event>();
  loop.add_callback([running] { running->set(); });
  thread_ = std::thread([&loop] {
    const absl::Status status = loop.start();
    EXPECT_TRUE(status.ok()) << status;
  });
  EXPECT_TRUE(running->wait());
}

void LoopInThread::stop() {
  if (!thread_.joinable()) return;
  loop_.stop();
  thread_.join();
}

}  // namespace gyre::testing
