// The conformance of every backend: which loop is current, start, stop, close, and what is
// destroyed when.

#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "gyre/loop/io_loop.h"
#include "gyre/loop/task.h"
#include "gyre/tests/support/event.h"
#include "gyre/tests/support/loop_fixture.h"
#include "gyre/tests/support/on_destroy.h"
#include "gyre/tests/support/sockets.h"

namespace gyre::testing {
namespace {

using absl::StatusCode;
using std::chrono::hours;
using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Names = std::vector<std::string>;

IOLoop* current() { return IOLoop::current(/*instance=*/false); }

class IOLoopLifecycle : public LoopTest {
 protected:
  IOLoopLifecycle() { IOLoop::clear_instance(); }
  ~IOLoopLifecycle() override { IOLoop::clear_instance(); }

  absl::StatusOr<std::unique_ptr<IOLoop>> create(std::optional<bool> make_current) {
    IOLoopOptions options;
    options.backend = GetParam();
    options.make_current = make_current;
    return IOLoop::create(std::move(options));
  }
  std::function<void()> note(std::string name) {
    return [this, name] { seen_.push_back(name); };
  }

  Names seen_;
};
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

// ---- close

TEST_P(IOLoopLifecycle, CloseDestroysWhatIsQueuedUnrun) {
  loop_->add_callback([n = OnDestroy(note("callback")), this] { seen_.push_back("ran"); });
  loop_->call_later(milliseconds(0),
                    [n = OnDestroy(note("timeout")), this] { seen_.push_back("ran"); });
  loop_->spawn_callback([n = OnDestroy(note("unstarted task"))]() -> Task<> { co_return; });
  std::thread([&] { loop_->add_callback([n = OnDestroy(note("from elsewhere"))] {}); }).join();
  ASSERT_TRUE(loop_->close().ok());
  EXPECT_THAT(seen_, ::testing::UnorderedElementsAre("callback", "timeout", "unstarted task",
                                                     "from elsewhere"));
  EXPECT_TRUE(loop_->closed());
}

TEST_P(IOLoopLifecycle, CloseDestroysOnTheClosingThread) {
  std::thread::id destroyed_by;
  loop_->add_callback([n = OnDestroy([&] { destroyed_by = std::this_thread::get_id(); })] {});
  std::thread closer([&] { EXPECT_TRUE(loop_->close().ok()); });
  const std::thread::id closer_id = closer.get_id();
  closer.join();
  EXPECT_EQ(destroyed_by, closer_id);
}

TEST_P(IOLoopLifecycle, CloseAfterARunDestroysWhatItLeftBehind) {
  loop_->add_callback([&] {
    loop_->stop();
    loop_->add_callback([n = OnDestroy(note("posted after stop"))] {});
  });
  run();
  EXPECT_THAT(seen_, IsEmpty());
  ASSERT_TRUE(loop_->close().ok());
  EXPECT_THAT(seen_, ElementsAre("posted after stop"));
}

TEST_P(IOLoopLifecycle, ASecondCloseDoesNothing) {
  FdPair pair = socket_pair();
  ASSERT_TRUE(loop_
                  ->add_handler(
                      pair.a.get(), [](int, uint32_t) {}, IOLoop::READ)
                  .ok());
  EXPECT_TRUE(loop_->close().ok());
  EXPECT_TRUE(loop_->close().ok());
  EXPECT_TRUE(loop_->close(/*all_fds=*/true).ok());
  EXPECT_TRUE(is_open(pair.a.get()));
}

TEST_P(IOLoopLifecycle, CloseWhileRunningIsAnErrorAndNothingIsClosed) {
  loop_->add_callback([&] {
    EXPECT_EQ(loop_->close().code(), StatusCode::kFailedPrecondition);
    EXPECT_FALSE(loop_->closed());
    EXPECT_TRUE(loop_->add_callback([&] {
      seen_.push_back("still running");
      loop_->stop();
    }));
  });
  run();
  EXPECT_THAT(seen_, ElementsAre("still running"));
}

TEST_P(IOLoopLifecycle, AfterCloseEverythingSaysSo) {
  ASSERT_TRUE(loop_->close().ok());
  const absl::Status start = loop_->start();
  EXPECT_EQ(start.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(start.message()), HasSubstr("closed"));
  EXPECT_FALSE(loop_->add_callback([] {}));
  EXPECT_FALSE(loop_->add_callback([](int) {}, 1));
  EXPECT_FALSE(loop_->spawn_callback([] {}));
  EXPECT_FALSE(loop_->spawn_callback([]() -> Task<> { co_return; }));
  EXPECT_FALSE(loop_->add_callback_from_signal([] {}));
  EXPECT_FALSE(loop_->in_loop_thread());
  EXPECT_EQ(loop_->backend(), GetParam());
  loop_->time();
  loop_->metrics();
}

// What a destructor tries on a loop that is going away.
struct Attempts {
  int runs = 0;
  bool posted = false, spawned = false, from_signal = false, timed = false, handled = false;

