// The ends of signal handlers: in their own function, in a storm of signals, after their loop's
// end.

#include <signal.h>
#include <unistd.h>

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
#include "gyre/loop/signal_handler.h"
#include "gyre/tests/loop/coroutines/signal_handler_fixture.h"
#include "gyre/tests/loop/coroutines/size.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/on_destroy.h"

namespace gyre::testing {
namespace {

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

}  // namespace
}  // namespace gyre::testing
