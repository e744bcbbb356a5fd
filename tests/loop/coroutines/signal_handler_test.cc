// Signals as callbacks of loops: several loops for one signal, storms, and handlers that go away in
// the midst of them.

#include "gyre/loop/signal_handler.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/tests/loop/coroutines/size.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/on_destroy.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using std::chrono::milliseconds;
using ::testing::ElementsAre;

struct sigaction disposition(int signal) {
  struct sigaction action {};
  EXPECT_EQ(::sigaction(signal, nullptr, &action), 0);
  return action;
}

// Sends signals from a thread of its own, as fast as it can, until it is destroyed. They are the
// thread's own, or the process's, which any thread may get.
class SignalStorm {
 public:
  SignalStorm(int signal, bool whole_process)
      : thread_([this, signal, whole_process] {
          while (!over_.load(std::memory_order_relaxed)) {
            if (whole_process) {
              ::kill(::getpid(), signal);
            } else {
              ::raise(signal);
            }
            sent_.fetch_add(1, std::memory_order_relaxed);
          }
        }) {}
  ~SignalStorm() { stop(); }
  void stop() {
    over_ = true;
    if (thread_.joinable()) thread_.join();
  }
  int sent() const { return sent_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> over_{false};
  std::atomic<int> sent_{0};
  std::thread thread_;
};

class SignalHandlers : public LoopTest {
 protected:
  SignalHandlers() {
    // A signal that comes when no handler is left does nothing.
    for (int signal : {SIGUSR1, SIGUSR2}) ::signal(signal, SIG_IGN);
  }
  ~SignalHandlers() override {
    for (int signal : {SIGUSR1, SIGUSR2}) ::signal(signal, SIG_DFL);
  }

