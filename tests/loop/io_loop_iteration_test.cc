// The loop on a simulated kernel and clock: what it asks of its poller, and when.

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/testing/forwarding_poller.h"
#include "gyre/tests/support/log_capture.h"
#include "gyre/tests/support/on_destroy.h"
#include "gyre/tests/support/sim_poller.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using ::testing::ElementsAre;

class IOLoopIteration : public ::testing::Test {
 protected:
  void run() { EXPECT_TRUE(loop_->start().ok()); }

  LogCapture log_;
  SimKernel kernel_;
  std::unique_ptr<IOLoop> loop_ = make_simulated_loop(kernel_);
  std::vector<std::string> seen_;
};

TEST_F(IOLoopIteration, PollsWithTheTimeUntilTheNextDeadline) {
  loop_->call_later(milliseconds(250), [&] { loop_->stop(); });
  loop_->call_later(nanoseconds(1), [] {});
  run();
  EXPECT_THAT(kernel_.waits, ElementsAre(nanoseconds(1), milliseconds(250) - nanoseconds(1)));
}

TEST_F(IOLoopIteration, PollsWithoutWaitingWhileThereIsWork) {
  loop_->call_later(hours(1), [] {});
  loop_->add_callback([&] {
    loop_->add_callback([&] { loop_->call_later(milliseconds(0), [&] { loop_->stop(); }); });
  });
  run();
  EXPECT_THAT(kernel_.waits, ElementsAre(nanoseconds(0), nanoseconds(0)));
}

TEST_F(IOLoopIteration, PollsAlwaysBetweenTwoBatches) {
  int left = 10;
  std::function<void()> again = [&] {
    if (--left == 0) return loop_->stop();
    loop_->add_callback(again);
  };
  loop_->add_callback(again);
  run();
  EXPECT_EQ(kernel_.waits.size(), 9u);
}

TEST_F(IOLoopIteration, WaitsWithoutALimitWhenThereIsNothingToDo) {
  loop_->call_later(hours::max(), [] {});  // beyond the clock's range: nothing
  kernel_.during_wait = [&](auto&, int&) { std::thread([&] { loop_->stop(); }).join(); };
  run();
  EXPECT_THAT(kernel_.waits, ElementsAre(nanoseconds(-1)));
}

TEST_F(IOLoopIteration, PostsFromOtherThreadsWakeOncePerSleep) {
  int ran = 0;
  kernel_.during_wait = [&](auto&, int&) {
    std::thread([&] {
      for (int i = 0; i < 100; ++i) loop_->add_callback([&] { ++ran; });
      loop_->stop();
    }).join();
  };
  run();
  EXPECT_EQ(ran, 100);
  EXPECT_EQ(kernel_.wakes, 1);
  EXPECT_EQ(loop_->metrics().wakeups, 1u);
}

TEST_F(IOLoopIteration, PostsWhileTheLoopRunsDoNotWake) {
  loop_->add_callback([&] {
    std::thread([&] {
      for (int i = 0; i < 100; ++i) loop_->add_callback([] {});
      loop_->stop();
    }).join();
    loop_->add_callback([] {});
  });
  run();
  EXPECT_EQ(kernel_.wakes, 0);
}

TEST_F(IOLoopIteration, PostsBeforeStartDoNotWake) {
  loop_->add_callback([&] { loop_->stop(); });
  EXPECT_EQ(kernel_.wakes, 0);
  run();
  EXPECT_EQ(kernel_.wakes, 0);
}

TEST_F(IOLoopIteration, AWakeUpThatComesLateDisturbsNothing) {
  // Guards the sleep that an event ended before the wake-up was seen.
  int polls = 0;
  kernel_.during_wait = [&](auto&, int&) {
    if (++polls == 1)
      std::thread([&] { loop_->add_callback([&] { seen_.push_back("posted"); }); }).join();
    if (polls == 2) ++kernel_.wakes;  // seen again
  };
  loop_->call_later(hours(1), [&] { loop_->stop(); });
  run();
  EXPECT_THAT(seen_, ElementsAre("posted"));
  EXPECT_EQ(loop_->metrics().wakeups, 1u);
}

TEST_F(IOLoopIteration, AWaitThatReturnsEarlyWithNothingFiresNothing) {
  // Guards against a poller that is interrupted, or a clock that is coarser than the delay.
  int early = 5;
  kernel_.during_wait = [&](auto&, int&) {
    if (early-- > 0) ++kernel_.wakes;  // no time passes
  };
  const IOLoop::TimePoint start = loop_->time();
  loop_->call_later(milliseconds(3), [&] {
    EXPECT_EQ(loop_->time() - start, milliseconds(3));
    loop_->stop();
  });
  run();
  EXPECT_EQ(kernel_.waits.size(), 6u);
}

