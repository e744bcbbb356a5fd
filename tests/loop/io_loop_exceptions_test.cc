// The conformance of every backend: exceptions out of user code, and what is said of slow
// callbacks.

#include <signal.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/log.h"
#include "gyre/testing/manual_clock.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/on_destroy.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;

class IOLoopExceptions : public LoopTest {
 protected:
  // Keeps what callbacks throw, as text.
  void keep_errors() {
    loop_->set_exception_handler(
        [this](std::exception_ptr error) { errors_.push_back(text_of(error)); });
  }
  static std::string text_of(const std::exception_ptr& error) {
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& e) {
      return e.what();
    } catch (int i) {
      return "int " + std::to_string(i);
    }
  }
  static void throw_error(const std::string& what) { throw std::runtime_error(what); }

  std::vector<std::string> errors_;
  std::vector<std::string> seen_;
};
GYRE_FOR_EACH_BACKEND(IOLoopExceptions);

TEST_P(IOLoopExceptions, OutOfACallbackIsLoggedOnceAndTheOthersOfTheBatchRun) {
  log_.expect(LogLevel::kError, "thrown by a callback");
  loop_->add_callback([] { throw_error("thrown by a callback"); });
  loop_->add_callback([&] { seen_.push_back("next"); });
  run_turns(2);
  EXPECT_THAT(seen_, ElementsAre("next"));
  EXPECT_EQ(log_.count("thrown by a callback"), 1);
  EXPECT_EQ(log_.count("loop test"), 1) << "the line names the loop";
  EXPECT_EQ(loop_->metrics().exceptions, 1u);
}

TEST_P(IOLoopExceptions, GoToTheHandlerInsteadOfTheLog) {
  keep_errors();
  loop_->add_callback([] { throw_error("callback"); });
  loop_->spawn_callback([] { throw_error("spawned"); });
  loop_->call_later(milliseconds(0), [] { throw_error("timeout"); });
  loop_->call_later(milliseconds(0), [&] { seen_.push_back("next timeout"); });
  loop_->add_callback([] { throw 5; });
  run_turns(2);
  EXPECT_THAT(errors_, ElementsAre("callback", "spawned", "int 5", "timeout"));
  EXPECT_THAT(seen_, ElementsAre("next timeout"));
  EXPECT_EQ(loop_->metrics().exceptions, 4u);
}

TEST_P(IOLoopExceptions, OutOfAHandlerLeavesItRegisteredAndTheOthersOfTheBatchRun) {
  keep_errors();
  FdPair x = socket_pair(), y = socket_pair();
  write_all(x.b.get(), "x");
  write_all(y.b.get(), "y");
  for (const FdPair* pair : {&x, &y}) {
    ASSERT_TRUE(loop_
                    ->add_handler(
                        pair->a.get(), [](int, uint32_t) { throw_error("handler"); }, IOLoop::READ)
                    .ok());
  }
  run_turns(2);
  EXPECT_THAT(errors_, ElementsAre("handler", "handler", "handler", "handler"));
  EXPECT_TRUE(loop_->remove_handler(x.a.get()).ok());
  EXPECT_TRUE(loop_->remove_handler(y.a.get()).ok());
}

TEST_P(IOLoopExceptions, OutOfAHandlerThatRemovedItselfIsReportedToo) {
  keep_errors();
  FdPair pair = socket_pair();
  write_all(pair.b.get(), "x");
  ASSERT_TRUE(loop_
                  ->add_handler(
                      pair.a.get(),
                      [&](int fd, uint32_t) {
                        EXPECT_TRUE(loop_->remove_handler(fd).ok());
                        throw_error("removed");
                      },
                      IOLoop::READ)
                  .ok());
  run_turns(2);
  EXPECT_THAT(errors_, ElementsAre("removed"));
}

