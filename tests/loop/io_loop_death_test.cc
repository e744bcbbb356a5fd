// The checked errors: what is misused is said in the words of the contract.

#include <chrono>
#include <functional>
#include <limits>
#include <memory>
#include <thread>
#include <utility>

#include "gtest/gtest.h"
#include "gyre/loop/future.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/periodic_callback.h"
#include "gyre/loop/task.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using std::chrono::milliseconds;

std::unique_ptr<IOLoop> make_loop() {
  IOLoopOptions options;
  options.name = "doomed";
  options.make_current = false;
  return IOLoop::create(std::move(options)).value();
}

// Each statement makes what it needs, threads too: it runs in a child of fork(). This process has
// one thread, so that is safe.
class IOLoopDeathTest : public ::testing::Test {};

// Calls `use` while another thread runs the loop.
void use_from_a_foreign_thread(const std::function<void(IOLoop&)>& use) {
  std::unique_ptr<IOLoop> loop = make_loop();
  Event running;
  loop->add_callback([&] { running.set(); });
  std::thread thread([&] { loop->start().IgnoreError(); });
  if (running.wait()) use(*loop);
  loop->stop();
  thread.join();
}

TEST_F(IOLoopDeathTest, ALoopDestroyedInItsOwnCallback) {
  EXPECT_DEATH(
      {
        IOLoop* loop = make_loop().release();
        loop->add_callback([loop] { delete loop; });
        loop->start().IgnoreError();
      },
      "loop.*callback");
  EXPECT_DEATH(
      {
        IOLoop* loop = make_loop().release();
        loop->call_later(milliseconds(0), [loop] { delete loop; });
        loop->start().IgnoreError();
      },
      "loop.*callback");
}

TEST_F(IOLoopDeathTest, ALoopDestroyedWhileAnotherThreadRunsIt) {
  EXPECT_DEATH(use_from_a_foreign_thread([](IOLoop& loop) { delete &loop; }), "loop \"doomed\"");
}

TEST_F(IOLoopDeathTest, ALoopUsedFromAForeignThread) {
  EXPECT_DEATH(
      use_from_a_foreign_thread([](IOLoop& loop) { loop.call_later(milliseconds(0), [] {}); }),
      "thread .*loop \"doomed\" runs in thread .*Post it: loop.add_callback");
  EXPECT_DEATH(use_from_a_foreign_thread([](IOLoop& loop) { loop.remove_timeout({}); }),
               "loop \"doomed\"");
  EXPECT_DEATH(use_from_a_foreign_thread([](IOLoop& loop) {
                 loop.add_handler(
                         0, [](int, uint32_t) {}, IOLoop::READ)
                     .IgnoreError();
               }),
               "add_handler.*loop \"doomed\"");
  EXPECT_DEATH(
      use_from_a_foreign_thread([](IOLoop& loop) { loop.remove_handler(0).IgnoreError(); }),
      "remove_handler.*loop \"doomed\"");
  EXPECT_DEATH(use_from_a_foreign_thread(
                   [](IOLoop& loop) { loop.update_handler(0, IOLoop::READ).IgnoreError(); }),
               "update_handler.*loop \"doomed\"");
  EXPECT_DEATH(use_from_a_foreign_thread([](IOLoop& loop) { loop.set_exception_handler(nullptr); }),
               "loop \"doomed\"");
}

TEST_F(IOLoopDeathTest, ANullCallback) {
  EXPECT_DEATH(make_loop()->add_callback(std::function<void()>()), "callback is null");
  EXPECT_DEATH(make_loop()->add_callback(IOLoop::Callback()), "callback is null");
  EXPECT_DEATH(make_loop()->add_callback(static_cast<void (*)()>(nullptr)), "callback is null");
  EXPECT_DEATH(make_loop()->add_callback(static_cast<void (*)(int)>(nullptr), 1),
               "callback is null");
  EXPECT_DEATH(make_loop()->spawn_callback(std::function<void()>()), "callback is null");
  EXPECT_DEATH(make_loop()->call_later(milliseconds(0), std::function<void()>()), "callback");
  EXPECT_DEATH(make_loop()->call_at(IOLoop::TimePoint(), IOLoop::Callback()), "callback");
  EXPECT_DEATH(make_loop()->add_handler(0, IOLoop::Handler(), IOLoop::READ).IgnoreError(),
               "callback is null");
}

