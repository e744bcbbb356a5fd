// The conformance of every backend: timeouts that are removed, and when they are destroyed.

#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/tests/loop/io_loop_timeouts_fixture.h"
#include "gyre/tests/support/on_destroy.h"

namespace gyre::testing {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using ::testing::ElementsAre;

TEST_P(IOLoopTimeouts, ThatWereRemovedDoNotFire) {
  IOLoop::Timeout removed = loop_->call_later(milliseconds(0), note("removed"));
  IOLoop::Timeout copy = removed;
  loop_->remove_timeout(copy);
  loop_->call_later(milliseconds(0), note("kept"));
  run_turns();
  EXPECT_THAT(seen_, ElementsAre("kept"));
}

TEST_P(IOLoopTimeouts, RemovedTwiceOrAfterTheyFiredOrNamingNothingAreNoError) {
  IOLoop::Timeout nothing;
  EXPECT_FALSE(nothing);
  loop_->remove_timeout(nothing);
  IOLoop::Timeout fired = loop_->call_later(milliseconds(0), note("fired"));
  IOLoop::Timeout removed = loop_->call_later(milliseconds(0), note("removed"));
  EXPECT_TRUE(fired);
  loop_->remove_timeout(removed);
  loop_->remove_timeout(removed);
  run_turns();
  loop_->remove_timeout(fired);
  loop_->remove_timeout(fired);
  run_turns();
  EXPECT_THAT(seen_, ElementsAre("fired"));
}

TEST_P(IOLoopTimeouts, AnOldHandleDoesNotRemoveANewTimeout) {
  // Guards handles against the reuse of a timer's memory.
  std::vector<IOLoop::Timeout> old;
  for (int i = 0; i < 300; ++i) old.push_back(loop_->call_later(milliseconds(0), [] {}));
  for (int i = 0; i < 300; i += 2) loop_->remove_timeout(old[i]);
  run_turns();
  for (int i = 0; i < 300; ++i) loop_->call_later(milliseconds(0), note("new"));
  for (IOLoop::Timeout timeout : old) loop_->remove_timeout(timeout);
  run_turns();
  EXPECT_EQ(seen_.size(), 300u);
}

TEST_P(IOLoopTimeouts, AHandleOfAnotherLoopRemovesNothing) {
  std::unique_ptr<IOLoop> other = make_loop();
  IOLoop::Timeout there = other->call_later(milliseconds(0), [] {});
  loop_->call_later(milliseconds(0), note("kept"));
  loop_->remove_timeout(there);
  run_turns();
  EXPECT_THAT(seen_, ElementsAre("kept"));
}

TEST_P(IOLoopTimeouts, MayRemoveThemselvesAndOthersThatAreDueWithThem) {
  IOLoop::Timeout self, later, by_callback;
  self = loop_->call_later(milliseconds(-3), [&] {
    seen_.push_back("self");
    loop_->remove_timeout(self);
    loop_->remove_timeout(later);
  });
  later = loop_->call_later(milliseconds(-2), note("removed by a timeout"));
  by_callback = loop_->call_later(milliseconds(-2), note("removed by a callback"));
  loop_->call_later(milliseconds(-1), note("kept"));
  loop_->add_callback([&] { loop_->remove_timeout(by_callback); });
  run_turns();
  EXPECT_THAT(seen_, ElementsAre("self", "kept"));
}

TEST_P(IOLoopTimeouts, AddedAndRemovedInOneIterationNeverFire) {
  // Guards those that are due but too new for the iteration: they are set aside, and may be removed
  // there.
  IOLoop::Timeout due;
  loop_->add_callback([&] { due = loop_->call_later(milliseconds(-10), note("removed")); });
  loop_->call_later(milliseconds(0), [&] {
    loop_->remove_timeout(due);
    seen_.push_back("remover");
  });
  run_turns(2);
  EXPECT_THAT(seen_, ElementsAre("remover"));
}

TEST_P(IOLoopTimeouts, AreDestroyedRightAfterTheyFired) {
  loop_->call_later(milliseconds(-2),
                    [&, n = OnDestroy(note("destroyed"))] { seen_.push_back("fired"); });
  loop_->call_later(milliseconds(-1), note("next"));
  run_turns();
  EXPECT_THAT(seen_, ElementsAre("fired", "destroyed", "next"));
}

TEST_P(IOLoopTimeouts, ThatWereRemovedAreDestroyedByTheNextIteration) {
  IOLoop::Timeout timeout = loop_->call_later(hours(1), [n = OnDestroy(note("destroyed"))] {});
  loop_->add_callback([&] {
    loop_->remove_timeout(timeout);
    loop_->add_callback([&] { loop_->add_callback(note("after the next iteration")); });
  });
  run_turns(4);
  EXPECT_THAT(seen_, ElementsAre("destroyed", "after the next iteration"));
}

TEST_P(IOLoopTimeouts, MayAddAndRemoveOthersInTheirDestructor) {
  IOLoop::Timeout other = loop_->call_later(hours(1), [] {});
  IOLoop::Timeout timeout =
      loop_->call_later(hours(1), [n = OnDestroy([&] {
                                     loop_->remove_timeout(other);
                                     for (int i = 0; i < 300; ++i) {
                                       loop_->call_later(milliseconds(0), note("added"));
                                     }
                                   })] {});
  loop_->remove_timeout(timeout);
  run_turns(2);
  EXPECT_EQ(seen_.size(), 300u);
}

TEST_P(IOLoopTimeouts, ByTheHundredThousandMayBeAddedAndRemoved) {
  std::vector<IOLoop::Timeout> timeouts;
  int destroyed = 0;
  for (int i = 0; i < 100000; ++i) {
    struct Counter {
      int* count;
      explicit Counter(int* c) : count(c) {}
      Counter(Counter&& other) noexcept : count(std::exchange(other.count, nullptr)) {}
      ~Counter() {
        if (count != nullptr) ++*count;
      }
    };
    timeouts.push_back(
        loop_->call_later(hours(1) + nanoseconds(i * 7919 % 100000), [c = Counter(&destroyed)] {}));
  }
  for (size_t i = 0; i < timeouts.size(); ++i)
    loop_->remove_timeout(timeouts[i * 31 % timeouts.size()]);
  run_turns(1);
  EXPECT_EQ(destroyed, 100000);
  EXPECT_EQ(loop_->metrics().timeouts, 0u);
}

}  // namespace
}  // namespace gyre::testing