TEST_P(IOLoopExceptions, ACallbackThatThrowsIsDestroyedRightAway) {
  keep_errors();
  loop_->add_callback(
      [n = OnDestroy([&] { seen_.push_back("callback destroyed"); })] { throw_error("x"); });
  loop_->add_callback([&] { seen_.push_back("next"); });
  loop_->call_later(
      milliseconds(0),
      [n = OnDestroy([&] { seen_.push_back("timeout destroyed"); })] { throw_error("x"); });
  run_turns(1);
  EXPECT_THAT(seen_, ElementsAre("callback destroyed", "next", "timeout destroyed"));
}

TEST_P(IOLoopExceptions, AStopBeforeTheThrowStands) {
  keep_errors();
  loop_->add_callback([&] {
    loop_->stop();
    throw_error("after stop");
  });
  run();
  EXPECT_THAT(errors_, ElementsAre("after stop"));
}

TEST_P(IOLoopExceptions, AHandlerThatThrowsIsLoggedAndSwallowed) {
  log_.expect(LogLevel::kError, "thrown by the handler");
  loop_->set_exception_handler([](std::exception_ptr) { throw_error("thrown by the handler"); });
  loop_->add_callback([] { throw_error("thrown by a callback"); });
  loop_->add_callback([&] { seen_.push_back("next"); });
  run_turns(1);
  EXPECT_THAT(seen_, ElementsAre("next"));
}

TEST_P(IOLoopExceptions, AHandlerMayReplaceItself) {
  const std::string kept(100, 'k');
  loop_->set_exception_handler([&, text = kept](std::exception_ptr error) {
    keep_errors();
    EXPECT_EQ(text, kept) << "destroyed while it runs";
    seen_.push_back(text_of(error));
  });
  loop_->add_callback([] { throw_error("first"); });
  loop_->add_callback([] { throw_error("second"); });
  run_turns(1);
  EXPECT_THAT(seen_, ElementsAre("first"));
  EXPECT_THAT(errors_, ElementsAre("second"));
}

TEST_P(IOLoopExceptions, WithoutAHandlerTheLogIsBack) {
  log_.expect(LogLevel::kError, "logged again");
  keep_errors();
  loop_->set_exception_handler(nullptr);
  loop_->add_callback([] { throw_error("logged again"); });
  run_turns(1);
  EXPECT_TRUE(errors_.empty());
}

TEST_P(IOLoopExceptions, AreEachLoopsOwn) {
  std::unique_ptr<IOLoop> other = make_loop("the other one");
  keep_errors();
  log_.expect(LogLevel::kError, "the other one");
  other->add_callback([] { throw_error("x"); });
  run_turns(*other, 1);
  EXPECT_TRUE(errors_.empty());
}

// ---- The log of slow callbacks

class IOLoopBlockingLog : public LoopTest {
 protected:
  IOLoopBlockingLog() {
    IOLoopOptions options;
    options.clock = &clock_;
    options.name = "watched";
    loop_ = make_loop(std::move(options));
    // The watchdog goes by the real clock, in which a busy machine may be slow.
    log_.allow("has blocked the loop");
  }
  void block() { clock_.advance(milliseconds(25)); }
  static std::string at(int line) { return __FILE__ ":" + std::to_string(line) + ","; }

  ManualClock clock_;
  FdPair ready_ = pipe_pair();
};
GYRE_FOR_EACH_BACKEND(IOLoopBlockingLog);

TEST_P(IOLoopBlockingLog, IsOffByDefault) {
  loop_->add_callback([&] { block(); });
  run_turns(1);
  EXPECT_EQ(log_.count("blocked"), 0);
}

TEST_P(IOLoopBlockingLog, TellsOfEachSlowCallbackTimeoutAndHandlerWithTheLoopsName) {
  loop_->set_blocking_log_threshold(milliseconds(20));
  for (int i = 0; i < 3; ++i) log_.expect(LogLevel::kWarning, "watched");
  loop_->add_callback([&] { block(); });
  loop_->add_callback([&] { clock_.advance(milliseconds(19)); });
  loop_->call_later(milliseconds(0), [&] { block(); });
  write_all(ready_.b.get(), "x");
  ASSERT_TRUE(loop_
                  ->add_handler(
                      ready_.a.get(),
                      [&](int fd, uint32_t) {
                        read_available(fd);
                        block();
                      },
                      IOLoop::READ)
                  .ok());
  run_turns(2);
  EXPECT_EQ(log_.count("25.000 ms"), 3);
  EXPECT_EQ(log_.count("19.000 ms"), 0);
}