  void make(IOLoop& loop, int fd) {
    ++runs;
    posted |= loop.add_callback([] {});
    spawned |= loop.spawn_callback([]() -> Task<> { co_return; });
    from_signal |= loop.add_callback_from_signal([] {});
    timed |= static_cast<bool>(loop.call_later(milliseconds(0), [] {}));
    timed |= static_cast<bool>(loop.call_at(IOLoop::TimePoint::min(), [] {}));
    timed |= static_cast<bool>(loop.add_timeout(milliseconds(0), [] {}));
    handled |= loop.add_handler(
                       fd, [](int, uint32_t) {}, IOLoop::READ)
                   .ok();
    loop.stop();
    loop.remove_timeout({});
    EXPECT_TRUE(loop.close().ok()) << "a second close is a no-op";
  }
  void expect_refused(int expected_runs) const {
    EXPECT_EQ(runs, expected_runs);
    EXPECT_FALSE(posted || spawned || from_signal || timed || handled);
  }
};

Task<> wait_for_ever(OnDestroy notice) {
  Promise<int> promise;
  Future<int> future = promise.get_future();
  co_await future;
  static_cast<void>(notice);
}

class IOLoopClosing : public IOLoopLifecycle {
 protected:
  // One of each kind of thing that a loop may hold, whose destructor tries to use the loop.
  void fill_loop(Attempts& attempts) {
    IOLoop* loop = loop_.get();
    const int fd = spare_.b.get();
    auto notice = [&attempts, loop, fd] {
      return OnDestroy([&attempts, loop, fd] { attempts.make(*loop, fd); });
    };
    loop->spawn_callback(wait_for_ever, notice());
    run_turns(2);
    loop->add_callback([n = notice()] {});
    loop->call_later(hours(1), [n = notice()] {});
    ASSERT_TRUE(loop->add_handler(
                        spare_.a.get(), [n = notice()](int, uint32_t) {}, IOLoop::READ)
                    .ok());
  }

  FdPair spare_ = socket_pair();
};
GYRE_FOR_EACH_BACKEND(IOLoopClosing);

TEST_P(IOLoopClosing, DestructorsDuringCloseAreRefusedWhateverTheyTry) {
  Attempts attempts;
  fill_loop(attempts);
  ASSERT_TRUE(loop_->close().ok());
  attempts.expect_refused(4);
}

TEST_P(IOLoopClosing, DestructorsDuringTheLoopsDestructorAreRefusedWhateverTheyTry) {
  Attempts attempts;
  fill_loop(attempts);
  loop_.reset();
  attempts.expect_refused(4);
}

TEST_P(IOLoopClosing, APostThatRacesCloseIsRefusedOrDestroyedByIt) {
  // Guards the accounts of close(): each callable is destroyed once, none runs, and no wake-up is
  // written to a poller that is gone.
  for (int round = 0; round < 25; ++round) {
    std::unique_ptr<IOLoop> loop = make_loop();
    std::atomic<int> destroyed{0}, ran{0}, accepted{0}, refused{0};
    std::atomic<bool> go{false};
    std::vector<std::thread> producers;
    for (int t = 0; t < 2; ++t) {
      producers.emplace_back([&] {
        while (!go) std::this_thread::yield();
        for (int i = 0; i < 300; ++i) {
          const bool posted =
              loop->add_callback([&, n = OnDestroy([&] { ++destroyed; })] { ++ran; });
          ++(posted ? accepted : refused);
        }
      });
    }
    go = true;
    for (int i = 0; i < round; ++i) std::this_thread::yield();
    EXPECT_TRUE(loop->close().ok());
    EXPECT_FALSE(loop->add_callback([] {}));
    for (std::thread& producer : producers) producer.join();
    EXPECT_EQ(ran, 0);
    EXPECT_EQ(accepted + refused, 600);
    EXPECT_EQ(destroyed, 600);
  }
}

TEST_P(IOLoopClosing, APostThatRacesTheEndOfARunAndCloseIsRefusedOrDestroyedByIt) {
  // Guards the wake-up that a producer still owes when the loop that it woke is closed.
  for (int round = 0; round < 25; ++round) {
    std::unique_ptr<IOLoop> loop = make_loop();
    std::atomic<int> destroyed{0};
    LoopInThread thread(*loop);
    std::atomic<bool> stop{false};
    std::atomic<int> posted{0};
    std::thread producer([&] {
      while (!stop) {
        ++posted;
        loop->add_callback([n = OnDestroy([&] { ++destroyed; })] {});
      }
    });
    while (posted == 0) std::this_thread::yield();
    thread.stop();
    EXPECT_TRUE(loop->close().ok());
    stop = true;
    producer.join();
    EXPECT_EQ(destroyed, posted);
  }
}

TEST_P(IOLoopClosing, ALoopMayBeDestroyedRightAfterItsStopperReturned) {
  // Guards stop() against touching a loop that its own stop let go.
  for (int round = 0; round < 100; ++round) {
    std::unique_ptr<IOLoop> loop = make_loop();
    std::thread runner([&] {
      EXPECT_TRUE(loop->start().ok());
      loop.reset();
    });
    loop->stop();
    runner.join();
    EXPECT_EQ(loop, nullptr);
  }
}

// ---- GYRE_BACKEND

class GyreBackendVariable : public ::testing::Test {
 protected:
  GyreBackendVariable() {
    if (const char* value = std::getenv("GYRE_BACKEND")) previous_ = value;
    IOLoop::clear_current();
  }
  ~GyreBackendVariable() override {
    if (previous_.has_value()) {
      ::setenv("GYRE_BACKEND", previous_->c_str(), 1);
    } else {
      ::unsetenv("GYRE_BACKEND");
    }
  }
  static absl::StatusOr<std::unique_ptr<IOLoop>> create(Backend backend = Backend::kDefault) {
    IOLoopOptions options;
    options.backend = backend;
    options.make_current = false;
    return IOLoop::create(std::move(options));
  }

