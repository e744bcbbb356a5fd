// Signals as callbacks of loops: several loops for one signal, and very many signals.

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
#include "gyre/tests/loop/coroutines/signal_handler_fixture.h"
#include "gyre/tests/loop/coroutines/size.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/on_destroy.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using std::chrono::milliseconds;
using ::testing::ElementsAre;

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