TEST_P(IOLoopBlockingLog, SaysWhereASlowCallbackWasPosted) {
  loop_->set_blocking_log_threshold(milliseconds(20));
  const std::string here = __FILE__ ":" + std::to_string(__LINE__ + 2);
  log_.expect(LogLevel::kWarning, here);
  loop_->add_callback([&] { block(); });
  run_turns(1);
}

TEST_P(IOLoopBlockingLog, SaysWhereASlowTimeoutHandlerAndSpawnedFunctionCameFrom) {
  loop_->set_blocking_log_threshold(milliseconds(20));
  const int line = __LINE__ + 2;
  for (int i = 0; i < 5; ++i) log_.expect(LogLevel::kWarning, at(line + i));
  loop_->call_later(milliseconds(0), [&] { block(); });
  loop_->call_at(loop_->time(), [&] { block(); });
  loop_->add_timeout(loop_->time(), [&] { block(); });
  loop_->add_timeout(milliseconds(0), [&] { block(); });
  loop_->spawn_callback([&] { block(); });
  write_all(ready_.b.get(), "x");
  const auto handler = [&](int fd, uint32_t) {
    read_available(fd);
    block();
  };
  log_.expect(LogLevel::kWarning, at(__LINE__ + 1));
  ASSERT_TRUE(loop_->add_handler(ready_.a.get(), handler, IOLoop::READ).ok());
  run_turns(2);
}

TEST_P(IOLoopBlockingLog, AnArgumentTakesThePlaceOfTheSite) {
  // A parameter pack is the last thing that a function takes.
  loop_->set_blocking_log_threshold(milliseconds(20));
  log_.expect(LogLevel::kWarning, "posted at unknown");
  loop_->add_callback([&](int) { block(); }, 1);
  run_turns(1);
}

TEST_P(IOLoopBlockingLog, ZeroSwitchesItOff) {
  loop_->set_blocking_log_threshold(milliseconds(1));
  loop_->set_blocking_log_threshold(milliseconds(0));
  loop_->add_callback([&] { block(); });
  run_turns(1);
  EXPECT_EQ(log_.count("blocked"), 0);
}

TEST_P(IOLoopBlockingLog, ACallbackThatThrowsIsToldOfToo) {
  loop_->set_exception_handler([](std::exception_ptr) {});
  loop_->set_blocking_log_threshold(milliseconds(20));
  log_.expect(LogLevel::kWarning, "watched");
  loop_->add_callback([&] {
    block();
    throw 1;
  });
  run_turns(1);
}

// ---- The watchdog, which looks at a thread while it is blocked: in real time

// What the stack has to show, so it must be a frame of its own.
__attribute__((noinline)) void block_here_until(const std::function<bool()>& condition) {
  for (Patience patience; !condition() && patience.left();) std::this_thread::yield();
  EXPECT_TRUE(condition());
}

class ReportSink;

class IOLoopWatchdog : public LoopTest {
 protected:
  IOLoopWatchdog() : LoopTest(TestTime::kReal) {
    log_.allow("blocked the loop");
    loop_->set_blocking_log_threshold(milliseconds(10));
  }
  int stacks() const { return log_.count("has blocked the loop"); }
  void block_until_reported_to(ReportSink& sink);
};
GYRE_FOR_EACH_BACKEND(IOLoopWatchdog);

TEST_P(IOLoopWatchdog, LogsTheStackOfABlockedLoopWhileItIsBlocked) {
  const std::string here = __FILE__ ":" + std::to_string(__LINE__ + 1) + ",";
  loop_->add_callback([&] { block_here_until([&] { return stacks() > 0; }); });
  run_turns(1);
  EXPECT_EQ(stacks(), 1) << "once for each call";
  EXPECT_EQ(log_.count("posted at " + here), 2) << "the stack, and how long it took";
  EXPECT_EQ(log_.count("block_here_until"), 1) << "a frame of the stack";
  EXPECT_EQ(log_.count("loop test:"), 2);
}