TEST_F(IOLoopDeathTest, ANullFunctionThatWouldReturnATask) {
  EXPECT_DEATH(
      {
        std::unique_ptr<IOLoop> loop = make_loop();
        loop->spawn_callback(std::function<Task<>()>());
      },
      "callback is null");
}

TEST_F(IOLoopDeathTest, ANullCallbackFromASignalHandler) {
  EXPECT_DEATH(
      {
        std::unique_ptr<IOLoop> loop = make_loop();
        loop->add_callback_from_signal(static_cast<void (*)()>(nullptr));
        loop->add_callback([&] { loop->stop(); });
        loop->start().IgnoreError();
      },
      "callback is null");
}

TEST_F(IOLoopDeathTest, ADelayThatIsNotANumber) {
  EXPECT_DEATH(make_loop()->call_later(
                   std::chrono::duration<double>(std::numeric_limits<double>::quiet_NaN()), [] {}),
               "not a number");
}

TEST_F(IOLoopDeathTest, APeriodThatIsNotPositive) {
  EXPECT_DEATH(PeriodicCallback(
                   *make_loop(), [] {}, milliseconds(0)),
               "period");
  EXPECT_DEATH(PeriodicCallback(
                   *make_loop(), [] {}, milliseconds(-1)),
               "period");
  EXPECT_DEATH(PeriodicCallback(
                   *make_loop(), [] {}, std::chrono::duration<double>(-0.5)),
               "period");
  EXPECT_DEATH(PeriodicCallback(*make_loop(), std::function<void()>(), milliseconds(1)),
               "callback");
}

TEST_F(IOLoopDeathTest, AFutureThatIsNotDone) {
  EXPECT_DEATH(
      {
        Promise<int> promise;
        promise.get_future().get();
      },
      "future");
  EXPECT_DEATH(
      {
        Promise<void> promise;
        promise.get_future().get();
      },
      "future");
}

TEST_F(IOLoopDeathTest, AFutureThatNamesNothing) {
  EXPECT_DEATH(Future<int>().get(), "future");
  EXPECT_DEATH(static_cast<void>(Future<int>().done()), "future");
  EXPECT_DEATH(make_loop()->add_future(Future<int>(), [](Future<int>) {}), "future");
}

TEST_F(IOLoopDeathTest, APromiseThatIsSetASecondTime) {
  EXPECT_DEATH(
      {
        Promise<int> promise;
        promise.set_value(1);
        promise.set_value(2);
      },
      "promise.*future");
  EXPECT_DEATH(
      {
        Promise<int> promise;
        promise.set_exception(std::make_exception_ptr(1));
        promise.set_value(2);
      },
      "promise.*future");
  EXPECT_DEATH(
      {
        Promise<void> promise;
        promise.set_value();
        promise.set_exception(std::make_exception_ptr(1));
      },
      "promise.*future");
}

TEST_F(IOLoopDeathTest, AFutureThatIsTakenASecondTime) {
  EXPECT_DEATH(
      {
        Promise<int> promise;
        promise.get_future();
        promise.get_future();
      },
      "future");
}

TEST_F(IOLoopDeathTest, APromiseThatWasMovedFrom) {
  EXPECT_DEATH(
      {
        Promise<int> promise;
        Promise<int> other = std::move(promise);
        promise.set_value(1);
      },
      "promise");
}

TEST_F(IOLoopDeathTest, ATaskThatIsAwaitedTwiceOrNamesNothing) {
  EXPECT_DEATH(
      {
        make_loop()
            ->run_sync([]() -> Task<> {
              Task<> task;
              co_await task;
            })
            .IgnoreError();
      },
      "task");
  EXPECT_DEATH(
      {
        make_loop()
            ->run_sync([]() -> Task<> {
              Task<> task = []() -> Task<> { co_return; }();
              co_await task;
              co_await task;
            })
            .IgnoreError();
      },
      "task");
}

TEST_F(IOLoopDeathTest, ANullObject) {
  struct Object {
    int fileno() const { return 0; }
  };
  EXPECT_DEATH(make_loop()
                   ->add_handler(
                       std::shared_ptr<Object>(), [](const std::shared_ptr<Object>&, uint32_t) {},
                       IOLoop::READ)
                   .IgnoreError(),
               "object is null");
}

}  // namespace
}  // namespace gyre::testing
