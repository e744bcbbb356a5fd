// Virtual time above each backend: real fds and threads, and no sleep.

#include "gyre/testing/virtual_time.h"

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/periodic_callback.h"
#include "gyre/loop/task.h"
#include "gyre/net/io_stream.h"
#include "gyre/testing/loop_fixture.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::nanoseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Names = std::vector<std::string>;

class VirtualTimes : public VirtualLoopTest {
 protected:
  std::function<void()> note(std::string name) {
    return [this, name] { seen_.push_back(name); };
  }
  nanoseconds passed() const { return virtual_time_.clock.now() - begin_; }

  const SteadyTime begin_ = virtual_time_.clock.now();
  Names seen_;
};
GYRE_FOR_EACH_BACKEND(VirtualTimes);

TEST_P(VirtualTimes, AYearOfHoursPassesAndNotANanosecondMore) {
  int calls = 0;
  PeriodicCallback periodic(
      *loop_, [&] { ++calls; }, hours(1));
  periodic.start();
  loop_->call_later(hours(24 * 365), [&] { loop_->stop(); });
  run();
  EXPECT_EQ(calls, 24 * 365);
  EXPECT_EQ(passed(), hours(24 * 365));
}

TEST_P(VirtualTimes, WhatIsReadyComesBeforeATimeoutOfANanosecond) {
  FdPair pair = socket_pair();
  ASSERT_TRUE(loop_
                  ->add_handler(
                      pair.a.get(),
                      [&](int fd, uint32_t) {
                        read_available(fd);
                        seen_.push_back("io");
                      },
                      IOLoop::READ)
                  .ok());
  loop_->call_later(seconds(1), [&] {
    write_all(pair.b.get(), "x");
    loop_->call_later(nanoseconds(1), [&] {
      seen_.push_back("timeout");
      loop_->stop();
    });
  });
  run();
  EXPECT_THAT(seen_, ElementsAre("io", "timeout"));
  EXPECT_EQ(passed(), seconds(1) + nanoseconds(1));
}

TEST_P(VirtualTimes, WhatIsPostedComesBeforeATimeoutOfANanosecond) {
  loop_->call_later(nanoseconds(1), [&] {
    seen_.push_back("timeout");
    loop_->stop();
  });
  loop_->add_callback([&] { loop_->add_callback(note("posted")); });
  run();
  EXPECT_THAT(seen_, ElementsAre("posted", "timeout"));
}