TEST_P(IOLoopWatchdog, WatchesEachLoopByItselfInItsThread) {
  std::unique_ptr<IOLoop> other = make_loop("second");
  other->set_blocking_log_threshold(milliseconds(10));
  LoopInThread thread(*other);
  const auto both = [&] { return log_.count("here:") == 2; };
  other->add_callback([&] { block_here_until(both); });
  loop_->add_callback([&] { block_here_until(both); });
  run_turns(1);
  thread.stop();
  EXPECT_EQ(log_.count("block_here_until"), 2);
}

TEST_P(IOLoopWatchdog, SaysNothingMoreOnceItIsSwitchedOff) {
  int stacks_before = 0;
  loop_->add_callback([&] {
    loop_->set_blocking_log_threshold(milliseconds(0));
    stacks_before = stacks();  // a busy machine may have been slow until here
    const IOLoop::TimePoint until = loop_->time() + milliseconds(50);
    while (loop_->time() < until) std::this_thread::yield();
  });
  run_turns(1);
  EXPECT_EQ(stacks(), stacks_before);
}

// Calls a function in the watchdog's thread for each report, and says that it has.
class ReportSink : public LogSink {
 public:
  explicit ReportSink(std::function<void()> on_report) : on_report_(std::move(on_report)) {}
  void write(LogLevel, std::string_view text) override {
    if (text.find("has blocked") == std::string_view::npos) return;
    on_report_();
    reported.set();
  }
  Event reported;

 private:
  const std::function<void()> on_report_;
};

// `sink` is static: the watchdog may still be in it when the test ends.
void IOLoopWatchdog::block_until_reported_to(ReportSink& sink) {
  const int reported_before = sink.reported.times();
  LogSink* const previous = set_log_sink(&sink);
  loop_->add_callback([&] { EXPECT_TRUE(sink.reported.wait(reported_before + 1)); });
  run_turns(1);
  loop_->set_blocking_log_threshold(milliseconds(0));
  set_log_sink(previous);
}

TEST_P(IOLoopWatchdog, TheProgramsSinkMaySwitchWatchdogsOnAndOff) {
  // No lock is held while the program's sink runs.
  static ReportSink sink([] {
    std::thread([] {
      absl::StatusOr<std::unique_ptr<IOLoop>> loop = IOLoop::create({.make_current = false});
      (*loop)->set_blocking_log_threshold(milliseconds(10));
    }).join();
  });
  block_until_reported_to(sink);
}

// Whether this thread blocks the signals that programs live with.
bool blocks_signals() {
  sigset_t blocked;
  pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
  return sigismember(&blocked, SIGTERM) == 1 && sigismember(&blocked, SIGALRM) == 1;
}

TEST_P(IOLoopWatchdog, ItsThreadTakesNoSignalsOfTheProgram) {
  static std::atomic<bool> takes_none = false;
  static ReportSink sink([] { takes_none = blocks_signals(); });
  block_until_reported_to(sink);
  EXPECT_TRUE(takes_none);
  EXPECT_FALSE(blocks_signals()) << "this thread goes on to take them";
}

TEST_P(IOLoopWatchdog, AThreadMayEndRightAfterACallThatIsReported) {
  // The signal must not be sent to a thread that is gone.
  loop_->set_blocking_log_threshold(std::chrono::microseconds(1));
  for (int i = 0; i < 100; ++i) {
    std::thread runner([&] {
      loop_->add_callback([&] {
        const IOLoop::TimePoint until = loop_->time() + std::chrono::microseconds(i * 20);
        while (loop_->time() < until) {
        }
        loop_->stop();
      });
      EXPECT_TRUE(loop_->start().ok());
    });
    runner.join();
  }
}

}  // namespace
}  // namespace gyre::testing