  static std::unique_ptr<SignalHandler> make(IOLoop& loop, int signal,
                                             SignalHandler::Function function) {
    absl::StatusOr<std::unique_ptr<SignalHandler>> handler =
        SignalHandler::create(loop, signal, std::move(function));
    EXPECT_TRUE(handler.ok()) << handler.status();
    return handler.ok() ? std::move(*handler) : nullptr;
  }
};
GYRE_FOR_EACH_BACKEND(SignalHandlers);

TEST_P(SignalHandlers, CallTheFunctionOnTheLoopWithTheSignal) {
  std::vector<int> seen;
  auto one = make(*loop_, SIGUSR1, [&](int signal) {
    EXPECT_TRUE(loop_->in_loop_thread());
    seen.push_back(signal);
    ::raise(SIGUSR2);
    EXPECT_EQ(seen.size(), 1u) << "never inside the signal";
  });
  auto two = make(*loop_, SIGUSR2, [&](int signal) {
    seen.push_back(signal);
    loop_->stop();
  });
  loop_->add_callback([] { ::raise(SIGUSR1); });
  run();
  EXPECT_THAT(seen, ElementsAre(SIGUSR1, SIGUSR2));
}

TEST_P(SignalHandlers, ASignalInAnotherThreadWakesASleepingLoop) {
  for (int i = 0; i < 50; ++i) {
    auto handler = make(*loop_, SIGUSR1, [&](int) { loop_->stop(); });
    Event sleeping;
    loop_->add_callback([&] { sleeping.set(); });
    std::thread other([&] {
      EXPECT_TRUE(sleeping.wait());
      ::raise(SIGUSR1);
    });
    run();
    other.join();
  }
}

TEST_P(SignalHandlers, SeveralLoopsEachGetTheSameSignal) {
  constexpr int kLoops = 5;
  std::vector<std::unique_ptr<IOLoop>> loops;
  std::vector<std::unique_ptr<SignalHandler>> handlers;
  std::vector<Event> called(kLoops);
  for (int i = 0; i < kLoops; ++i) {
    loops.push_back(make_loop("loop" + std::to_string(i)));
    IOLoop* loop = loops.back().get();
    handlers.push_back(make(*loop, SIGUSR1, [&, loop, i](int) {
      EXPECT_TRUE(loop->in_loop_thread());
      called[i].set();
    }));
  }
  std::vector<std::unique_ptr<LoopInThread>> threads;
  for (auto& loop : loops) threads.push_back(std::make_unique<LoopInThread>(*loop));
  for (int round = 1; round <= 100; ++round) {
    ::raise(SIGUSR1);
    for (Event& event : called) ASSERT_TRUE(event.wait(round)) << "round " << round;
  }
  threads.clear();
  for (Event& event : called) EXPECT_EQ(event.times(), 100) << "none twice";
}

TEST_P(SignalHandlers, OneLoopMayHaveSeveralForOneSignal) {
  std::vector<int> seen;
  auto first = make(*loop_, SIGUSR1, [&](int) { seen.push_back(1); });
  auto second = make(*loop_, SIGUSR1, [&](int) { seen.push_back(2); });
  ::raise(SIGUSR1);
  first.reset();
  ::raise(SIGUSR1);
  run_turns(2);
  EXPECT_THAT(seen, ElementsAre(2)) << "the first's call was dropped; the second's are one";
}

TEST_P(SignalHandlers, SignalsBeforeTheCallAreOneCall) {
  int calls = 0;
  auto handler = make(*loop_, SIGUSR1, [&](int) { ++calls; });
  for (int i = 0; i < 1000; ++i) ::raise(SIGUSR1);  // more than there are slots
  run_turns(2);
  EXPECT_EQ(calls, 1);
}

TEST_P(SignalHandlers, ASignalThatComesDuringTheCallIsAnotherCall) {
  // Had the flag been cleared after the call, this signal would be lost.
  int calls = 0;
  auto handler = make(*loop_, SIGUSR1, [&](int) {
    if (++calls < 100) {
      ::raise(SIGUSR1);
      ::raise(SIGUSR1);
    } else {
      loop_->stop();
    }
  });
  ::raise(SIGUSR1);
  run();
  run_turns(2);
  EXPECT_EQ(calls, 100);
}

TEST_P(SignalHandlers, AfterTheLastOfManySignalsACallBegins) {
  // Each signal is answered by a call that begins after it; checked with a number that the sender
  // raises before it signals.
  const int count = sized(100000);
  std::atomic<int> announced{0};
  int seen = 0;
  Event all_seen;
  auto handler = make(*loop_, SIGUSR1, [&](int) {
    const int now = announced.load();
    EXPECT_GE(now, seen);
    seen = now;
    if (seen == count) all_seen.set();
  });
  LoopInThread thread(*loop_);
  for (int i = 1; i <= count; ++i) {
    announced = i;
    ::raise(SIGUSR1);
  }
  EXPECT_TRUE(all_seen.wait()) << "the call for the last signal never began";
  thread.stop();
}

TEST_P(SignalHandlers, AHundredThousandSignalsFromFourThreadsToFourLoops) {
  const int each = sized(100000) / 4;
  constexpr int kLoops = 4;
  std::vector<std::unique_ptr<IOLoop>> loops;
  std::vector<std::unique_ptr<SignalHandler>> handlers;
  std::atomic<int> announced{0};
  std::vector<Event> done(kLoops);
  for (int i = 0; i < kLoops; ++i) {
    loops.push_back(make_loop());
    handlers.push_back(make(*loops.back(), SIGUSR1, [&, i](int) {
      if (announced.load() == each * 4) done[i].set();
    }));
  }
  std::vector<std::unique_ptr<LoopInThread>> threads;
  for (auto& loop : loops) threads.push_back(std::make_unique<LoopInThread>(*loop));
  std::vector<std::thread> senders;
  for (int t = 0; t < 4; ++t) {
    senders.emplace_back([&] {
      for (int i = 0; i < each; ++i) {
        ++announced;
        ::raise(SIGUSR1);
      }
    });
  }
  for (std::thread& sender : senders) sender.join();
  for (Event& event : done) EXPECT_TRUE(event.wait());
}

TEST_P(SignalHandlers, MayBeDestroyedInTheirOwnFunction) {
  int calls = 0;
  bool destroyed = false;
  std::unique_ptr<SignalHandler> handler;
  handler = make(*loop_, SIGUSR1, [&, notice = OnDestroy([&] { destroyed = true; })](int) {
    ++calls;
    ::raise(SIGUSR1);  // too late: no call follows the destructor
    handler.reset();
    EXPECT_FALSE(destroyed) << "the function is still running";
  });
  ::raise(SIGUSR1);
  run_turns(3);
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(destroyed);
}

TEST_P(SignalHandlers, ACallThatIsOnItsWayReachesNoHandlerThatTookThePlace) {
  int old_calls = 0, new_calls = 0;
  auto handler = make(*loop_, SIGUSR1, [&](int) { ++old_calls; });
  ::raise(SIGUSR1);
  handler.reset();
  handler = make(*loop_, SIGUSR1, [&](int) { ++new_calls; });
  run_turns(2);
  EXPECT_EQ(old_calls, 0);
  EXPECT_EQ(new_calls, 0);
  ::raise(SIGUSR1);
  run_turns(2);
  EXPECT_EQ(new_calls, 1);
}

TEST_P(SignalHandlers, MayBeDestroyedInAStormOfSignals) {
  const int rounds = kSanitized ? 200 : 1000;
  for (bool whole_process : {false, true}) {
    SignalStorm storm(SIGUSR1, whole_process);
    LoopInThread thread(*loop_);
    Event done;
    std::atomic<int> calls{0};
    std::unique_ptr<SignalHandler> handler;
    int left = rounds;
    std::function<void()> replace = [&] {
      // A handler that is gone must not be called: its flag says so.
      auto alive = std::make_shared<std::atomic<bool>>(true);
      handler.reset();
      handler =
          make(*loop_, SIGUSR1, [&, alive, notice = OnDestroy([alive] { *alive = false; })](int) {
            EXPECT_TRUE(*alive);
            ++calls;
          });
      if (--left > 0) {
        loop_->add_callback(replace);
      } else {
        handler.reset();
        done.set();
      }
    };
    loop_->add_callback(replace);
    EXPECT_TRUE(done.wait());
    // On a busy machine its thread may begin late.
    for (Patience patience; storm.sent() == 0 && patience.left();) std::this_thread::yield();
    thread.stop();
    storm.stop();
    EXPECT_GT(storm.sent(), 0);
  }
}

TEST_P(SignalHandlers, ASignalInTheMidstOfTheDestructionCallsNobody) {
  // Guards the delivery that was made between the destructor's first steps: it has to name the
  // handler that goes, not the empty place that it leaves. So the place stays empty for a while.
  int left = kSanitized ? 1000 : 10000;
  SignalStorm storm(SIGUSR1, /*whole_process=*/false);
  std::unique_ptr<SignalHandler> handler;
  std::function<void()> turn = [&] {
    if (handler != nullptr) {
      handler.reset();
    } else {
      handler = make(*loop_, SIGUSR1, [&](int) { EXPECT_NE(handler, nullptr); });
    }
    if (--left > 0) {
      loop_->add_callback(turn);
    } else {
      loop_->stop();
    }
  };
  loop_->add_callback(turn);
  run();
}

TEST_P(SignalHandlers, ALoopMayCloseInAStormOfSignals) {
  const int rounds = kSanitized ? 20 : 100;
  SignalStorm storm(SIGUSR1, true);
  for (int i = 0; i < rounds; ++i) {
    std::unique_ptr<IOLoop> loop = make_loop("short-lived");
    auto handler = make(*loop, SIGUSR1, [&](int) { loop->stop(); });
    run(*loop);
    EXPECT_TRUE(loop->close().ok());
    if (i % 2 == 0) loop.reset();  // the handler may die after the loop
    handler.reset();
  }
}

TEST_P(SignalHandlers, MayOutliveTheLoop) {
  std::unique_ptr<IOLoop> loop = make_loop();
  auto handler = make(*loop, SIGUSR1, [](int) { ADD_FAILURE() << "called"; });
  ::raise(SIGUSR1);
  loop.reset();
  ::raise(SIGUSR1);
  handler.reset();
  EXPECT_EQ(disposition(SIGUSR1).sa_handler, SIG_IGN);
}

TEST_P(SignalHandlers, TheLastOneRestoresTheFormerDisposition) {
  static std::atomic<int> user_calls{0};
  user_calls = 0;
  struct sigaction mine {};
  mine.sa_handler = [](int) { ++user_calls; };
  mine.sa_flags = SA_RESTART | SA_NODEFER;
  ::sigaddset(&mine.sa_mask, SIGUSR2);
  struct sigaction before {};
  ASSERT_EQ(::sigaction(SIGUSR1, &mine, &before), 0);
  int calls = 0;
  auto first = make(*loop_, SIGUSR1, [&](int) { ++calls; });
  auto second = make(*loop_, SIGUSR1, [&](int) { ++calls; });
  ::raise(SIGUSR1);
  EXPECT_EQ(user_calls, 0);
  first.reset();
  EXPECT_NE(disposition(SIGUSR1).sa_handler, mine.sa_handler) << "one is left";
  second.reset();
  const struct sigaction after = disposition(SIGUSR1);
  EXPECT_EQ(after.sa_handler, mine.sa_handler);
  EXPECT_EQ(after.sa_flags & (SA_RESTART | SA_NODEFER), SA_RESTART | SA_NODEFER);
  EXPECT_EQ(::sigismember(&after.sa_mask, SIGUSR2), 1);
  ::raise(SIGUSR1);
  EXPECT_EQ(user_calls, 1);
  // And again: the second time is like the first.
  auto again = make(*loop_, SIGUSR1, [&](int) { ++calls; });
  ::raise(SIGUSR1);
  EXPECT_EQ(user_calls, 1);
  run_turns(2);
  EXPECT_EQ(calls, 1);
  again.reset();
  EXPECT_EQ(disposition(SIGUSR1).sa_handler, mine.sa_handler);
}

TEST_P(SignalHandlers, WhatIsNoSignalOrCannotBeCaughtIsInvalid) {
  for (int signal : {0, -1, NSIG, NSIG + 100, SIGKILL, SIGSTOP}) {
    absl::StatusOr<std::unique_ptr<SignalHandler>> handler =
        SignalHandler::create(*loop_, signal, [](int) {});
    EXPECT_EQ(handler.status().code(), StatusCode::kInvalidArgument) << signal;
  }
  // A refusal leaves no place taken.
  for (int i = 0; i < 2 * SignalHandler::kMaxHandlers; ++i) {
    EXPECT_FALSE(SignalHandler::create(*loop_, SIGKILL, [](int) {}).ok());
  }
  EXPECT_NE(make(*loop_, SIGUSR1, [](int) {}), nullptr);
  EXPECT_EQ(disposition(SIGUSR1).sa_handler, SIG_IGN);
}

TEST_P(SignalHandlers, AClosedLoopIsAnError) {
  ASSERT_TRUE(loop_->close().ok());
  EXPECT_EQ(SignalHandler::create(*loop_, SIGUSR1, [](int) {}).status().code(),
            StatusCode::kFailedPrecondition);
  EXPECT_EQ(disposition(SIGUSR1).sa_handler, SIG_IGN) << "nothing was installed";
}

TEST_P(SignalHandlers, TheProcessHasALimitOfThemAndAPlaceIsFreeAgain) {
  int calls = 0;
  std::vector<std::unique_ptr<SignalHandler>> all;
  for (int i = 0; i < SignalHandler::kMaxHandlers; ++i) {
    all.push_back(make(*loop_, SIGUSR1, [&](int) { ++calls; }));
  }
  EXPECT_EQ(SignalHandler::create(*loop_, SIGUSR1, [](int) {}).status().code(),
            StatusCode::kResourceExhausted);
  EXPECT_EQ(SignalHandler::create(*loop_, SIGUSR2, [](int) {}).status().code(),
            StatusCode::kResourceExhausted);
  ::raise(SIGUSR1);
  run_turns(2);
  EXPECT_EQ(calls, SignalHandler::kMaxHandlers);
  all.pop_back();
  EXPECT_NE(make(*loop_, SIGUSR2, [](int) {}), nullptr);
}

TEST_P(SignalHandlers, LeaveErrnoAlone) {
  auto handler = make(*loop_, SIGUSR1, [](int) {});
  ASSERT_TRUE(handler != nullptr);
  {
    LoopInThread thread(*loop_);  // asleep, so that the signal writes to its wake fd
    for (int i = 0; i < 100; ++i) {
      errno = 12345;
      ::raise(SIGUSR1);
      EXPECT_EQ(errno, 12345);
    }
  }
  // Also where the post is refused.
  ASSERT_TRUE(loop_->close().ok());
  errno = 12345;
  ::raise(SIGUSR1);
  EXPECT_EQ(errno, 12345);
}

TEST_P(SignalHandlers, InterruptedSystemCallsAreRestarted) {
  auto handler = make(*loop_, SIGUSR1, [](int) {});
  EXPECT_NE(disposition(SIGUSR1).sa_flags & SA_RESTART, 0);
}

TEST_P(SignalHandlers, AnExceptionIsTheLoopsAndTheNextSignalIsServed) {
  log_.expect(LogLevel::kError, "from the handler");
  int calls = 0;
  auto handler = make(*loop_, SIGUSR1, [&](int) {
    if (++calls == 1) throw std::runtime_error("from the handler");
  });
  ::raise(SIGUSR1);
  run_turns(2);
  ::raise(SIGUSR1);
  run_turns(2);
  EXPECT_EQ(calls, 2);
}

TEST_P(SignalHandlers, WorkBesidePostsFromTheUsersOwnSignalHandlers) {
  // Slots of the loop are shared: when all are taken, a later signal is served all the same.
  int calls = 0;
  auto handler = make(*loop_, SIGUSR1, [&](int) { ++calls; });
  int taken = 0;
  while (loop_->add_callback_from_signal([] {})) ++taken;
  EXPECT_GT(taken, 0);
  ::raise(SIGUSR1);  // refused
  run_turns(2);
  ::raise(SIGUSR1);
  run_turns(2);
  EXPECT_EQ(calls, 1);
}

TEST_P(SignalHandlers, InAChildOfForkNothingIsCalled) {
  int calls = 0;
  auto handler = make(*loop_, SIGUSR1, [&](int) { ++calls; });
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::raise(SIGUSR1);
    std::_Exit(0);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  run_turns(2);
  EXPECT_EQ(calls, 0) << "the child's signal is no concern of the parent's";
  ::raise(SIGUSR1);
  run_turns(2);
  EXPECT_EQ(calls, 1);
}

TEST(SignalHandlersDeathTest, ANullFunctionIsACheckedError) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        auto loop = std::move(*IOLoop::create());
        static_cast<void>(SignalHandler::create(*loop, SIGUSR1, nullptr));
      },
      "callback");
}

}  // namespace
}  // namespace gyre::testing
