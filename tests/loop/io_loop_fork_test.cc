// The conformance of every backend: a child of fork() has its parent's loops, and may not use them.

#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/task.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using std::chrono::milliseconds;

// Runs `body` in a child; gives the number of the first check in it that failed, or 0.
int in_child(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(20);  // a child that hangs is a failure, too
    ::_exit(body());
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  return WEXITSTATUS(status);
}

bool refused(const absl::Status& status) {
  return status.code() == absl::StatusCode::kFailedPrecondition;
}

class IOLoopFork : public LoopTest {
 protected:
  // What each call of the contract has to say in a child.
  int use_in_child(int fd) {
    if (!refused(loop_->start())) return 1;
    if (loop_->add_callback([] {})) return 2;
    if (loop_->add_callback_from_signal([] {})) return 3;
    if (loop_->spawn_callback([]() -> Task<> { co_return; })) return 4;
    if (loop_->call_later(milliseconds(0), [] {})) return 5;
    if (!refused(loop_->add_handler(
            fd, [](int, uint32_t) {}, IOLoop::READ)))
      return 6;
    if (!refused(loop_->update_handler(watched_.a.get(), IOLoop::NONE))) return 7;
    if (!refused(loop_->remove_handler(watched_.a.get()))) return 8;
    if (!refused(loop_->run_sync([] {}))) return 9;
    loop_->stop();
    return 0;
  }

  // Counts how often watched_.a had something to read.
  void watch(int& calls) {
    const auto handler = [&calls](int fd, uint32_t) {
      ++calls;
      read_available(fd);
    };
    ASSERT_TRUE(loop_->add_handler(watched_.a.get(), handler, IOLoop::READ).ok());
  }

  FdPair watched_ = socket_pair();
};
GYRE_FOR_EACH_BACKEND(IOLoopFork);

TEST_P(IOLoopFork, AChildIsRefusedWhateverItTriesAndTheParentGoesOn) {
  // Guards the kernel's set of watched fds, which the child shares: it must not change it.
  int calls = 0;
  watch(calls);
  loop_->add_callback([&] { ++calls; });
  FdPair other = socket_pair();
  EXPECT_EQ(in_child([&] {
              const int failed = use_in_child(other.a.get());
              loop_.release();  // destroying it is another test
              return failed;
            }),
            0);
  write_all(watched_.b.get(), "x");
  run_turns(1);
  EXPECT_EQ(calls, 2);
}

TEST_P(IOLoopFork, AChildMayDestroyTheParentsLoopAndTheParentGoesOn) {
  int calls = 0;
  ASSERT_TRUE(loop_
                  ->add_handler(
                      watched_.a.get(), [&](int, uint32_t) { ++calls; }, IOLoop::READ)
                  .ok());
  loop_->call_later(milliseconds(0), [&] { ++calls; });
  EXPECT_EQ(in_child([&] {
              loop_.reset();
              return IOLoop::current(false) == nullptr ? 0 : 1;
            }),
            0);
  EXPECT_EQ(in_child([&] {
              if (!loop_->close().ok()) return 1;
              loop_.reset();
              return 0;
            }),
            0);
  write_all(watched_.b.get(), "x");
  run_turns(1);
  EXPECT_EQ(calls, 2);
}

TEST_P(IOLoopFork, AForkInACallbackLeavesTheParentRunning) {
  int result = -1;
  bool went_on = false;
  loop_->add_callback([&] {
    result = in_child([&] { return use_in_child(watched_.b.get()); });
    loop_->add_callback([&] {
      went_on = true;
      loop_->stop();
    });
  });
  EXPECT_TRUE(loop_->start().ok());
  EXPECT_EQ(result, 0);
  EXPECT_TRUE(went_on);
}

TEST_P(IOLoopFork, AChildOfAForkBesideTheLoopsThreadHasALoopThatNobodyRuns) {
  // The thread that runs the loop does not exist in the child, so nothing may wait for it.
  int calls = 0;
  watch(calls);
  LoopInThread thread(*loop_);
  EXPECT_EQ(in_child([&] {
              if (const int failed = use_in_child(watched_.b.get()); failed != 0) return failed;
              if (loop_->in_loop_thread()) return 20;
              loop_.reset();
              return 0;
            }),
            0);
  write_all(watched_.b.get(), "x");
  Event served;
  loop_->add_callback([&] { loop_->add_callback([&] { served.set(); }); });
  EXPECT_TRUE(served.wait());
  thread.stop();
  EXPECT_EQ(calls, 1);
}

TEST_P(IOLoopFork, AChildMayMakeALoopOfItsOwn) {
  EXPECT_EQ(in_child([&] {
              std::unique_ptr<IOLoop> loop = make_loop("child");
              if (loop == nullptr) return 1;
              bool fired = false;
              loop->call_later(milliseconds(1), [&] { fired = true; });
              loop->add_callback([&] { loop->call_later(milliseconds(2), [&] { loop->stop(); }); });
              if (!loop->start().ok()) return 2;
              loop_.release();
              return fired ? 0 : 3;
            }),
            0);
}

}  // namespace
}  // namespace gyre::testing
