// The conformance of every backend: which loop is current, start and stop.

#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/tests/loop/io_loop_lifecycle_fixture.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/on_destroy.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using std::chrono::milliseconds;
using ::testing::ElementsAre;

GYRE_FOR_EACH_BACKEND(IOLoopLifecycle);

// ---- create

TEST_P(IOLoopLifecycle, CreateGivesTheBackendAndTheNameThatWereAskedFor) {
  std::unique_ptr<IOLoop> loop = make_loop("a name");
  EXPECT_EQ(loop->backend(), GetParam());
  EXPECT_EQ(loop->name(), "a name");
  EXPECT_FALSE(loop->running());
  EXPECT_FALSE(loop->closed());
}

TEST_P(IOLoopLifecycle, AnUnsetMakeCurrentBecomesCurrentWhereThereIsNone) {
  auto first = create(std::nullopt);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(current(), first->get());
  auto second = create(std::nullopt);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(current(), first->get());
}

TEST_P(IOLoopLifecycle, MakeCurrentFalseNeverBecomesCurrent) {
  auto loop = create(false);
  ASSERT_TRUE(loop.ok());
  EXPECT_EQ(current(), nullptr);
}

TEST_P(IOLoopLifecycle, MakeCurrentTrueIsAnErrorWhereThereIsOne) {
  auto first = create(true);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(current(), first->get());
  EXPECT_EQ(create(true).status().code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(current(), first->get());
  first->reset();
  EXPECT_TRUE(create(true).ok()) << "the first one is gone";
}

// ---- current

TEST_P(IOLoopLifecycle, TheMethodMakeCurrentReplaces) {
  std::unique_ptr<IOLoop> other = make_loop();
  EXPECT_TRUE(loop_->make_current().ok());
  EXPECT_TRUE(other->make_current().ok());
  EXPECT_EQ(current(), other.get());
  EXPECT_EQ(IOLoop::current(), other.get());
  IOLoop::clear_current();
  EXPECT_EQ(current(), nullptr);
  IOLoop::clear_current();  // none is set: no error
  EXPECT_EQ(current(), nullptr);
}

TEST_P(IOLoopLifecycle, CurrentIsAMatterOfEachThread) {
  ASSERT_TRUE(loop_->make_current().ok());
  std::thread([&] {
    EXPECT_EQ(current(), nullptr);
    std::unique_ptr<IOLoop> here = make_loop();
    EXPECT_TRUE(here->make_current().ok());
    EXPECT_EQ(current(), here.get());
  }).join();
  EXPECT_EQ(current(), loop_.get());
}

TEST_P(IOLoopLifecycle, StartMakesCurrentAndRestoresThePreviousOne) {
  for (int i = 0; i < 3; ++i) {
    loop_->add_callback([&] {
      EXPECT_EQ(current(), loop_.get());
      loop_->stop();
    });
    run();
    EXPECT_EQ(current(), nullptr);
  }
  std::unique_ptr<IOLoop> previous = make_loop("previous");
  ASSERT_TRUE(previous->make_current().ok());
  loop_->add_callback([&] {
    EXPECT_EQ(current(), loop_.get());
    IOLoop::clear_current();
    loop_->stop();
  });
  run();
  EXPECT_EQ(current(), previous.get());
}

TEST_P(IOLoopLifecycle, APreviousLoopThatIsDestroyedMeanwhileIsNotRestored) {
  // Guards start() against a pointer to a loop that its own callbacks destroyed.
  std::unique_ptr<IOLoop> previous = make_loop("previous");
  ASSERT_TRUE(previous->make_current().ok());
  loop_->add_callback([&] {
    previous.reset();
    loop_->stop();
  });
  run();
  EXPECT_EQ(current(), nullptr);
}

TEST_P(IOLoopLifecycle, LoopsMayRunInsideOneAnother) {
  std::unique_ptr<IOLoop> inner = make_loop("inner");
  loop_->add_callback([&] {
    inner->add_callback([&] {
      EXPECT_EQ(current(), inner.get());
      EXPECT_TRUE(loop_->in_loop_thread());
      loop_->add_callback(note("posted to the outer one"));
      inner->stop();
    });
    EXPECT_TRUE(inner->start().ok());
    EXPECT_EQ(current(), loop_.get());
    seen_.push_back("inner ended");
    loop_->add_callback([&] { loop_->stop(); });
  });
  run();
  EXPECT_THAT(seen_, ElementsAre("inner ended", "posted to the outer one"));
}

TEST_P(IOLoopLifecycle, ADestroyedLoopIsNotCurrentAnyMore) {
  ASSERT_TRUE(loop_->make_current().ok());
  loop_.reset();
  EXPECT_EQ(current(), nullptr);
}

TEST_P(IOLoopLifecycle, ALoopThatAnotherThreadDestroyedIsNotCurrentAnyMore) {
  ASSERT_TRUE(loop_->make_current().ok());
  std::thread([&] { loop_.reset(); }).join();
  EXPECT_EQ(current(), nullptr);
}

// ---- instance

TEST_P(IOLoopLifecycle, InstanceIsMadeAtFirstUseAndDoesNotBecomeCurrent) {
  EXPECT_FALSE(IOLoop::initialized());
  EXPECT_EQ(IOLoop::current(false), nullptr);
  EXPECT_FALSE(IOLoop::initialized()) << "asking without `instance` makes none";
  IOLoop& instance = IOLoop::instance();
  EXPECT_TRUE(IOLoop::initialized());
  EXPECT_EQ(current(), nullptr);
  EXPECT_EQ(&IOLoop::instance(), &instance);
  EXPECT_EQ(IOLoop::current(), &instance);
  IOLoop* elsewhere = nullptr;
  std::thread([&] { elsewhere = IOLoop::current(); }).join();
  EXPECT_EQ(elsewhere, &instance) << "it is the process's";
}

TEST_P(IOLoopLifecycle, CurrentMakesTheInstanceWhereThereIsNoLoop) {
  IOLoop* loop = IOLoop::current();
  ASSERT_NE(loop, nullptr);
  EXPECT_TRUE(IOLoop::initialized());
  EXPECT_EQ(loop, &IOLoop::instance());
}

TEST_P(IOLoopLifecycle, ManyThreadsGetTheSameInstance) {
  std::vector<IOLoop*> seen(8);
  std::vector<std::thread> threads;
  for (IOLoop*& loop : seen) threads.emplace_back([&loop] { loop = &IOLoop::instance(); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(seen, ::testing::Each(&IOLoop::instance()));
}

TEST_P(IOLoopLifecycle, AnInstalledLoopIsTheInstanceAndStaysItsOwners) {
  EXPECT_TRUE(loop_->install().ok());
  EXPECT_EQ(&IOLoop::instance(), loop_.get());
  EXPECT_EQ(current(), nullptr) << "instance() does not become current";
  std::unique_ptr<IOLoop> other = make_loop();
  EXPECT_EQ(other->install().code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(loop_->install().code(), StatusCode::kAlreadyExists);
  IOLoop::clear_instance();
  EXPECT_FALSE(IOLoop::initialized());
  EXPECT_FALSE(loop_->closed()) << "it was forgotten, not destroyed";
  EXPECT_TRUE(other->install().ok());
  EXPECT_EQ(&IOLoop::instance(), other.get());
  other.reset();
  EXPECT_FALSE(IOLoop::initialized()) << "destroying an installed loop forgets it";
}

TEST_P(IOLoopLifecycle, InstallIsAnErrorWhereInstanceMadeOne) {
  IOLoop::instance();
  EXPECT_EQ(loop_->install().code(), StatusCode::kAlreadyExists);
}

TEST_P(IOLoopLifecycle, ClearInstanceDestroysTheLoopThatInstanceMade) {
  bool destroyed = false;
  IOLoop::instance().add_callback([n = OnDestroy([&] {
                                     destroyed = true;
                                     EXPECT_FALSE(IOLoop::initialized());
                                   })] {});
  IOLoop::clear_instance();
  EXPECT_TRUE(destroyed);
  IOLoop::clear_instance();  // none is set: no error
  EXPECT_FALSE(IOLoop::initialized());
}

// ---- start and stop

TEST_P(IOLoopLifecycle, AReenteredStartIsAnErrorAndTheRunGoesOn) {
  loop_->add_callback([&] {
    EXPECT_EQ(loop_->start().code(), StatusCode::kFailedPrecondition);
    EXPECT_EQ(current(), loop_.get());
    loop_->add_callback([&] {
      seen_.push_back("still running");
      loop_->stop();
    });
  });
  run();
  EXPECT_THAT(seen_, ElementsAre("still running"));
}

TEST_P(IOLoopLifecycle, AStartInASecondThreadIsAnErrorAndTheRunGoesOn) {
  LoopInThread thread(*loop_);
  EXPECT_EQ(loop_->start().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(loop_->close().code(), StatusCode::kFailedPrecondition);
  Event ran;
  EXPECT_TRUE(loop_->add_callback([&] { ran.set(); }));
  EXPECT_TRUE(ran.wait());
}

TEST_P(IOLoopLifecycle, StopFromAnotherThreadEndsAnIdleRunEveryTime) {
  // Guards the wake-up of stop(): one that is lost leaves the loop asleep.
  for (int i = 0; i < 150; ++i) {
    LoopInThread thread(*loop_);
    thread.stop();
  }
}

TEST_P(IOLoopLifecycle, StopAfterCloseIsNoError) {
  ASSERT_TRUE(loop_->close().ok());
  loop_->stop();
  loop_->stop();
  EXPECT_EQ(loop_->start().code(), StatusCode::kFailedPrecondition);
}

TEST_P(IOLoopLifecycle, InLoopThreadIsTrueInTheThreadThatRunsIt) {
  EXPECT_FALSE(loop_->in_loop_thread());
  LoopInThread thread(*loop_);
  EXPECT_FALSE(loop_->in_loop_thread());
  EXPECT_TRUE(loop_->running());
  bool inside = false;
  Event asked;
  loop_->add_callback([&] {
    inside = loop_->in_loop_thread();
    asked.set();
  });
  ASSERT_TRUE(asked.wait());
  EXPECT_TRUE(inside);
  thread.stop();
  EXPECT_FALSE(loop_->running());
}

TEST_P(IOLoopLifecycle, EachStepOfALifeMayBeInAnotherThread) {
  std::unique_ptr<IOLoop> loop;
  FdPair pair = socket_pair();
  write_all(pair.b.get(), "x");
  std::thread([&] { loop = make_loop(); }).join();
  auto done = [&](const char* what) {
    seen_.push_back(what);
    if (seen_.size() == 2) loop->stop();
  };
  std::thread([&] {
    loop->call_later(milliseconds(1), [&] { done("timeout"); });
    EXPECT_TRUE(loop->add_handler(
                        pair.a.get(),
                        [&](int fd, uint32_t) {
                          EXPECT_TRUE(loop->remove_handler(fd).ok());
                          done("io");
                        },
                        IOLoop::READ)
                    .ok());
  }).join();
  std::thread([&] { run(*loop); }).join();
  std::thread([&] { run_turns(*loop, 1); }).join();
  std::thread([&] { EXPECT_TRUE(loop->close().ok()); }).join();
  std::thread([&] { loop.reset(); }).join();
  EXPECT_THAT(seen_, ::testing::UnorderedElementsAre("io", "timeout"));
}

TEST_P(IOLoopLifecycle, ManyLoopsMayBeMadeAndClosedInManyThreads) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 30; ++i) {
        std::unique_ptr<IOLoop> loop = make_loop();
        loop->add_callback([&] { loop->stop(); });
        EXPECT_TRUE(loop->start().ok());
        EXPECT_TRUE(loop->close().ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace gyre::testing