TEST_P(VirtualTimes, TheDeadlinesOfSeveralThreadsLoopsComeInTheirOrder) {
  std::unique_ptr<IOLoop> other = make_loop();
  Event done;
  // Their order is all that keeps them from running at the same time, so they take no lock.
  const auto fill = [&](IOLoop& loop, int first) {
    for (int i = first; i < 100; i += 2) {
      loop.call_later(milliseconds(i + 1), [&, i] {
        EXPECT_EQ(passed(), milliseconds(i + 1));
        seen_.push_back(std::to_string(i));
        if (i == 99) done.set();
      });
    }
  };
  VirtualTime::Hold hold(virtual_time_);
  fill(*loop_, 0);
  fill(*other, 1);
  LoopInThread a(*loop_), b(*other);
  hold.release();
  EXPECT_TRUE(done.wait());
  a.stop();
  b.stop();
  ASSERT_EQ(seen_.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(seen_[i], std::to_string(i));
}

TEST_P(VirtualTimes, NoTimePassesWhileALoopOfAnotherThreadIsAwake) {
  std::unique_ptr<IOLoop> other = make_loop();
  LoopInThread thread(*other);
  for (int i = 0; i < 100; ++i) {
    const SteadyTime before = loop_->time();
    bool answered = false;
    loop_->call_later(seconds(1), [&] {
      EXPECT_TRUE(answered);
      loop_->stop();
    });
    other->add_callback([&] {
      for (int yields = 0; yields < 20; ++yields) std::this_thread::yield();
      loop_->add_callback([&] {
        EXPECT_EQ(loop_->time(), before);
        answered = true;
      });
    });
    run();
  }
}

TEST_P(VirtualTimes, NoTimePassesUnderAHoldUntilTheLastIsReleased) {
  // The threads here run no loop, so nobody else knows that they are at work.
  VirtualTime::Hold first(virtual_time_), second(virtual_time_);
  Event waiting;
  std::atomic<int> answers{0};
  const auto work = [&](VirtualTime::Hold& hold) {
    EXPECT_TRUE(waiting.wait());
    for (int yields = 0; yields < 1000; ++yields) std::this_thread::yield();
    loop_->add_callback([&] { ++answers; });
    hold.release();
    hold.release();
  };
  std::thread a(work, std::ref(first)), b(work, std::ref(second));
  loop_->add_callback([&] { waiting.set(); });
  loop_->call_later(nanoseconds(1), [&] {
    EXPECT_EQ(answers, 2);
    loop_->stop();
  });
  run();
  a.join();
  b.join();
}

TEST_P(VirtualTimes, ALoopInsideAnothersCallbackIsNotInItsOwnWay) {
  std::unique_ptr<IOLoop> inner = make_loop();
  loop_->call_later(hours(1), [&] {
    inner->call_later(hours(1), [&] { inner->stop(); });
    run(*inner);
    loop_->stop();
  });
  run();
  EXPECT_EQ(passed(), hours(2));
}

TEST_P(VirtualTimes, LoopsThatAreNotRunAreInNobodysWay) {
  std::unique_ptr<IOLoop> other = make_loop();
  other->call_later(seconds(1), note("never"));
  loop_->call_later(hours(1), [&] { loop_->stop(); });
  run();
  EXPECT_THAT(seen_, IsEmpty());
  EXPECT_EQ(passed(), hours(1));
  other.reset();
  loop_->call_later(hours(1), [&] { loop_->stop(); });
  run();
  EXPECT_EQ(passed(), hours(2));
}

TEST_P(VirtualTimes, AWaitWithoutALimitSleepsForReal) {
  const std::chrono::nanoseconds before = passed();
  std::thread stopper([&] { loop_->stop(); });
  run();
  stopper.join();
  EXPECT_EQ(passed(), before);
}

// ---- The fixture in virtual time

class VirtualFixture : public ::testing::TestWithParam<Backend> {
 protected:
  LoopFixture fixture_{{.backend = GetParam(), .time = FixtureTime::kVirtual}};
};
GYRE_FOR_EACH_BACKEND(VirtualFixture);

TEST_P(VirtualFixture, RunsUntilTheConditionIsTrue) {
  FdPair pair = socket_pair();
  const IOLoop::TimePoint begin = fixture_.loop().time();
  std::string received;
  fixture_.loop().spawn_callback([&]() -> Task<> {
    EXPECT_TRUE((co_await readable(pair.a.get())).ok());
    received = read_available(pair.a.get());
  });
  fixture_.loop().call_later(hours(1), [&] { write_all(pair.b.get(), "hello"); });
  EXPECT_TRUE(fixture_.run_until([&] { return !received.empty(); }, hours(2)).ok());
  EXPECT_EQ(received, "hello");
  EXPECT_EQ(fixture_.loop().time() - begin, hours(1));
}

TEST_P(VirtualFixture, ARealConnectionIsClosedAfterTenMinutesOfSilence) {
  FdPair pair = socket_pair();
  std::shared_ptr<IOStream> stream =
      IOStream::create(fixture_.loop(), std::move(pair.a), {.idle_timeout = minutes(10)}).value();
  EXPECT_TRUE(fixture_.run_for(minutes(9)).ok());
  EXPECT_FALSE(stream->closed());
  EXPECT_TRUE(fixture_.run_until([&] { return stream->closed(); }, minutes(2)).ok());
}

TEST_P(VirtualFixture, ItsPatienceIsVirtualToo) {
  const IOLoop::TimePoint begin = fixture_.loop().time();
  EXPECT_EQ(fixture_.run_until([] { return false; }, hours(10)).code(),
            StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(fixture_.run_for(hours(10)).ok());
  EXPECT_EQ(fixture_.loop().time() - begin, hours(20));
}

TEST_P(VirtualFixture, IdleLeavesTheFutureAlone) {
  const IOLoop::TimePoint begin = fixture_.loop().time();
  fixture_.loop().call_later(nanoseconds(1), [] { ADD_FAILURE(); });
  EXPECT_TRUE(fixture_.run_until_idle().ok());
  EXPECT_EQ(fixture_.loop().time(), begin);
}

TEST_P(VirtualFixture, AHoldLetsAnotherThreadMakeTheConditionTrue) {
  VirtualTime::Hold hold(fixture_.virtual_time());
  std::atomic<bool> done = false;
  std::thread thread([&] {
    done = true;
    fixture_.loop().add_callback([] {});
    hold.release();
  });
  EXPECT_TRUE(fixture_.run_until([&] { return done.load(); }).ok());
  thread.join();
}

}  // namespace
}  // namespace gyre::testing