TEST_F(IOLoopIteration, AReadinessThatIsNotTrueIsACallAndNothingElse) {
  // poll(2): a socket may be reported as ready and have nothing. The handler finds EAGAIN.
  FdPair pair = socket_pair();
  int calls = 0;
  ASSERT_TRUE(loop_
                  ->add_handler(
                      pair.a.get(),
                      [&](int fd, uint32_t events) {
                        ++calls;
                        EXPECT_EQ(events, IOLoop::READ);
                        char byte;
                        EXPECT_EQ(::read(fd, &byte, 1), -1);
                        EXPECT_EQ(errno, EAGAIN);
                      },
                      IOLoop::READ)
                  .ok());
  bool reported = false;
  kernel_.during_wait = [&](std::vector<Poller::Event>& events, int&) {
    if (!std::exchange(reported, true)) {
      events.push_back({kernel_.tokens[pair.a.get()], IOLoop::READ});
    }
  };
  loop_->call_later(milliseconds(10), [&] { loop_->stop(); });
  ASSERT_TRUE(loop_->start().ok());
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(loop_->remove_handler(pair.a.get()).ok()) << "it stays registered";
}

TEST_F(IOLoopIteration, EventsForWhatIsNotRegisteredAreDropped) {
  ASSERT_TRUE(loop_
                  ->add_handler(
                      5, [&](int, uint32_t) { seen_.push_back("5"); }, IOLoop::READ)
                  .ok());
  const uint64_t token = kernel_.tokens[5];
  ASSERT_TRUE(loop_->remove_handler(5).ok());
  ASSERT_TRUE(loop_
                  ->add_handler(
                      5, [&](int, uint32_t) { seen_.push_back("5 again"); }, IOLoop::READ)
                  .ok());
  kernel_.during_wait = [&](std::vector<Poller::Event>& events, int&) {
    events.push_back({token, IOLoop::READ});              // of the first registration
    events.push_back({kernel_.tokens[5], IOLoop::READ});  // of the second
    events.push_back({6, IOLoop::READ});                  // of none
    events.push_back({uint64_t{12} << 32 | 1000000, IOLoop::READ});
    events.push_back({UINT64_MAX, IOLoop::READ});
    loop_->stop();
  };
  run();
  EXPECT_THAT(seen_, ElementsAre("5 again"));
}

TEST_F(IOLoopIteration, EventsAreCutToTheInterestPlusError) {
  uint32_t got = 0;
  ASSERT_TRUE(loop_
                  ->add_handler(
                      5, [&](int, uint32_t events) { got = events; }, IOLoop::READ)
                  .ok());
  uint32_t given = IOLoop::READ | IOLoop::WRITE | IOLoop::ERROR;
  kernel_.during_wait = [&](std::vector<Poller::Event>& events, int&) {
    events.push_back({kernel_.tokens[5], given});
    loop_->stop();
  };
  run();
  EXPECT_EQ(got, IOLoop::READ | IOLoop::ERROR);
  got = 0;
  given = IOLoop::WRITE;
  run();
  EXPECT_EQ(got, 0u) << "the handler has nothing to be told";
}

TEST_F(IOLoopIteration, APollerThatFailsEndsTheRunWithItsErrorInsteadOfSpinning) {
  log_.expect(LogLevel::kError, "simulated");
  kernel_.during_wait = [&](auto&, int& error) { error = EBADF; };
  loop_->call_later(hours(1), [] {});
  const absl::Status status = loop_->start();
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(kernel_.waits.size(), 1u);
  kernel_.during_wait = nullptr;
  loop_->add_callback([&] { loop_->stop(); });
  EXPECT_TRUE(loop_->start().ok()) << "it may be started again";
}

TEST_F(IOLoopIteration, APollerThatRefusesAnFdLeavesNothingBehind) {
  bool destroyed = false;
  kernel_.add_status = absl::ResourceExhaustedError("no watches left");
  const absl::Status refused = loop_->add_handler(
      5, [n = OnDestroy([&] { destroyed = true; })](int, uint32_t) {}, IOLoop::READ);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(destroyed);
  EXPECT_EQ(loop_->remove_handler(5).code(), absl::StatusCode::kNotFound);
  kernel_.add_status = absl::OkStatus();
  EXPECT_TRUE(loop_
                  ->add_handler(
                      5, [](int, uint32_t) {}, IOLoop::READ)
                  .ok());
}