  LogCapture log_;
  std::optional<std::string> previous_;
};

TEST_F(GyreBackendVariable, WithoutItTheBestBackendIsTaken) {
  ::unsetenv("GYRE_BACKEND");
  auto loop = create();
  ASSERT_TRUE(loop.ok()) << loop.status();
  EXPECT_EQ((*loop)->backend(), available_backends().front());
  ::setenv("GYRE_BACKEND", "", 1);
  loop = create();
  ASSERT_TRUE(loop.ok()) << loop.status();
  EXPECT_EQ((*loop)->backend(), available_backends().front());
}

TEST_F(GyreBackendVariable, IsReadAtEachCreate) {
  for (int i = 0; i < 2; ++i) {
    for (Backend backend : available_backends()) {
      ::setenv("GYRE_BACKEND", std::string(to_string(backend)).c_str(), 1);
      auto loop = create();
      ASSERT_TRUE(loop.ok()) << loop.status();
      EXPECT_EQ((*loop)->backend(), backend);
    }
  }
}

TEST_F(GyreBackendVariable, AnUnknownNameIsInvalid) {
  for (const char* name : {"iocp", "EPOLL", "epoll ", "epol"}) {
    ::setenv("GYRE_BACKEND", name, 1);
    const absl::Status status = create().status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(std::string(status.message()), HasSubstr("GYRE_BACKEND"));
  }
}

TEST_F(GyreBackendVariable, DoesNotMatterWhereTheBackendWasChosen) {
  ::setenv("GYRE_BACKEND", "nonsense", 1);
  for (Backend backend : available_backends()) {
    auto loop = create(backend);
    ASSERT_TRUE(loop.ok()) << loop.status();
    EXPECT_EQ((*loop)->backend(), backend);
  }
}

TEST_F(GyreBackendVariable, ABackendThatIsNotCompiledInIsUnimplemented) {
  for (Backend backend : {Backend::kEpoll, Backend::kKqueue, Backend::kSelect}) {
    const internal::PollerMaker maker = internal::replace_backend(backend, nullptr);
    const absl::Status status = create(backend).status();
    ::setenv("GYRE_BACKEND", std::string(to_string(backend)).c_str(), 1);
    const absl::Status by_name = create().status();
    internal::replace_backend(backend, maker);
    EXPECT_EQ(status.code(), StatusCode::kUnimplemented) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(to_string(backend))));
    EXPECT_EQ(by_name.code(), StatusCode::kUnimplemented) << by_name;
  }
}

TEST_F(GyreBackendVariable, EveryPlatformHasABackend) {
  EXPECT_THAT(available_backends(), ::testing::Contains(Backend::kSelect));
}

TEST_F(GyreBackendVariable, NamesAreReadBack) {
  for (Backend backend : {Backend::kDefault, Backend::kEpoll, Backend::kKqueue, Backend::kSelect}) {
    auto parsed = parse_backend(to_string(backend));
    ASSERT_TRUE(parsed.ok());
    EXPECT_EQ(*parsed, backend);
  }
  EXPECT_EQ(parse_backend("poll").status().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace gyre::testing
