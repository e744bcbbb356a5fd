// The small parts of the loop that are pure data.

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <limits>
#include <memory>
#include <ratio>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/callback_guard.h"
#include "gyre/loop/clock.h"
#include "gyre/loop/errno_status.h"
#include "gyre/loop/handler_table.h"
#include "gyre/loop/log.h"
#include "gyre/loop/loop_affinity.h"
#include "gyre/loop/stall_watchdog.h"
#include "gyre/loop/unique_fd.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/log_capture.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::internal {
namespace {

using std::chrono::duration;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using ::testing::ElementsAre;
using testing::Event;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::LogCapture;
using ::testing::UnorderedElementsAre;

// ---- What the watchdog reports

TEST(StallMonitor, IsDueOnceForACallAndOnceInASecond) {
  StallMonitor monitor("loop", milliseconds(10));
  const int64_t start = std::chrono::steady_clock::now().time_since_epoch().count();
  const auto after = [&](milliseconds t) { return start + nanoseconds(t + hours(1)).count(); };
  EXPECT_EQ(monitor.due(after(milliseconds(0))), 0) << "in no call";
  monitor.begin_call(CallSite());
  EXPECT_EQ(monitor.due(start), 0) << "not for so long";
  EXPECT_NE(monitor.due(after(milliseconds(0))), 0);
  EXPECT_EQ(monitor.due(after(milliseconds(2000))), 0) << "the same call";
  monitor.end_call();
  EXPECT_EQ(monitor.due(after(milliseconds(2000))), 0);
  monitor.begin_call(CallSite());
  EXPECT_EQ(monitor.due(after(milliseconds(999))), 0) << "another call, in the same second";
  EXPECT_NE(monitor.due(after(milliseconds(1000))), 0);
  monitor.end_call();
}

// ---- The clock's range

constexpr nanoseconds kMax = nanoseconds::max(), kMin = nanoseconds::min();

TEST(SaturatingNanoseconds, ConvertsExactlyInsideTheRange) {
  EXPECT_EQ(saturating_nanoseconds(milliseconds(-3)), nanoseconds(-3'000'000));
  EXPECT_EQ(saturating_nanoseconds(nanoseconds(7)), nanoseconds(7));
  EXPECT_EQ(saturating_nanoseconds(hours(1)), nanoseconds(3'600'000'000'000));
  EXPECT_EQ(saturating_nanoseconds(duration<double>(1.5)), nanoseconds(1'500'000'000));
  EXPECT_EQ(saturating_nanoseconds(duration<uint32_t, std::milli>(5)), nanoseconds(5'000'000));
}

TEST(SaturatingNanoseconds, RoundsUpSoThatNoTimerIsEarly) {
  EXPECT_EQ(saturating_nanoseconds(duration<int, std::pico>(1)), nanoseconds(1));
  EXPECT_EQ(saturating_nanoseconds(duration<int, std::ratio<1, 3>>(1)), nanoseconds(333'333'334));
  EXPECT_EQ(saturating_nanoseconds(duration<double, std::nano>(0.25)), nanoseconds(1));
  EXPECT_EQ(saturating_nanoseconds(duration<double, std::nano>(-0.25)), nanoseconds(0));
}

TEST(SaturatingNanoseconds, ClampsOutsideTheRange) {
  EXPECT_EQ(saturating_nanoseconds(hours::max()), kMax);
  EXPECT_EQ(saturating_nanoseconds(hours::min()), kMin);
  EXPECT_EQ(saturating_nanoseconds(duration<int64_t, std::milli>::max()), kMax);
  EXPECT_EQ(saturating_nanoseconds(duration<uint64_t>::max()), kMax);
  EXPECT_EQ(saturating_nanoseconds(duration<double>(1e300)), kMax);
  EXPECT_EQ(saturating_nanoseconds(duration<double>(-1e300)), kMin);
  EXPECT_EQ(saturating_nanoseconds(duration<double>(std::numeric_limits<double>::infinity())),
            kMax);
  EXPECT_EQ(saturating_nanoseconds(duration<double>(-std::numeric_limits<double>::infinity())),
            kMin);
  EXPECT_EQ(saturating_nanoseconds(duration<float>(std::numeric_limits<float>::max())), kMax);
  EXPECT_EQ(saturating_nanoseconds(kMax), kMax);
  EXPECT_EQ(saturating_nanoseconds(kMin), kMin);
}

TEST(SaturatingNanosecondsDeathTest, NotANumberIsACheckedError) {
  EXPECT_DEATH(saturating_nanoseconds(duration<double>(std::numeric_limits<double>::quiet_NaN())),
               "not a number");
}

TEST(SaturatingAdd, StaysInsideTheClocksRange) {
  const SteadyTime zero;
  EXPECT_EQ(saturating_add(zero, nanoseconds(5)), zero + nanoseconds(5));
  EXPECT_EQ(saturating_add(zero + nanoseconds(1), kMax), SteadyTime::max());
  EXPECT_EQ(saturating_add(SteadyTime::max(), nanoseconds(1)), SteadyTime::max());
  EXPECT_EQ(saturating_add(zero - nanoseconds(2), kMin), SteadyTime::min());
  EXPECT_EQ(saturating_add(SteadyTime::min(), nanoseconds(-1)), SteadyTime::min());
}

TEST(SaturatingSub, StaysInsideTheRange) {
  const SteadyTime zero;
  EXPECT_EQ(saturating_sub(zero + nanoseconds(7), zero), nanoseconds(7));
  EXPECT_EQ(saturating_sub(zero, zero + nanoseconds(7)), nanoseconds(-7));
  EXPECT_EQ(saturating_sub(SteadyTime::max(), zero - nanoseconds(1)), kMax);
  EXPECT_EQ(saturating_sub(SteadyTime::min(), zero + nanoseconds(1)), kMin);
}

// ---- HandlerTable

class RecordingHandler final : public EventHandler {
 public:
  explicit RecordingHandler(std::vector<std::string>& log, std::string name)
      : log_(log), name_(std::move(name)) {}
  void handle_events(int, uint32_t) override { log_.push_back("events " + name_); }
  void released() override {
    log_.push_back("released " + name_);
    if (on_released) on_released();
  }
  void close_fd(int fd) override { log_.push_back("close " + std::to_string(fd)); }

  std::function<void()> on_released;

 private:
  std::vector<std::string>& log_;
  std::string name_;
};

class HandlerTableTest : public ::testing::Test {
 protected:
  uint64_t insert(int fd, RecordingHandler& handler) {
    const uint32_t generation = table_.next_generation();
    table_.insert(fd,
                  {.handler = &handler, .generation = generation, .interest = PollEvents::kRead});
    return HandlerTable::token(fd, generation);
  }

  std::vector<std::string> log_;
  HandlerTable table_;
  RecordingHandler a_{log_, "a"}, b_{log_, "b"};
};

TEST_F(HandlerTableTest, FindsWhatIsRegistered) {
  EXPECT_EQ(table_.find(5), nullptr);
  insert(5, a_);
  ASSERT_NE(table_.find(5), nullptr);
  EXPECT_EQ(table_.find(5)->handler, &a_);
  EXPECT_EQ(table_.size(), 1u);
  for (int fd :
       {-1, 0, 4, 6, 1 << 30, std::numeric_limits<int>::max(), std::numeric_limits<int>::min()}) {
    EXPECT_EQ(table_.find(fd), nullptr) << fd;
  }
}

TEST_F(HandlerTableTest, AnEventOfAnEarlierRegistrationFindsNothing) {
  const uint64_t first = insert(5, a_);
  table_.remove(5);
  int fd = -1;
  EXPECT_EQ(table_.find_token(first, &fd), nullptr);
  const uint64_t second = insert(5, b_);
  EXPECT_NE(first, second);
  EXPECT_EQ(table_.find_token(first, &fd), nullptr);
  ASSERT_NE(table_.find_token(second, &fd), nullptr);
  EXPECT_EQ(fd, 5);
  EXPECT_EQ(table_.find_token(second, &fd)->handler, &b_);
  EXPECT_EQ(table_.find_token(HandlerTable::token(6, 1), &fd), nullptr);
  EXPECT_EQ(table_.find_token(std::numeric_limits<uint64_t>::max(), &fd), nullptr);
}

TEST_F(HandlerTableTest, GenerationsMayWrapAround) {
  HandlerTable table(UINT32_MAX - 2);
  uint64_t previous = 0;
  for (int i = 0; i < 5; ++i) {
    const uint32_t generation = table.next_generation();
    table.insert(7, {&a_, generation});
    int fd = -1;
    EXPECT_NE(table.find_token(HandlerTable::token(7, generation), &fd), nullptr);
    EXPECT_EQ(fd, 7);
    if (i > 0) {
      EXPECT_EQ(table.find_token(previous, &fd), nullptr) << "of the registration before";
    }
    previous = HandlerTable::token(7, generation);
    table.remove(7);
    table.release_removed();
    EXPECT_EQ(table.find_token(previous, &fd), nullptr);
  }
}

TEST_F(HandlerTableTest, RemovedHandlersAreReleasedLaterAndOnce) {
  insert(5, a_);
  table_.remove(5);
  EXPECT_THAT(log_, IsEmpty());
  EXPECT_EQ(table_.size(), 0u);
  table_.release_removed();
  table_.release_removed();
  EXPECT_THAT(log_, ElementsAre("released a"));
}

TEST_F(HandlerTableTest, AReleaseMayRemoveAnother) {
  insert(5, a_);
  insert(7, b_);
  a_.on_released = [&] { table_.remove(7); };
  table_.remove(5);
  table_.release_removed();
  EXPECT_THAT(log_, ElementsAre("released a", "released b"));
}

TEST_F(HandlerTableTest, ClearVisitsEachAndAVisitMayRemoveOthers) {
  RecordingHandler c(log_, "c");
  insert(3, a_);
  insert(5, b_);
  insert(9, c);
  std::vector<int> visited;
  table_.clear([&](int fd, EventHandler&) {
    visited.push_back(fd);
    if (fd == 3) table_.remove(5);
  });
  EXPECT_THAT(visited, ElementsAre(3, 9));
  EXPECT_EQ(table_.size(), 0u);
  table_.release_removed();
  EXPECT_THAT(log_, UnorderedElementsAre("released a", "released b", "released c"));
}

// ---- CallbackGuard

TEST(CallbackGuard, ReportsAndCountsWhatIsThrown) {
  LogCapture log;
  CallbackGuard guard("guarded");
  int ran = 0;
  guard.run([&] { ++ran; });
  EXPECT_EQ(guard.exceptions(), 0u);
  log.expect(LogLevel::kError, "loop guarded: a callback threw: no good");
  guard.run([] { throw std::runtime_error("no good"); });
  log.expect(LogLevel::kError, "no std::exception");
  guard.run([] { throw 5; });
  EXPECT_EQ(guard.exceptions(), 2u);
  EXPECT_EQ(ran, 1);
}

// ---- LoopAffinity

// The analysis cannot follow a lock through EXPECT_TRUE.
bool try_run(LoopAffinity& affinity) ABSL_NO_THREAD_SAFETY_ANALYSIS { return affinity.try_run(); }
bool try_lease(LoopAffinity& affinity) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  return affinity.try_lease();
}
bool try_lease_now(LoopAffinity& affinity) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  return affinity.try_lease_now();
}
void end_run(LoopAffinity& affinity) ABSL_NO_THREAD_SAFETY_ANALYSIS { affinity.end_run(); }
void end_lease(LoopAffinity& affinity) ABSL_NO_THREAD_SAFETY_ANALYSIS { affinity.end_lease(); }

TEST(LoopAffinity, OneThreadRunsAtATime) {
  const std::string name = "loop";
  LoopAffinity affinity(name);
  EXPECT_FALSE(affinity.running());
  EXPECT_FALSE(affinity.here());
  affinity.assert_here("anything");  // idle: any thread
  ASSERT_TRUE(try_run(affinity));
  EXPECT_TRUE(affinity.here());
  affinity.assert_here("anything");
  EXPECT_FALSE(try_run(affinity));
  EXPECT_FALSE(try_lease(affinity));
  std::thread([&] {
    EXPECT_TRUE(affinity.running());
    EXPECT_FALSE(affinity.here());
    EXPECT_FALSE(try_run(affinity));
    EXPECT_FALSE(try_lease(affinity));
    EXPECT_FALSE(try_lease_now(affinity));
  }).join();
  end_run(affinity);
  EXPECT_FALSE(affinity.here());
  EXPECT_TRUE(try_lease(affinity));
  EXPECT_FALSE(affinity.running());
  EXPECT_FALSE(try_lease_now(affinity));
  end_lease(affinity);
  EXPECT_TRUE(try_run(affinity));
  end_run(affinity);
}

TEST(LoopAffinity, ARunWaitsForTheEndOfALease) {
  const std::string name = "loop";
  LoopAffinity affinity(name);
  ASSERT_TRUE(try_lease(affinity));
  std::atomic<bool> runs{false};
  std::thread runner([&] {
    EXPECT_TRUE(try_run(affinity));
    runs = true;
    end_run(affinity);
  });
  for (int i = 0; i < 100; ++i) std::this_thread::yield();
  EXPECT_FALSE(runs);
  end_lease(affinity);
  runner.join();
  EXPECT_TRUE(runs);
}

TEST(LoopAffinityDeathTest, TheMessageNamesTheLoopAndBothThreads) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        const std::string name = "mine";
        LoopAffinity affinity(name);
        if (try_run(affinity)) std::thread([&] { affinity.assert_here("some_call"); }).join();
      },
      "some_call called from thread [0-9]+ .*loop \"mine\" runs in thread [0-9]+");
}