TEST_F(IOLoopIteration, ABackendThatCannotBeMadeIsTheErrorOfCreate) {
  IOLoopOptions options;
  options.make_current = false;
  options.poller_factory = []() -> absl::StatusOr<std::unique_ptr<Poller>> {
    return absl::ResourceExhaustedError("no fds left");
  };
  EXPECT_EQ(IOLoop::create(std::move(options)).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST_F(IOLoopIteration, BusyAndIdleTimesAddUp) {
  loop_->add_callback([&] { kernel_.clock.advance(milliseconds(30)); });
  loop_->call_later(milliseconds(100), [&] { loop_->add_callback([&] { loop_->stop(); }); });
  run();
  EXPECT_EQ(loop_->metrics().busy, milliseconds(30));
  EXPECT_EQ(loop_->metrics().idle, milliseconds(70));
}

// ---- A wait for a wake-up alone

// Notes which kind of wait the loop asks for.
class NotingPoller final : public ForwardingPoller {
 public:
  NotingPoller(std::unique_ptr<Poller> poller, std::vector<std::string>& seen)
      : ForwardingPoller(std::move(poller)), seen_(seen) {}

  WaitResult wait(nanoseconds timeout) override {
    seen_.push_back("wait");
    return ForwardingPoller::wait(timeout);
  }
  WaitResult wait_for_wake(nanoseconds timeout) override {
    seen_.push_back("wait for a wake-up");
    return ForwardingPoller::wait(timeout);
  }

 private:
  std::vector<std::string>& seen_;
};

TEST_F(IOLoopIteration, WaitsForItsWakeUpAloneWhileItWatchesNoFd) {
  IOLoopOptions options = kernel_.options();
  options.poller_factory =
      [this, make = options.poller_factory]() -> absl::StatusOr<std::unique_ptr<Poller>> {
    return std::make_unique<NotingPoller>(make().value(), seen_);
  };
  loop_ = IOLoop::create(std::move(options)).value();
  const auto watch = [&] {
    EXPECT_TRUE(loop_
                    ->add_handler(
                        7, [](int, uint32_t) {}, IOLoop::READ)
                    .ok());
  };
  const auto forget = [&] { EXPECT_TRUE(loop_->remove_handler(7).ok()); };
  const auto stop = [&] { loop_->stop(); };
  std::vector<std::function<void()>> steps = {stop, forget, watch};
  kernel_.during_wait = [&](auto&, int&) {
    std::thread([&, step = std::move(steps.back())] { loop_->add_callback(step); }).join();
    steps.pop_back();
  };
  run();
  EXPECT_THAT(seen_, ElementsAre("wait for a wake-up", "wait", "wait for a wake-up"));
}

// ---- Looks at the clock: each is 1 % of a small request

class CountingClock final : public MonotonicClock {
 public:
  explicit CountingClock(const MonotonicClock& clock) : clock_(clock) {}
  SteadyTime now() const override {
    ++looks_;
    return clock_.now();
  }
  int take_looks() { return std::exchange(looks_, 0); }

 private:
  const MonotonicClock& clock_;
  mutable int looks_ = 0;
};

class IOLoopClockLooks : public IOLoopIteration {
 protected:
  IOLoopClockLooks() {
    IOLoopOptions options = kernel_.options();
    options.clock = &clock_;
    loop_ = std::move(IOLoop::create(std::move(options))).value();
  }

  // From one wait, in which another thread does `post`, to the next one.
  int looks_for(std::function<void()> post) {
    int waits = 0, looks = -1;
    kernel_.during_wait = [&](auto&, int&) {
      if (++waits == 1) {
        std::thread(post).join();
        clock_.take_looks();
      } else {
        looks = clock_.take_looks();
        loop_->stop();
      }
    };
    run();
    return looks;
  }

  CountingClock clock_{kernel_.clock};
};

TEST_F(IOLoopClockLooks, AreTwoInAnIterationThatRunsOneCallback) {
  EXPECT_EQ(looks_for([&] { loop_->add_callback([] {}); }), 2);
}

TEST_F(IOLoopClockLooks, AreNoMoreWithATimerThatIsNotDue) {
  loop_->call_later(hours(1), [] {});
  EXPECT_EQ(looks_for([&] { loop_->add_callback([] {}); }), 2);
}

TEST_F(IOLoopClockLooks, AreOneMoreWhereTheTimeSliceHasSomethingToCut) {
  EXPECT_EQ(looks_for([&] {
              loop_->add_callback([] {});
              loop_->add_callback([] {});
            }),
            3);
}

TEST_F(IOLoopClockLooks, SeeTheTimeThatAHandlerTook) {
  // The wait does not count it, and a timer that it made due does not wait for a poll.
  std::vector<std::string> seen;
  loop_->call_later(milliseconds(5), [&] { seen.push_back("timer"); });
  ASSERT_TRUE(loop_
                  ->add_handler(
                      7,
                      [&](int, uint32_t) {
                        kernel_.clock.advance(milliseconds(10));
                        seen.push_back("handler");
                      },
                      IOLoop::READ)
                  .ok());
  int waits = 0;
  kernel_.during_wait = [&](auto& events, int&) {
    if (++waits == 1) return events.push_back({kernel_.tokens[7], IOLoop::READ});
    seen.push_back("wait");
    loop_->stop();
  };
  run();
  EXPECT_THAT(seen, ElementsAre("handler", "timer", "wait"));
}

TEST_F(IOLoopClockLooks, SeeTheTimeThatTheEndOfAHandlerTook) {
  // What a removed handler holds is destroyed before the wait.
  ASSERT_TRUE(loop_
                  ->add_handler(
                      7, [slow = OnDestroy([&] {
                            kernel_.clock.advance(milliseconds(10));
                          })](int, uint32_t) {},
                      IOLoop::READ)
                  .ok());
  loop_->call_later(milliseconds(15), [&] { loop_->stop(); });
  loop_->add_callback([&] { ASSERT_TRUE(loop_->remove_handler(7).ok()); });
  run();
  EXPECT_THAT(kernel_.waits, ElementsAre(milliseconds(5)));
}

}  // namespace
}  // namespace gyre::testing