// ---- Errors and fds

TEST(ErrnoStatus, HasACodeThatFitsAndSaysWhat) {
  const absl::Status status = errno_status(EBADF, "epoll_ctl of fd 7");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("epoll_ctl of fd 7: "));
  EXPECT_THAT(std::string(status.message()), HasSubstr("descriptor"));
  EXPECT_EQ(errno_status(EEXIST, "x").code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(errno_status(ENOENT, "x").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(errno_status(EMFILE, "x").code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(errno_status(ENOSPC, "x").code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(errno_status(ENOSYS, "x").code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(errno_status(EPERM, "x").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(errno_status(ELOOP, "x").code(), absl::StatusCode::kInternal);
}

TEST(UniqueFd, ClosesOnce) {
  testing::FdPair pair = testing::pipe_pair();
  const int a = pair.a.get(), b = pair.b.get();
  UniqueFd moved = std::move(pair.a);
  EXPECT_FALSE(pair.a);  // NOLINT: that is what it is about
  EXPECT_EQ(moved.get(), a);
  EXPECT_TRUE(testing::is_open(a));
  moved.reset();
  EXPECT_FALSE(testing::is_open(a));
  EXPECT_EQ(moved.get(), -1);
  UniqueFd& self = pair.b;
  pair.b = std::move(self);
  EXPECT_EQ(pair.b.get(), b) << "a move to itself keeps it";
  const int released = pair.b.release();
  EXPECT_EQ(released, b);
  EXPECT_TRUE(testing::is_open(b));
  { UniqueFd owner(released); }
  EXPECT_FALSE(testing::is_open(b));
}

TEST(LogSink, GetsWhatIsLoggedAndThePreviousOneIsGivenBack) {
  class Sink final : public LogSink {
   public:
    void write(LogLevel level, std::string_view message) override {
      lines.push_back(std::string(to_string(level)) + " " + std::string(message));
    }
    std::vector<std::string> lines;
  };
  Sink first, second;
  LogSink* const original = set_log_sink(&first);
  logf(LogLevel::kInfo, "%d and %s", 1, "two");
  EXPECT_EQ(set_log_sink(&second), &first);
  log(LogLevel::kError, "to the second");
  EXPECT_EQ(set_log_sink(original), &second);
  EXPECT_THAT(first.lines, ElementsAre("INFO 1 and two"));
  EXPECT_THAT(second.lines, ElementsAre("ERROR to the second"));
}

}  // namespace
}  // namespace gyre::internal
